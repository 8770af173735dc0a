"""What is learned by gradient, by the model's own passes: minutes each, and so only where named."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from refusal_lens.directions import fit_whitened_orthonormal, make_estimator
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import Ids, LensModel
from refusal_lens.optimised import (
    Learned,
    Objective,
    Settings,
    fit_combination,
    fit_cone,
    fit_rdo,
)
from refusal_lens.optimised.combination import COMBINATION_SETTINGS
from refusal_lens.optimised.cone import CONE_SETTINGS
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.study.estimators.entry import REFERENCE, Compared, Fitted, pooled_direction
from refusal_lens.study.scored import trust_of
from refusal_lens.study.stage import Bench

CONE: Final = 3

PROMPTS: Final = 128  # of each side; their answers and unedited logits are held in memory
STEP: Final = 18  # counts of the stage's work per step: its prompts, forwards and back


class Learn(Protocol):
    """Learns from an objective, with all else that it needs known."""

    def __call__(
        self,
        model: LensModel,
        objective: Objective,
        *,
        settings: Settings,
        checkpoint: Path,
        progress: Progress,
    ) -> Learned: ...


def _combination(residuals: Residuals) -> Learn:
    """Of the categories' whitened directions."""
    return partial(fit_combination, basis=fit_whitened_orthonormal(residuals))


def _fit(
    name: str,
    learner: Callable[[Residuals], Learn],
    settings: Settings,
    bench: Bench,
    residuals: Residuals,
    tick: Progress,
) -> Fitted:
    """From the mean difference; the refusal score takes the place of answers to harmful prompts."""
    start = pooled_direction(make_estimator(REFERENCE).within_categories(residuals))
    prompts = residuals.labelled
    objective = Objective(
        bench.spread(prompts, "comply", PROMPTS),
        start,
        refused=bench.spread(prompts, "refuse", PROMPTS),
        refusal_openings=_openings(trust_of(bench)),
    )
    learned = learner(residuals)(
        bench.model,
        objective,
        settings=replace(settings, seed=bench.study.seed),
        checkpoint=bench.results.folder / "checkpoints" / name,
        progress=lambda n: tick(n * STEP),
    )
    basis = learned.directions if len(learned.basis) > 1 else ()
    words = f"{learned.method}, step {learned.chosen} of {len(learned.losses)}"
    return Fitted((learned.directions[0],), basis=basis, method=words)


def _openings(trust: ScoreTrust) -> tuple[Ids, ...]:
    """The refusal openings that most categories share, else the refusal tokens."""
    groups = list(trust.openings.values())
    if groups:
        return max(groups, key=groups.count)
    return tuple((token,) for token in trust.refusal_tokens)


def _compared(
    name: str, learner: Callable[[Residuals], Learn], settings: Settings, place: int
) -> Compared:
    counts = settings.steps * STEP + 2 * PROMPTS
    fit = partial(_fit, name, learner, settings)
    return Compared(name, "estimator", fit, slow=True, counts=counts, place=place)


COMPARED: Final = (
    _compared("rdo", lambda _: fit_rdo, Settings(), 140),
    _compared(f"cone_{CONE}", lambda _: partial(fit_cone, dimension=CONE), CONE_SETTINGS, 141),
    _compared("combination", _combination, COMBINATION_SETTINGS, 142),
)
