"""Invariant probes over categories: the 2 x 2 of ERM, IRM and their bottlenecks, always whole."""

from dataclasses import replace
from functools import partial
from typing import Final

from refusal_lens.directions import InvariantProbe, environments_by, fit_invariant_probe
from refusal_lens.directions.invariance.recipe import METHODS, Principle
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.study.estimators.entry import Compared, Fitted
from refusal_lens.study.fitted import POOLED
from refusal_lens.study.stage import Bench


def _fit(method: Principle, bench: Bench, residuals: Residuals, tick: Progress) -> Fitted:
    """The filter of one of the four, all of which are fitted when the first is asked for."""
    probe = bench.once("invariant probe", lambda: _probe(residuals, tick))
    direction = probe.filters.at_site(method, residuals.sites[0], residuals.offsets[0])
    config = probe.of(method).config
    words = f"penalty {config.penalty:g}, bottleneck {config.bottleneck:g}"
    return Fitted(
        (replace(direction, category=POOLED),), method=f"{method} filter, {words}", probe=probe
    )


def _probe(residuals: Residuals, tick: Progress) -> InvariantProbe:
    environments = environments_by(residuals.labelled, "category")
    probe = fit_invariant_probe(residuals, environments, residuals.sites[0], residuals.offsets[0])
    tick(1)
    return probe


COMPARED: Final = tuple(
    Compared(
        method.lower().replace("-", "_"),
        "estimator",
        partial(_fit, method),
        group="invariant probes",
        place=130 + i,
    )
    for i, method in enumerate(METHODS)
)
