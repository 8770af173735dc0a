"""Architectures whose numbers could depend on a row's companions or on a gap of padding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_architectures import SIZES
from support.tiny_models import write_tiny
from transformers import Llama4TextConfig, MptConfig, Phi3Config

from refusal_lens.errors import InputError
from refusal_lens.model import Decoding, LensModel, load_model

PROMPTS = ["Hi", "Tell me of tides and of the moon, please.", "How are you today?", "No"]
HALF = SIZES["hidden_size"] // SIZES["num_attention_heads"] // 2
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * HALF,
    "long_factor": [4.0] * HALF,
    "original_max_position_embeddings": 96,
}
CONFIGS: dict[str, Any] = {
    "mpt": MptConfig(
        d_model=32,
        n_heads=4,
        n_layers=3,
        vocab_size=300,
        max_seq_len=256,
        expansion_ratio=2,
        initializer_range=0.25,
    ),
    "llama4": Llama4TextConfig(
        **SIZES | {"num_hidden_layers": 4, "intermediate_size_mlp": 48},
        attention_chunk_size=32,
        num_local_experts=2,
        interleave_moe_layer_step=2,
    ),
    "phi3_longrope": Phi3Config(
        **SIZES | {"max_position_embeddings": 512},
        original_max_position_embeddings=96,
        rope_parameters=LONG_ROPE,
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LensModel:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_model(write_tiny(folder / "model", CONFIGS[request.param]))


def test_answers_in_a_batch_are_those_of_each_prompt_alone(model: LensModel) -> None:
    decoding = Decoding(max_new_tokens=12)
    together = model.generate_ids(PROMPTS, decoding)
    assert together == [model.generate_ids([p], decoding)[0] for p in PROMPTS]


def test_answers_are_hugging_faces_own(model: LensModel) -> None:
    backend: Any = model.backend
    for prompt in PROMPTS[:2]:
        ids = torch.tensor([model.chat.ids(prompt)])
        with torch.inference_mode():
            for _ in range(6):
                logits = backend.model.original_model(ids).logits[:, -1]
                ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        theirs = tuple(ids[0, -6:].tolist())
        ours = model.generate_ids([prompt], Decoding(max_new_tokens=6))[0]
        assert ours == theirs[: len(ours)]


def test_log_probabilities_do_not_depend_on_companions(model: LensModel) -> None:
    answers = [(65, 66, 67)] * len(PROMPTS)
    together = model.answer_log_probs(PROMPTS, answers)
    alone = [model.answer_log_probs([p], [a])[0] for p, a in zip(PROMPTS, answers, strict=True)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4)
    several = model.answer_log_probs([PROMPTS[1]] * 3, [(65,), (66, 67, 68), (70, 71)])
    each = [model.answer_log_probs([PROMPTS[1]], [a])[0] for a in ((65,), (66, 67, 68), (70, 71))]
    assert torch.allclose(several, torch.stack(each), atol=1e-4)


def test_an_answer_past_the_window_in_its_batch_is_that_of_its_prompt_alone(load_tiny) -> None:
    """A long prompt beside a short one moves the short one's answers past a window of 256."""
    model = load_tiny("gemma2")
    prompts = ["tides " * 30] * 2 + ["Hi"] * 2
    answers = [(40, 41), (7, 8), tuple(range(40, 130)), tuple(range(90, 180))]
    n = [len(ids) for ids in model.ids(prompts)]
    assert max(a + len(b) for a, b in zip(n, answers, strict=True)) < 256 < max(n) + 90
    together = model.answer_log_probs(prompts, answers)
    alone = [model.answer_log_probs([p], [a])[0] for p, a in zip(prompts, answers, strict=True)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-3, rtol=1e-5)


def test_long_rope_ends_where_its_frequencies_change(tmp_path: Path) -> None:
    model = load_model(write_tiny(tmp_path / "model", CONFIGS["phi3_longrope"]))
    short, long = "a" * 20, "b" * 90
    with pytest.raises(InputError, match="96"):
        model.logits([short, long])
    with pytest.raises(InputError, match="96"):
        model.generate([short], Decoding(max_new_tokens=80))
    with pytest.raises(InputError, match="96"):
        model.answer_log_probs([short], [(65,) * 80])
    assert model.logits([short]).isfinite().all()
