"""`Attribution` and `Decomposition`: what each component writes along a direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64, Int64
from scipy import stats
from torch import Tensor

from refusal_lens.attribution.components import WRITERS, Component
from refusal_lens.errors import InputError
from refusal_lens.intervals import LEVEL
from refusal_lens.records import Provenance, Record
from refusal_lens.residuals import COMPLY, REFUSE
from refusal_lens.sites import Site

Side = Literal["difference", "refuse", "comply"]


@final
@dataclass(frozen=True)
class Target:
    """The direction that is attributed; `scale` is its length before normalising."""

    category: str
    site: Site
    offset: int
    scale: float


@final
@dataclass(frozen=True, eq=False)
class Attribution(Record):
    """What each component adds to r . x, in residual-stream units; positive is towards refusal.

    `of` says whose projection it is: one prompt's, the mean of one side, or the difference of
    the two means. `whole` is r . x as read from the stream and `remainder` is `whole` minus the
    sum of the scores: rounding. `low` and `high` bound 95% t intervals over `n` pairs (or over
    prompts where a category is not paired); NaN for a single prompt. Components that write after
    the target's site are left out.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    target: Target
    category: str
    of: str
    components: tuple[Component, ...]
    scores: Float64[Tensor, " component"]
    low: Float64[Tensor, " component"]
    high: Float64[Tensor, " component"]
    whole: float
    remainder: float
    n: int
    provenance: Provenance

    def writers(self) -> tuple[Component, ...]:
        """Heads, mixers and MLPs by their score, the strongest towards refusal first."""
        order: list[int] = self.scores.argsort(descending=True).tolist()
        return tuple(self.components[i] for i in order if self.components[i].kind in WRITERS)

    def score_of(self, component: Component) -> float:
        """One component's score."""
        return float(self.scores[self.components.index(component)])


@final
@dataclass(frozen=True, eq=False)
class Decomposition(Record):
    """Every component's mean projection on every direction, by category and label of prompts.

    Sums over `component` give `whole` up to `remainder`. `error` is the standard error of the
    difference of the two sides' means: over pairs where a category is paired (`n_pairs`),
    otherwise of two independent samples. NaN for a component that writes after the target's site,
    and for a side without prompts. `worst` is the largest |remainder| of a prompt relative to the
    length of its stream vector.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    targets: tuple[Target, ...]
    categories: tuple[str, ...]
    components: tuple[Component, ...]
    mean: Float64[Tensor, "target category label component"]
    error: Float64[Tensor, "target category component"]
    whole: Float64[Tensor, "target category label"]
    count: Int64[Tensor, "category label"]
    n_pairs: Int64[Tensor, " category"]
    worst: float
    provenance: Provenance

    @property
    def remainder(self) -> Float64[Tensor, "target category label"]:
        """`whole` minus the sum of the parts."""
        return self.whole - self.mean.nansum(-1)

    @property
    def difference(self) -> Float64[Tensor, "target category component"]:
        """Refuse side minus comply side; sums to the direction's length on its own prompts."""
        return self.mean[:, :, REFUSE] - self.mean[:, :, COMPLY]

    def attribution(
        self,
        target: str,
        *,
        category: str | None = None,
        of: Side = "difference",
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
        whole = self.whole[k, c]
        whole = whole[REFUSE] - whole[COMPLY] if difference else whole[sides[of]]
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
            whole=float(whole),
            remainder=float(whole - scores[here].sum()),
            n=n,
            provenance=self.provenance,
        )

    def _target(self, name: str, site: Site | None, offset: int | None) -> int:
        found = [
            k
            for k, t in enumerate(self.targets)
            if t.category == name and site in (None, t.site) and offset in (None, t.offset)
        ]
        if len(found) != 1:
            held = [f"{t.category} at {t.site}, offset {t.offset}" for t in self.targets]
            raise InputError(
                f"target {name!r} names {len(found)} of the directions that were decomposed; name "
                f"one by category, site and offset: {held}"
            )
        return found[0]

    def _written(self, k: int) -> Tensor:
        site = self.targets[k].site
        return torch.tensor([x.writes_before(site) for x in self.components])

    def _n(self, c: int) -> int:
        """Pairs, or the smaller side's prompts where the category is not paired."""
        return int(self.n_pairs[c]) or int(self.count[c].min())

    def _half_width(self, k: int, c: int) -> Float64[Tensor, " component"]:
        n = self._n(c)
        t = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) if n > 1 else nan
        return t * self.error[k, c]


def _index(held: Sequence[str], wanted: str) -> int:
    if wanted not in held:
        raise InputError(f"category {wanted!r} was not decomposed; there are {list(held)}")
    return list(held).index(wanted)
