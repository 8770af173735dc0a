"""Across categories: which parts write every kind of refusal, and which only one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.attribution.base import Attribution
from refusal_lens.attribution.components import WRITERS, Component
from refusal_lens.errors import InputError
from refusal_lens.linalg import cosine_matrix
from refusal_lens.records import Estimate, Provenance, Record

LEAST_SHARE: Final = 0.01  # of the whole difference: below it a part is one among hundreds


@final
@dataclass(frozen=True, eq=False)
class ComponentMatrix(Record):
    """Each category's attribution side by side, as shares of the whole difference.

    `share[category, component]` times `whole[category]` is the component's score; rows sum to
    one. `low` and `high` bound 95% intervals over `n` pairs each, not corrected for the number of
    components; a part "serves" a category if its lower bound is above 1% of the difference.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    categories: tuple[str, ...]
    components: tuple[Component, ...]
    share: Float64[Tensor, "category component"]
    low: Float64[Tensor, "category component"]
    high: Float64[Tensor, "category component"]
    whole: Float64[Tensor, " category"]
    n: tuple[int, ...]
    provenance: Provenance

    @property
    def similarity(self) -> Float[Tensor, "category category"]:
        """Cosines between the categories' rows: do the same parts write them?"""
        return cosine_matrix(self.share.float())

    def serves(self) -> dict[Component, tuple[str, ...]]:
        """Heads and MLPs with the categories towards whose refusal they write."""
        return {
            component: tuple(
                c for i, c in enumerate(self.categories) if float(self.low[i, k]) > LEAST_SHARE
            )
            for k, component in enumerate(self.components)
            if component.kind in WRITERS
        }

    def serving(self, least: int, most: int | None = None) -> tuple[Component, ...]:
        """Parts that serve at least (and at most) so many categories, largest mean share first.

        `serving(len(categories))` serves all kinds; `serving(1, 1)` only one.
        """
        counts = {c: len(served) for c, served in self.serves().items()}
        top = len(self.categories) if most is None else most
        mean = dict(zip(self.components, self.share.mean(0).tolist(), strict=True))
        kept = [c for c, k in counts.items() if least <= k <= top]

        def size(component: Component) -> float:
            return -mean[component]

        return tuple(sorted(kept, key=size))

    def mean_shares(self, controls: Mapping[str, Attribution]) -> dict[Component, Estimate]:
        """Each head's and MLP's share, averaged over categories; n counts their pairs.

        The categories are taken as they are: the interval is that of drawing other pairs, which
        differ from category to category, and it is not widened for the number of parts. The
        control is what the same part writes in `controls`, in shares of this model's differences;
        None where a category has none.
        """
        k = len(self.categories)
        half = ((self.high - self.low) / 2).square().sum(0).sqrt() / k
        mean = self.share.mean(0)
        whole = all(c in controls for c in self.categories)
        found: dict[Component, Estimate] = {}
        for i, part in enumerate(self.components):
            if part.kind not in WRITERS:
                continue
            other = (
                sum(
                    controls[c].score_of(part) / float(self.whole[row])
                    for row, c in enumerate(self.categories)
                )
                / k
                if whole
                else None
            )
            value, error = float(mean[i]), float(half[i])
            defined = value == value and error == error
            found[part] = Estimate(
                value if defined else None,
                value - error if defined else None,
                value + error if defined else None,
                sum(self.n),
                f"mean share over {k} categories, t intervals in quadrature; control: same part",
                other,
            )
        return found


def component_matrix(attributions: Sequence[Attribution]) -> ComponentMatrix:
    """Put class-difference attributions of several categories, at one layer, side by side.

    Raises:
        InputError: fewer than two, a category twice, different layers or models, or a difference
            that is not above zero, of which a share means nothing.
    """
    categories = tuple(a.category for a in attributions)
    if len(set(categories)) < max(2, len(categories)):
        raise InputError(f"expected two or more different categories, found {list(categories)}")
    first = attributions[0]
    for a in attributions:
        same = (a.components, a.provenance.model) == (first.components, first.provenance.model)
        if not same or not a.whole > 0:
            raise InputError(
                f"the attribution of {a.category!r} (model {a.provenance.model}, at "
                f"{a.target.site}, whole {a.whole:.3g}) can't stand beside that of "
                f"{first.category!r}: expected one model, one site and a difference above zero"
            )
    whole = torch.tensor([a.whole for a in attributions], dtype=torch.float64)

    def rows(values: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(values)) / whole[:, None]

    return ComponentMatrix(
        categories=categories,
        components=first.components,
        share=rows([a.scores for a in attributions]),
        low=rows([a.low for a in attributions]),
        high=rows([a.high for a in attributions]),
        whole=whole,
        n=tuple(a.n for a in attributions),
        provenance=first.provenance,
    )
