"""What is learned by gradient, by the model's own passes: minutes each, and so only where named."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from refusal_lens.directions import fit_whitened_orthonormal, make_estimator
from refusal_lens.errors import InputError
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
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.study.estimators.entry import REFERENCE, Compared, Fitted, pooled_direction
from refusal_lens.study.fitted import Gap
from refusal_lens.study.scored import trust_of
from refusal_lens.study.stage import Bench

CONE: Final = 3

PROMPTS: Final = 128  # of each side; their answers and unedited logits are held in memory
STEP: Final = 18  # counts of the stage's work per step: its prompts, forwards and back
COUNTS: Final = Settings().steps * STEP + 2 * PROMPTS

Learn = Callable[[LensModel, Objective, Residuals, Path, Progress], Learned]


def _fit(name: str, learn: Learn, bench: Bench, residuals: Residuals, tick: Progress) -> Fitted:
    """From the mean difference; the refusal score takes the place of answers to harmful prompts."""
    start = pooled_direction(make_estimator(REFERENCE).within_categories(residuals))
    prompts = residuals.labelled
    objective = Objective(
        bench.spread(prompts, "comply", PROMPTS),
        start,
        refused=bench.spread(prompts, "refuse", PROMPTS),
        refusal_openings=_openings(trust_of(bench)),
    )
    stem = bench.results.folder / "checkpoints" / name
    try:
        learned = learn(bench.model, objective, residuals, stem, lambda n: tick(n * STEP))
    except InputError as error:
        raise Gap(str(error)) from None
    basis = learned.directions if len(learned.basis) > 1 else ()
    return Fitted((learned.directions[0],), basis=basis, method=learned.method)


def _rdo(
    model: LensModel, objective: Objective, residuals: Residuals, stem: Path, progress: Progress
) -> Learned:
    del residuals
    return fit_rdo(model, objective, checkpoint=stem, progress=progress)


def _cone(
    model: LensModel, objective: Objective, residuals: Residuals, stem: Path, progress: Progress
) -> Learned:
    del residuals
    return fit_cone(model, objective, dimension=CONE, checkpoint=stem, progress=progress)


def _combination(
    model: LensModel, objective: Objective, residuals: Residuals, stem: Path, progress: Progress
) -> Learned:
    """Of the categories' whitened directions."""
    basis = fit_whitened_orthonormal(residuals)
    return fit_combination(model, objective, basis, checkpoint=stem, progress=progress)


def _openings(trust: ScoreTrust) -> tuple[Ids, ...]:
    """The refusal openings that most categories share, else the refusal tokens."""
    groups = list(trust.openings.values())
    if groups:
        return max(groups, key=groups.count)
    return tuple((token,) for token in trust.refusal_tokens)


def _compared(name: str, learn: Learn, place: int) -> Compared:
    return Compared(
        name, "estimator", partial(_fit, name, learn), slow=True, counts=COUNTS, place=place
    )


COMPARED: Final = (
    _compared("rdo", _rdo, 140),
    _compared(f"cone_{CONE}", _cone, 141),
    _compared("combination", _combination, 142),
)
