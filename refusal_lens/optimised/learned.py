"""`Learned`: a direction or a cone as learning gave it, with how it came about."""

import re
from dataclasses import dataclass, replace
from typing import ClassVar, final

from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.optimised.schedule import generator_of
from refusal_lens.optimised.settings import Settings
from refusal_lens.optimised.sphere import positive_mixture
from refusal_lens.records import Provenance, Record
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Learned(Record):
    """A learned direction (one vector) or cone (an orthonormal basis), positive towards refusal.

    `method` names the method and what it went without. `alpha` is the length at which the vectors
    were added at `site`, and `low` the mean coordinate of the harmless prompts on each vector.
    `losses` holds every step's terms (`terms`, nats, unweighted); `evaluation` the weighted loss on
    prompts that were not learned from, after the steps `evaluated`; a term of fewer than four
    prompts is evaluated on those that it learned from, and `method` says so. `chosen` is the step
    whose vectors these are, and `stopped` says why there were no more. The random numbers are those
    of `settings.seed`.

    >>> settings = rl.optimised.Settings(steps=2, rows=2, target_tokens=2, retain_tokens=1)
    >>> objective = rl.optimised.Objective(["Why?", "Who?"], direction, refusals="No.")
    >>> learned = rl.fit_rdo(model, objective, settings=settings)
    >>> learned.method, learned.losses.shape
    ('RDO without ablation term evaluated on its own prompts', torch.Size([2, 2]))
    >>> learned.direction
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    method: str
    category: str
    site: Site
    offset: int
    alpha: float
    basis: Float[Tensor, "vector d_model"]
    low: Float[Tensor, " vector"]
    terms: tuple[str, ...]
    losses: Float64[Tensor, "step term"]
    evaluated: tuple[int, ...]
    evaluation: Float64[Tensor, " evaluation"]
    chosen: int
    stopped: str
    settings: Settings
    provenance: Provenance

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The basis vectors as directions of scale `alpha`; those of a cone are numbered.

        `high` is `low + alpha`: where an addition moves the harmless prompts.
        """
        n = len(self.basis)
        return tuple(
            self._direction(
                v, float(low), f"{self.category} {i} of {n}" if n > 1 else self.category
            )
            for i, (v, low) in enumerate(zip(self.basis, self.low, strict=True), 1)
        )

    @property
    def direction(self) -> Direction:
        """The one direction.

        Raises:
            InputError: this is a cone of several.
        """
        if len(self.basis) > 1:
            raise InputError(
                f"this is a cone of {len(self.basis)} dimensions; take one of its `directions`, "
                "or a `sample`"
            )
        return self.directions[0]

    def sample(self, n: int, *, seed: int = 0) -> tuple[Direction, ...]:
        """Directions of the cone, uniform on the positive orthant of its basis' sphere."""
        generator = generator_of(seed, n)
        vectors = [positive_mixture(self.basis, generator) for _ in range(n)]
        return tuple(
            self._direction(v, float((self.basis @ v) @ self.low), f"{self.category} sample {i}")
            for i, v in enumerate(vectors, 1)
        )

    def __repr__(self) -> str:
        return (
            f"Learned({self.method} of {self.category!r}: {len(self.basis)} at {self.site}, "
            f"alpha {self.alpha:.4g}, step {self.chosen} of {len(self.losses)}, "
            f"loss {float(self.evaluation.min()):.4g}, {self.provenance.model})"
        )

    def _direction(self, vector: Float[Tensor, " d_model"], low: float, name: str) -> Direction:
        made = replace(self.provenance, seed=self.settings.seed)
        where = (name, self.site, self.offset, vector.clone())
        return Direction(*where, self.alpha, low, low + self.alpha, made)


def without_number(name: str) -> str:
    """The category of a cone whose directions are numbered.

    >>> without_number("advice 1 of 2"), without_number("advice")
    ('advice', 'advice')
    """
    return re.sub(r" \d of \d$", "", name)


def coordinates(
    resid: Float[Tensor, "prompt d_model"], basis: Float[Tensor, "vector d_model"]
) -> Float[Tensor, " vector"]:
    """The mean coordinate of the prompts on each vector.

    >>> import torch
    >>> coordinates(torch.ones(3, 2), torch.eye(2)).tolist()
    [1.0, 1.0]
    """
    return (resid.double() @ basis.double().mT).mean(0).float()
