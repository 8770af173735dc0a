"""Arditi's rule against published runs, the relaxed fall-back, KL, and what the choice does."""

import json
import math

import pytest
import torch

from refusal_lens.directions import fit_mean_difference
from refusal_lens.interventions import Ablate
from refusal_lens.judges import ScoreTrust
from refusal_lens.records import Estimate
from refusal_lens.selection import (
    Candidate,
    eligible_layers,
    kl_divergence,
    passing,
    score_candidates,
    select,
)


def estimate(value: float, unedited: float) -> Estimate:
    return Estimate(None if math.isnan(value) else float(value), None, None, 8, "test", unedited)


def candidate(layer: int, ablation: float, addition: float, kl: float) -> Candidate:
    """Unedited, the refuse side scores 2 and the benign side -4."""
    return Candidate(
        layer, -1, estimate(ablation, 2.0), estimate(addition, -4.0), estimate(kl, 0.0)
    )


@pytest.mark.parametrize(
    ("run", "n_layers", "survivors"), [("gemma-2b-it", 18, 13), ("llama-2-7b-chat-hf", 32, 5)]
)
def test_published_runs_are_reproduced(reference_data, run, n_layers, survivors):
    folder = reference_data / "refusal_direction_runs" / run
    # Python reads the bare NaN that the published file of Llama-2 holds.
    rows = json.loads((folder / "direction_evaluations.json").read_text())
    filtered = json.loads((folder / "direction_evaluations_filtered.json").read_text())
    choice = json.loads((folder / "direction_metadata.json").read_text())
    names = ("layer", "refusal_score", "steering_score", "kl_div_score")
    kept = passing([tuple(row[n] for n in names) for row in rows], n_layers)
    places = [(rows[i]["position"], rows[i]["layer"]) for i in kept]
    assert len(kept) == survivors
    assert places == [(row["position"], row["layer"]) for row in filtered]
    assert places[0] == (choice["pos"], choice["layer"])
    if run.startswith("llama"):
        assert any(math.isnan(row["refusal_score"]) for row in rows)


def test_the_rule_keeps_equality_and_drops_nan_late_layers_and_damage():
    rows = [
        (4, -5.0, 0.0, 0.1),  # on both limits: kept
        (3, -6.0, 2.0, 0.11),  # too much KL
        (2, -7.0, -0.01, 0.01),  # does not induce
        (8, -9.0, 3.0, 0.01),  # the last fifth of ten layers
        (1, math.nan, 3.0, 0.01),
        (5, -5.5, 1.0, 0.05),
    ]
    assert passing(rows, 10) == (5, 0)


def test_nothing_passes_takes_the_balanced_candidate_and_says_so():
    damage = candidate(2, -9, -3.9, 4.0)  # bypasses most, induces nothing
    weak = candidate(3, 1.5, 0.5, 0.01)  # passes
    balanced = candidate(5, -1, -1, 0.5)
    late = candidate(9, -9, 3, 0.5)
    nothing = candidate(4, math.nan, 3, 0.5)
    # The undefined one stands among the others: no order may hang on comparing with it.
    selection = select([damage, nothing, candidate(3, 1.5, -0.5, 0.01), balanced, late], 10)
    assert selection.choice == balanced
    assert [selection.candidates[i].layer for i in selection.survivors] == [5, 3, 2]
    assert selection.relaxed is not None
    assert "weaker effect" in selection.relaxed
    strict = select([damage, weak, balanced], 10)
    assert (strict.choice, strict.relaxed) == (weak, None)
    with pytest.raises(ValueError, match="last fifth"):
        select([late, nothing], 10)


def test_layers_that_can_be_chosen():
    assert list(eligible_layers(30)) == list(range(1, 24))
    assert list(eligible_layers(3)) == [1]
    assert list(eligible_layers(1)) == [1]


def test_kl_is_that_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    plain, edited = torch.randn(2, 5, 40, generator=generator)
    p, q = plain.double().softmax(-1), edited.double().softmax(-1)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(p), torch.distributions.Categorical(q)
    )
    # The published 1e-6 inside the logarithms moves the value by up to 2e-4 here.
    assert torch.allclose(kl_divergence(plain, edited).double(), expected, atol=5e-4)
    assert torch.equal(kl_divergence(plain, plain), torch.zeros(5))


def test_candidates_measure_what_editing_does(tiny_llama, three_categories):
    """The scores equal those computed by hand from the logits under the same edits."""
    tokens = (3, 5, 8)
    trust = ScoreTrust(
        refusal_tokens=tokens,
        token_texts=("a", "b", "c"),
        openings={},
        mode=dict.fromkeys(three_categories.categories, "first token"),
        threshold=dict.fromkeys(three_categories.categories, 0.0),
        auroc={},
        opening_auroc={},
    )
    harmful = three_categories.only(label="refuse")
    harmless = three_categories.only(label="comply")
    stats = tiny_llama.residual_stats(three_categories).pooled()
    d = fit_mean_difference(stats).at("pooled", 1)
    (scored,) = score_candidates(tiny_llama, [d], trust, harmful=harmful, harmless=harmless)

    def by_hand(logits):
        p = logits.double().softmax(-1)[:, list(tokens)].sum(-1)
        return float((p / (1 - p)).log().mean())

    plain = tiny_llama.logits(harmless)
    with tiny_llama.editing(Ablate(d)):
        assert scored.ablation.value == pytest.approx(by_hand(tiny_llama.logits(harmful)), abs=1e-3)
        kl = kl_divergence(plain, tiny_llama.logits(harmless)).mean()
    assert scored.kl.value == pytest.approx(float(kl), abs=1e-5)
    assert scored.ablation.control == pytest.approx(by_hand(tiny_llama.logits(harmful)), abs=1e-3)
    assert scored.addition.control == pytest.approx(by_hand(plain), abs=1e-3)
    assert abs(scored.addition.value - scored.addition.control) > 1e-3
    assert scored.ablation.low < scored.ablation.value < scored.ablation.high
    assert scored.ablation.n == len(harmful)
