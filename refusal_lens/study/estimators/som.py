"""A self-organising map's directions, as many as held-out prompts ask for, ablated together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from refusal_lens.directions import Direction, SomSettings, fit_som
from refusal_lens.evaluation.scoring import refusal_scores
from refusal_lens.interventions import AblateSubspace
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import Residuals
from refusal_lens.selection import choose_directions
from refusal_lens.study.estimators.entry import Compared, Fitted
from refusal_lens.study.scored import asked, trust_of
from refusal_lens.study.stage import Bench

MOST: Final = 7  # directions, as in the paper
_PROMPTS: Final = 24  # of `val`, on which their number is chosen


def _fit(bench: Bench, residuals: Residuals, tick: Progress) -> Fitted:
    """The map of all refuse-side prompts at once; k by separability and score on `val`."""
    pooled = residuals.pooled()
    settings = SomSettings(seed=bench.study.seed)
    som = fit_som(pooled, "pooled", residuals.sites[0], residuals.offsets[0], settings=settings)
    tried = tuple(
        replace(d, category=f"neuron {i}") for i, d in enumerate(som.directions[:MOST], 1)
    )
    sides = [asked(bench, label, _PROMPTS) for label in ("refuse", "comply")]
    val = PromptSet((*sides[0], *sides[1]))
    held_out = bench.model.residuals(val, sites=residuals.sites, offsets=residuals.offsets)
    trust = trust_of(bench)

    def scores(erased: tuple[Direction, ...]) -> Sequence[float]:
        edits = (AblateSubspace(erased),) if erased else ()
        with bench.model.editing(*edits):
            return refusal_scores(bench.model, sides[0], trust).tolist()

    choice = choose_directions(tried, scores, train=pooled, held_out=held_out)
    tick(1)
    method = f"{choice.k} of {len(som.directions)} that won, wins {list(som.wins[: choice.k])}"
    return Fitted(
        (tried[0],), basis=tried[: choice.k], method=f"som subspace, {settings}: {method}"
    )


COMPARED: Final = (Compared("som_subspace", "estimator", _fit, place=120),)
