"""The race comes to the choice of the full sweep, and runs no more than it needs."""

import math
from dataclasses import replace

import pytest
import torch
from support.directions import a_direction

from refusal_lens.directions import Direction, fit_mean_difference
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate
from refusal_lens.selection import (
    Candidate,
    Selection,
    race,
    race_candidates,
    score_candidates,
    select,
)
from refusal_lens.selection.arditi import value_or_nan
from refusal_lens.selection.scores import CandidateScores


def trust_in(prompts: PromptSet, tokens: tuple[int, ...], untrusted: str = "") -> ScoreTrust:
    mode = {c: "generation only" if c == untrusted else "first token" for c in prompts.categories}
    return ScoreTrust(tokens, tuple(map(str, tokens)), {}, mode, {}, {}, {})


def random_candidates(model: LensModel, prompts: PromptSet, seed: int) -> list[Direction]:
    """Fitted and random ones at random layers, of many lengths."""
    generator = torch.Generator().manual_seed(seed)
    fitted = fit_mean_difference(model.residual_stats(prompts))
    drawn: list[Direction] = []
    for i in range(int(torch.randint(1, 7, (), generator=generator))):
        layer = int(torch.randint(1, model.n_layers, (), generator=generator))
        scale = float(torch.rand((), generator=generator).mul(3).exp2() / 4)
        if i % 2:
            drawn.append(a_direction(model, layer, seed=seed * 100 + i, scale=8 * scale))
        else:
            category = fitted.categories[int(torch.randint(3, (), generator=generator))]
            drawn.append(fitted.at(category, layer))
    return drawn


def tokens_of(seed: int) -> tuple[int, ...]:
    """Few tokens, or most: where nearly all count as a refusal, additions pass."""
    generator = torch.Generator().manual_seed(seed)
    n = (3, 60, 150, 250)[seed % 4]
    return tuple(sorted(torch.randperm(300, generator=generator)[:n].tolist()))


@pytest.mark.parametrize("name", ["llama", "qwen2"])
@pytest.mark.parametrize("seed", range(12))
def test_the_choice_is_that_of_the_full_sweep(
    load_tiny, three_categories: PromptSet, name: str, seed: int
) -> None:
    model = load_tiny(name)
    trust = trust_in(three_categories, tokens_of(seed), "red" if seed % 5 == 0 else "")
    candidates = random_candidates(model, three_categories, seed)
    sides = {
        "harmful": three_categories.only(label="refuse"),
        "harmless": three_categories.only(label="comply"),
    }
    scores = score_candidates(model, candidates, trust, **sides)
    try:
        full = select(scores, model.n_layers)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            race_candidates(model, candidates, trust, **sides)
        return
    ticks: list[int] = []
    raced = race_candidates(model, candidates, trust, **sides, progress=ticks.append)
    assert chosen(raced) == chosen(full)
    assert sum(ticks) == len(candidates)
    for ours, theirs in zip(raced.candidates, full.candidates, strict=True):
        assert_measured_is_equal(ours, theirs)


def chosen(selection: Selection) -> tuple[object, ...]:
    return selection.chosen, selection.survivors, selection.relaxed


def assert_measured_is_equal(ours: Candidate, theirs: Candidate) -> None:
    """What was run has the sweep's value; what was not says why."""
    for name in ("ablation", "addition", "kl"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.control == pytest.approx(b.control, abs=1e-5, nan_ok=True)
        if a.method.startswith("not run"):
            assert (a.value, a.n) == (None, 0)
        else:
            assert (a.n, a.method) == (b.n, b.method)
            assert value_or_nan(a) == pytest.approx(value_or_nan(b), abs=1e-5, nan_ok=True)


def scored(layer: int, ablation: float, addition: float, kl: float) -> Candidate:
    values = [
        Estimate(None if math.isnan(v) else v, None, None, 8, "test", control)
        for v, control in ((ablation, 2.0), (addition, -4.0), (kl, 0.0))
    ]
    return Candidate(layer, -1, *values)


@pytest.mark.parametrize("seed", range(200))
def test_many_random_tables_of_scores(
    tiny_llama: LensModel,
    three_categories: PromptSet,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """The order of the race alone, on scores of all kinds: undefined, on the limits, failing."""
    generator = torch.Generator().manual_seed(seed)

    def draw(values: list[float]) -> float:
        return values[int(torch.randint(len(values), (), generator=generator))]

    nan = math.nan
    kls = [0.0, 0.1, 0.1000001, 2.0, nan] if seed % 3 else [0.2, 2.0, nan]
    known = {
        i: scored(
            int(torch.randint(3, (), generator=generator)),
            draw([-3.0, -1.0, -1.0, 0.0, nan]),
            draw([-1.0, -1e-9, 0.0, 0.5, 3.0, nan]),
            draw(kls),
        )
        for i in range(6)
    }
    candidates = [
        replace(a_direction(tiny_llama, c.layer, seed=i), category=str(i)) for i, c in known.items()
    ]

    class Known(CandidateScores):
        @classmethod
        def against_unedited(cls, model, trust, harmful, harmless):
            harmful_plain, harmless_plain = torch.full((8,), 2.0), torch.full((8,), -4.0)
            plain = torch.zeros(8, 300)
            return cls(model, trust, harmful, harmless, plain, harmful_plain, harmless_plain)

        def ablation(self, d):
            return known[int(d.category)].ablation

        def addition(self, d):
            return known[int(d.category)].addition

        def divergence(self, d):
            return known[int(d.category)].kl

    monkeypatch.setattr(race, "CandidateScores", Known)
    few = three_categories.first(1)
    sides = {"harmful": few.only(label="refuse"), "harmless": few.only(label="comply")}
    trust = trust_in(few, (3,))
    try:
        full = select(list(known.values()), tiny_llama.n_layers)
    except ValueError:
        with pytest.raises(ValueError, match="undefined"):
            race_candidates(tiny_llama, candidates, trust, **sides)
        return
    raced = race_candidates(tiny_llama, candidates, trust, **sides)
    assert chosen(raced) == chosen(full)
    passed = full.relaxed is None
    for ours, theirs in zip(raced.candidates, full.candidates, strict=True):
        late, induces = theirs.layer >= 2, value_or_nan(theirs.addition) >= 0
        assert ours.addition.method.startswith("not run") == late
        assert ours.kl.method.startswith("not run") == (late or not induces)
        keeps = induces and value_or_nan(theirs.kl) <= 0.1
        assert ours.ablation.method.startswith("not run") == (late or passed and not keeps)
