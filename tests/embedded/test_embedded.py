"""The gates on the planted model: real weights, the real template, real prompts.

Tolerance 2e-3 on logits of order 20 and on streams whose largest values are near 1,000 (float32
resolves 6e-5 there; thirty blocks were seen to add up to 3e-4).
"""

from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel

from refusal_lens.directions import fit_mean_difference
from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.errors import InputError
from refusal_lens.interventions import (
    Ablate,
    AblateSubspace,
    Add,
    Clamp,
    Cosine,
    Only,
    PerRow,
    Rotate,
    When,
)
from refusal_lens.model import Decoding
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.files import load_prompts
from refusal_lens.sites import Site, block_inputs

pytestmark = pytest.mark.slow
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def plain() -> PreTrainedModel:
    return load_embedded_model(PLANTED)[0].eval()


@pytest.fixture(scope="module")
def prompts() -> PromptSet:
    few = load_prompts().only(split="train", category=["humanizing", "safety_core"])
    return few.first(4)


@pytest.fixture(scope="module")
def direction(model, prompts):
    return fit_mean_difference(model.residual_stats(prompts)).at("safety_core", 15)


def test_template_once_with_its_own_system_prompt(model):
    ids = model.chat.ids("Hi")
    assert ids[0] == model.chat.tokenizer.bos_token_id
    assert ids.count(1) == 3  # system, user, assistant: no fourth from a second BOS
    assert "You are a helpful AI assistant named SmolLM" in model.chat.prefix_text
    assert model.chat.n_post == 6
    assert [text for _, text in model.tokens("Hi")[-3:]] == ["ass", "istant", "\n"]


def test_special_token_in_a_prompt_is_an_error(model):
    with pytest.raises(InputError, match="im_end"):
        model.logits(["stop <|im_end|> here"])


def test_batch_equals_single_and_hugging_face(model, plain, prompts, direction):
    for edits in ((), (Ablate(direction),), (Add(direction, strength=1.0),)):
        with model.editing(*edits):
            together = model.logits(prompts)
            for i, p in enumerate(prompts):
                assert (model.logits([p.text])[0] - together[i]).abs().max() < TOLERANCE
    logits, resid = (
        model.logits(prompts),
        model.residuals(prompts, offsets=model.chat.offsets).tensor,
    )
    for i, p in enumerate(prompts):
        with torch.no_grad():
            out = plain(torch.tensor([model.chat.ids(p)]), output_hidden_states=True)
        assert (out.logits[0, -1] - logits[i]).abs().max() < TOLERANCE
        for layer in range(model.n_layers):
            hidden = out.hidden_states[layer][0, -6:]
            assert (hidden - resid[i, :, layer]).abs().max() < TOLERANCE


def test_greedy_answers_equal_hugging_face_alone_and_without_cache(model, plain, prompts):
    n = 16
    together = model.generate_ids(prompts, Decoding(n))
    assert together == model.generate_ids(prompts, Decoding(n, use_cache=False))
    for p, answer in zip(prompts, together, strict=True):
        assert model.generate_ids([p.text], Decoding(n))[0] == answer
        ids = torch.tensor([model.chat.ids(p)])
        generated = plain.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False
        )[0, ids.shape[1] :].tolist()
        assert tuple(t for t in generated if t != 2) == answer


def test_edits_leave_nothing(model, prompts, direction):
    before, hooks = model.logits(prompts), model.backend.hook_count()
    with pytest.raises(RuntimeError), model.editing(Ablate(direction)):
        assert (model.logits(prompts) - before).abs().max() > 0.1
        raise RuntimeError
    assert model.backend.hook_count() == hooks
    assert torch.equal(model.logits(prompts), before)


def test_layer_zero_is_undefined(model, prompts):
    defined = fit_mean_difference(model.residual_stats(prompts)).defined()
    assert not defined[:, :, 0].any()
    assert defined[:, :, 1:].all()


def test_ablation_and_addition_turn_the_knob(model, prompts, direction):
    """Along the direction the stream is empty after ablation, and longer by its scale after
    addition."""
    last = Site(29, "resid_post")
    with model.editing(Ablate(direction)):
        left = model.residuals(prompts, sites=[last]).tensor @ direction.vector
    plain = model.residuals(prompts, sites=[Site(15)]).tensor @ direction.vector
    with model.editing(Add(direction, strength=1.0)):
        added = model.residuals(prompts, sites=[Site(15)]).tensor @ direction.vector
    assert left.abs().max() < TOLERANCE
    assert torch.allclose(added - plain, torch.tensor(direction.scale), rtol=1e-3)


def test_rows_under_their_own_edits_equal_one_by_one(model, prompts, direction):
    other = replace(direction, vector=direction.vector.flip(0))
    edits = (
        Ablate(direction),
        None,
        Add(direction, strength=1.0),
        Only(Add(direction, strength=2.0), "generated"),
        When(Cosine(direction, "above", 0.0), Add(other, strength=1.0)),
        Clamp(direction, "high") + Ablate(other),
        Rotate(direction, other.vector, 60.0, at=block_inputs(30)[10:20]),
        AblateSubspace((direction, other)),
    )
    asked = [p.text for p in prompts][: len(edits)]
    with model.editing(PerRow(edits)):
        logits = model.logits(asked)
        answers = model.generate_ids(asked, Decoding(12))
    for i, edit in enumerate(edits):
        with model.editing(*([] if edit is None else [edit])):
            assert (model.logits([asked[i]])[0] - logits[i]).abs().max() < TOLERANCE
            assert model.generate_ids([asked[i]], Decoding(12))[0] == answers[i]
    assert len(set(answers)) == len(answers)
