"""Costs of edits: nothing for no edit, equal to Hugging Face's own loss, and what an edit does."""

from dataclasses import dataclass, replace

import pytest
import torch

from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.evaluation.costs import (
    WINDOW,
    CostMaterial,
    measure_costs,
)
from refusal_lens.interventions import Add
from refusal_lens.judges import Verdict
from refusal_lens.linalg import kl_at_last_token
from refusal_lens.model import Decoding

TEXT = "The tide comes in twice a day, and nobody is surprised. " * 10


@dataclass(frozen=True)
class Always:
    """A stand-in judge that takes everything to be answered."""

    name: str = "always"

    def judge(self, prompt: str, answer: str) -> Verdict:
        return Verdict("complied", None, ())


@pytest.fixture(scope="module")
def material(three_categories):
    benign = three_categories.only(label="comply")
    return CostMaterial(benign, Always(), Decoding(3), TEXT, windows=3)


@pytest.fixture(scope="module")
def costs(tiny_llama, three_categories, material):
    stats = tiny_llama.residual_stats(three_categories).pooled()
    d = fit_mean_difference(stats).at("pooled", 1)
    edits = {
        "nothing": Add(d, alpha=0.0),
        "little": Add(d, strength=0.5),
        "much": Add(d, alpha=99.0),
    }
    return {row.condition: row for row in measure_costs(tiny_llama, material, edits).rows}


def test_no_edit_costs_nothing(costs):
    nothing = costs["nothing"]
    assert (nothing.kl.value, nothing.kl.low, nothing.kl.high) == (0, 0, 0)
    for estimate in (nothing.text, nothing.templated_text, nothing.degenerate):
        assert estimate.value == pytest.approx(estimate.control, abs=1e-6)
    assert nothing.kept.n == 0 or nothing.kept.value == 1.0


def test_an_edit_costs_and_more_of_it_costs_more(costs):
    assert 0 < costs["little"].kl.low < costs["little"].kl.value < costs["much"].kl.value
    assert costs["little"].kl.n == 15
    assert costs["much"].text.value != costs["much"].text.control
    assert costs["much"].templated_text.value != pytest.approx(costs["much"].text.value, abs=1e-3)


def test_what_an_edit_adds_to_text_is_paired_by_window(costs):
    """The windows' own spread is in the edited cross-entropy, and not in what the edit adds."""
    nothing, little = costs["nothing"].text_change, costs["little"].text_change
    assert (nothing.low, nothing.high, nothing.control) == pytest.approx((0, 0, 0), abs=1e-6)
    edited = costs["little"].text
    assert little.value == pytest.approx(edited.value - edited.control, abs=1e-6)
    assert little.n == 3 and little.high - little.low < edited.high - edited.low


def test_cross_entropy_is_that_of_hugging_face(costs, hugging_face):
    model, tokenizer = hugging_face("llama")
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    losses = []
    for cut in range(0, 3 * WINDOW, WINDOW):
        row = torch.tensor([ids[cut : cut + WINDOW + 1]])
        with torch.no_grad():
            losses.append(float(model(input_ids=row, labels=row).loss))
    # float32 through another implementation of the same model
    assert costs["nothing"].text.value == pytest.approx(sum(losses) / 3, abs=1e-4)
    assert costs["nothing"].text.n == 3


def test_kl_is_that_of_the_definition():
    plain, edited = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=plain.double()),
        torch.distributions.Categorical(logits=edited.double()),
    )
    assert torch.allclose(kl_at_last_token(plain, edited).double(), expected, atol=1e-6)


def test_too_short_a_text_is_one_clear_line(tiny_llama, material):
    short = CostMaterial(material.benign, material.judge, material.decoding, "Too short.")
    with pytest.raises(InputError, match="more than 256"):
        measure_costs(tiny_llama, short, {})


def test_too_few_windows_are_refused_before_anything_is_generated(
    tiny_llama, material, monkeypatch
):
    def generated(*_args, **_more):
        raise AssertionError("answers were generated")

    monkeypatch.setattr(type(tiny_llama), "generate_ids", generated)
    for windows in (0, 1, -1):
        with pytest.raises(InputError, match=f"windows={windows}; .* two windows or more"):
            measure_costs(tiny_llama, replace(material, windows=windows), {})
    with pytest.raises(InputError, match="more than 256"):
        measure_costs(tiny_llama, replace(material, text="Short."), {})
