"""`Attribution` and `Decomposition`: each component's direct contribution to a projection."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from refusal_lens.attribution.components import WRITERS, Component
from refusal_lens.attribution.notebook import attribution_html
from refusal_lens.errors import InputError
from refusal_lens.intervals import t_quantile
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.records import Provenance, Record
from refusal_lens.sites import Site

SideOrDifference = Literal["difference", "refuse", "comply"]


@final
@dataclass(frozen=True)
class Target:
    """The direction onto which contributions are projected, and its length before normalising.

    >>> Target("advice", Site(2), -1, 3.5).site.hook_name
    'blocks.2.hook_resid_pre'
    """

    category: str
    site: Site
    offset: int
    scale: float


@final
@dataclass(frozen=True, eq=False)
class Attribution(Record):
    """Direct contributions: what each component adds to the projection r . x.

    Scores are in residual-stream units; positive is towards refusal. `of` says whose projection
    it is: one prompt's, the mean of one side, or the difference of the two means. `total` is r . x
    as read from the stream and `residual` is `total` minus the sum of the scores (floating-point
    error). `low` and `high` bound 95% t intervals over `n` pairs (or over prompts where a category
    is not paired); NaN for a single prompt. Components that write after the target's site are left
    out.

    >>> from refusal_lens.attribution import decompose_prompt
    >>> attribution = decompose_prompt(model, "Should I sue?", direction)
    >>> attribution.writers()[0].kind in ("head", "MLP")
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    target: Target
    category: str
    of: str
    components: tuple[Component, ...]
    scores: Float64[Tensor, " component"]
    low: Float64[Tensor, " component"]
    high: Float64[Tensor, " component"]
    total: float
    residual: float
    n: int
    provenance: Provenance

    def writers(self) -> tuple[Component, ...]:
        """Heads, mixers and MLPs by contribution, the largest towards refusal first."""
        order: list[int] = self.scores.argsort(descending=True).tolist()
        return tuple(self.components[i] for i in order if self.components[i].kind in WRITERS)

    def score_of(self, component: Component) -> float:
        """One component's contribution."""
        return float(self.scores[self.components.index(component)])

    def __repr__(self) -> str:
        where = f"{self.target.category} at {self.target.site}, offset {self.target.offset}"
        size = f"{len(self.components)} components"
        return (
            f"Attribution({self.of}, {self.category}, on {where}: {size}, "
            f"total {self.total:.4g}, residual {self.residual:.1e}, n = {self.n})"
        )

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        return attribution_html(self)


@final
@dataclass(frozen=True, eq=False)
class Decomposition(Record):
    """Every component's mean contribution to every direction's projection, by category and label.

    In residual-stream units; positive is towards refusal. Sums over `component` give `total` up to
    `residual`. `error` is the standard error of the difference of the two sides' means: over pairs
    where a category is paired (`n_pairs`), otherwise of two independent samples. NaN for a
    component that writes after the target's site, and for a side without prompts. `worst` is the
    largest |residual| of a prompt relative to the length of its stream vector.

    >>> from refusal_lens.attribution import decompose
    >>> decomposition = decompose(model, prompts, [direction])
    >>> n = len(decomposition.components)
    >>> decomposition.mean.shape == (1, 3, 2, n), decomposition.worst < 1e-5
    (True, True)
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    targets: tuple[Target, ...]
    categories: tuple[str, ...]
    components: tuple[Component, ...]
    mean: Float64[Tensor, "target category label component"]
    error: Float64[Tensor, "target category component"]
    total: Float64[Tensor, "target category label"]
    count: Int64[Tensor, "category label"]
    n_pairs: Int64[Tensor, " category"]
    worst: float
    provenance: Provenance

    @property
    def residual(self) -> Float64[Tensor, "target category label"]:
        """`total` minus the sum of the contributions: floating-point error."""
        return self.total - self.mean.nansum(-1)

    @property
    def difference(self) -> Float64[Tensor, "target category component"]:
        """Should-refuse minus benign; sums to the direction's length on the prompts of its fit."""
        return self.mean[:, :, REFUSE] - self.mean[:, :, COMPLY]

    def attribution(
        self,
        target: str,
        *,
        category: str | None = None,
        of: SideOrDifference = "difference",
        site: Site | None = None,
        offset: int | None = None,
    ) -> Attribution:
        """One target's attribution on one category's prompts (by default the target's own).

        Raises:
            InputError: a target or category that was not decomposed, or several targets of that
                name, so that `site` or `offset` must say which.
        """
        k = self._target(target, site, offset)
        c = _index(self.categories, category or target)
        sides = {"refuse": REFUSE, "comply": COMPLY}
        here = self._written(k)
        difference = of == "difference"
        scores = self.difference[k, c] if difference else self.mean[k, c, sides[of]]
        total = self.total[k, c]
        total = total[REFUSE] - total[COMPLY] if difference else total[sides[of]]
        n = self._n(c) if difference else int(self.count[c, sides[of]])
        half = self._half_width(k, c) if difference else torch.full_like(scores, nan)
        return Attribution(
            target=self.targets[k],
            category=self.categories[c],
            of="difference of the means" if difference else f"mean of the {of} side",
            components=tuple(x for x, kept in zip(self.components, here, strict=True) if kept),
            scores=scores[here],
            low=(scores - half)[here],
            high=(scores + half)[here],
            total=float(total),
            residual=float(total - scores[here].sum()),
            n=n,
            provenance=self.provenance,
        )

    def _target(self, name: str, site: Site | None, offset: int | None) -> int:
        matching = [
            k
            for k, t in enumerate(self.targets)
            if t.category == name and site in (None, t.site) and offset in (None, t.offset)
        ]
        if len(matching) != 1:
            known = [f"{t.category} at {t.site}, offset {t.offset}" for t in self.targets]
            raise InputError(
                f"target {name!r} names {len(matching)} of the directions that were decomposed; "
                f"name one by category, site and offset: {known}"
            )
        return matching[0]

    def _written(self, k: int) -> Tensor:
        site = self.targets[k].site
        return torch.tensor([x.writes_before(site) for x in self.components])

    def _n(self, c: int) -> int:
        """Pairs, or the smaller side's prompts where the category is not paired."""
        return int(self.n_pairs[c]) or int(self.count[c].min())

    def _half_width(self, k: int, c: int) -> Float64[Tensor, " component"]:
        n = self._n(c)
        return float(t_quantile(n - 1)) * self.error[k, c]


def _index(categories: Sequence[str], wanted: str) -> int:
    if wanted not in categories:
        raise InputError(f"category {wanted!r} was not decomposed; there are {list(categories)}")
    return list(categories).index(wanted)
