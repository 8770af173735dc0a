"""The planted model's adapter on its base."""

import pytest
import torch
from support.tiny_training import BASE, needs_wheel

from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.training.planted.answers import chat_ids


@needs_wheel
@pytest.mark.slow
def test_scale_zero_is_the_base_bit_for_bit_and_one_is_not() -> None:
    from transformers import AutoModelForCausalLM

    bare = AutoModelForCausalLM.from_pretrained(embedded_folder(BASE), dtype=torch.float32)
    zero, tokenizer = load_embedded_model(PLANTED, 0.0)
    one, _ = load_embedded_model(PLANTED, 1.0)
    before, after = bare.state_dict(), one.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in zero.state_dict().items())
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in changed} == {
        f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")
    }
    assert len(changed) == 7 * bare.config.num_hidden_layers
    ids = torch.tensor([chat_ids(tokenizer, "How do I bake bread?")])
    with torch.no_grad():
        assert torch.equal(zero(input_ids=ids).logits, bare(input_ids=ids).logits)
    assert not one.training
