"""Directions learned by gradient know nothing of labels that are exchanged.

They learn what brings refusal about, which prompts of either side show: the direction of refusal is
found again, and of the exchanged labels it says nothing.
"""

from dataclasses import replace

import pytest
import torch
from support.planted_circuit import planted_prompts
from support.planted_subspace import (
    ALPHA,
    REFUSAL,
    SPARE,
    A,
    B,
    axis,
    in_the_stream,
    planted_plane,
)

from refusal_lens.auroc import aurocs
from refusal_lens.directions import fit_within_categories
from refusal_lens.optimised import (
    Objective,
    Settings,
    Weights,
    fit_combination,
    fit_cone,
    fit_rdo,
)
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.exchange import exchange_half
from refusal_lens.sites import Site

FAST = Settings(
    steps=12, rows=4, target_tokens=1, retain_tokens=0, evaluate_every=4, learning_rate=0.03
)
WORDS = ("a lamp", "two birds", "rain", "red ink", "old maps", "the sea")


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    return planted_plane(tmp_path_factory.mktemp("plane"))


def held_out():
    """Pairs of other texts in the categories of `planted_prompts`."""
    return PromptSet(
        tuple(
            replace(p, text=f"Say why {WORDS[i // 2 % 6]}{p.text[-1]}")
            for i, p in enumerate(planted_prompts(6))
        )
    )


def rdo(model, objective):
    return fit_rdo(model, objective, settings=FAST)


def cone(model, objective):
    return fit_cone(model, objective, dimension=2, settings=FAST)


def combination(model, objective):
    spare = axis(model, SPARE)
    vectors = {"mixed": axis(model, A, B) + spare, "spare": spare}
    basis = [replace(in_the_stream(model, v, name), scale=ALPHA) for name, v in vectors.items()]
    settings = replace(FAST, learning_rate=0.1, weights=Weights(addition=1.0))
    return fit_combination(model, replace(objective, refusals=None), basis, settings=settings)


def area(model, learned, prompts):
    x = model.residuals(prompts, sites=(Site(2),), offsets=(-1,)).at(Site(2)).double()
    refuse = torch.tensor([p.label == "refuse" for p in prompts])
    return float(aurocs((x @ learned.basis[0].double())[None], refuse)[0])


def fitted(model, learn, prompts):
    mean = fit_within_categories(model.residual_stats(prompts, offsets=(-1,))).at("pooled", 2)
    objective = Objective(
        prompts.only(label="comply"),
        replace(mean, scale=ALPHA),
        refusals=model.chat.tokenizer.decode([REFUSAL]),
        refused=prompts.only(label="refuse"),
        refusal_openings=((REFUSAL,),),
    )
    return learn(model, objective)


@pytest.mark.slow
@pytest.mark.parametrize("learn", [rdo, cone, combination])
def test_on_held_out_prompts_exchanged_labels_are_at_chance(plane, learn):
    train, others = planted_prompts(6), held_out()
    assert area(plane, fitted(plane, learn, train), others) > 0.95
    null = [
        area(plane, fitted(plane, learn, exchange_half(train, seed)), exchange_half(others, seed))
        for seed in range(3)
    ]
    assert sum(null) / 3 == pytest.approx(0.5, abs=0.15)
