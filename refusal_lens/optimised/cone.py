"""Refusal cones: several orthonormal directions whose positive mixtures all mediate refusal."""

from pathlib import Path
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.model import LensModel
from refusal_lens.optimised.learned import Learned
from refusal_lens.optimised.objective import Objective
from refusal_lens.optimised.problem import Problem
from refusal_lens.optimised.settings import Settings
from refusal_lens.progress import NO_PROGRESS, Progress

LARGEST: Final = 5
"""The largest dimension of the paper's cones."""

CONE_SETTINGS: Final = Settings(steps=100)
"""How a cone is learned by default: it has more to learn than one direction."""


def fit_cone(
    model: LensModel,
    objective: Objective,
    *,
    dimension: int,
    settings: Settings = CONE_SETTINGS,
    checkpoint: Path | str | None = None,
    progress: Progress = NO_PROGRESS,
) -> Learned:
    """Learn a cone of `dimension` directions (RCO; Wollschlaeger et al. 2025, arXiv 2502.17420).

    The orthonormal basis B minimises the losses of `fit_rdo`, averaged over samples r = B s, s
    uniform on the positive orthant of the sphere, plus the same averaged over the basis vectors.
    Gram-Schmidt follows each step. Each row of a step has a sample or a basis vector of its own.

    By default it begins at the start directions, filled up with random vectors: give the directions
    of the cone of one dimension less (the released code) or the mean difference alone. With
    `Settings(begin="random")` all begin at random (the paper). The mean difference is one vector of
    a cone at most, and no estimator of a mean can find a second.

    Everything else is as in `fit_rdo`. That each basis vector has an effect is to be tested on
    other prompts: a cone of too many dimensions shows in the evaluation, which grows.

    >>> settings = rl.optimised.Settings(steps=2, rows=2, target_tokens=2, retain_tokens=1)
    >>> benign = prompts.only(category="advice", label="comply", split="test")
    >>> objective = rl.optimised.Objective(benign, direction, refusals="I can't say.")
    >>> cone = rl.fit_cone(model, objective, dimension=2, settings=settings)
    >>> [d.category for d in cone.directions]
    ['advice 1 of 2', 'advice 2 of 2']

    Raises:
        InputError: as `fit_rdo`; a dimension other than 2 to 5, or fewer than two rows per step.
    """
    if type(dimension) is not int or not 2 <= dimension <= LARGEST:
        raise InputError(
            f"a cone of dimension {dimension!r} can't be learned; give 2 to {LARGEST}, or use "
            "fit_rdo for one direction"
        )
    if settings.rows < 2:
        raise InputError(
            "setting rows=1 leaves no row for a basis vector beside the sample; give 2 or more"
        )
    problem = Problem(model, objective, settings, f"cone of dimension {dimension}", dimension)
    return problem.solve(checkpoint, progress)
