"""Across categories: which components contribute to every kind of refusal, and which to one."""

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

LEAST_SHARE: Final = 0.01  # of the total difference: below it a component is one among hundreds


@final
@dataclass(frozen=True, eq=False)
class ComponentMatrix(Record):
    """Each category's direct contributions side by side, as shares of its total difference.

    `share[category, component]` times `total[category]` (residual-stream units) is the component's
    contribution; rows sum to one. `low` and `high` bound 95% intervals over `n` pairs each, not
    corrected for the number of components; a component "serves" a category if its lower bound is
    above 1% of the difference.

    >>> from refusal_lens.attribution import decompose
    >>> decomposition = decompose(model, prompts, [directions.at(c, 2) for c in prompts.categories])
    >>> matrix = component_matrix([decomposition.attribution(c) for c in prompts.categories])
    >>> bool((matrix.share.sum(1) - 1).abs().max() < 1e-4)
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    categories: tuple[str, ...]
    components: tuple[Component, ...]
    share: Float64[Tensor, "category component"]
    low: Float64[Tensor, "category component"]
    high: Float64[Tensor, "category component"]
    total: Float64[Tensor, " category"]
    n: tuple[int, ...]
    provenance: Provenance

    @property
    def similarity(self) -> Float[Tensor, "category category"]:
        """Cosines between the categories' rows: do the same components contribute?"""
        return cosine_matrix(self.share.float())

    def serves(self) -> dict[Component, tuple[str, ...]]:
        """Heads and MLPs, each with the categories to whose refusal it contributes."""
        return {
            component: tuple(
                c for i, c in enumerate(self.categories) if float(self.low[i, k]) > LEAST_SHARE
            )
            for k, component in enumerate(self.components)
            if component.kind in WRITERS
        }

    def serving(self, least: int, most: int | None = None) -> tuple[Component, ...]:
        """Components that serve at least (and at most) so many categories, by mean share.

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

        The categories are fixed: the interval is that of drawing other pairs, which differ from
        category to category, and it is not corrected for the number of components. The control is
        the same component's contribution in `controls`, in shares of this model's differences;
        None where a category has none.
        """
        k = len(self.categories)
        half = ((self.high - self.low) / 2).square().sum(0).sqrt() / k
        mean = self.share.mean(0)
        complete = all(c in controls for c in self.categories)
        shares: dict[Component, Estimate] = {}
        for i, component in enumerate(self.components):
            if component.kind not in WRITERS:
                continue
            other = (
                sum(
                    controls[c].score_of(component) / float(self.total[row])
                    for row, c in enumerate(self.categories)
                )
                / k
                if complete
                else None
            )
            value, error = float(mean[i]), float(half[i])
            defined = value == value and error == error
            shares[component] = Estimate(
                value if defined else None,
                value - error if defined else None,
                value + error if defined else None,
                sum(self.n),
                f"mean share over {k} categories, t intervals in quadrature; control: same part",
                other,
            )
        return shares


def component_matrix(attributions: Sequence[Attribution]) -> ComponentMatrix:
    """Put class-difference attributions of several categories, at one layer, side by side.

    Raises:
        InputError: fewer than two, a category twice, different layers or models, or a difference
            that is not above zero, of which a share means nothing.

    >>> from refusal_lens.attribution import decompose
    >>> decomposition = decompose(model, prompts, [directions.at(c, 2) for c in prompts.categories])
    >>> component_matrix([decomposition.attribution(c) for c in prompts.categories]).categories
    ('advice', 'humanizing', 'unsupported')
    """
    categories = tuple(a.category for a in attributions)
    if len(set(categories)) < max(2, len(categories)):
        raise InputError(f"expected two or more different categories, found {list(categories)}")
    first = attributions[0]
    for a in attributions:
        of, weights = a.provenance.model, a.provenance.model_digest
        same = (a.components, weights) == (first.components, first.provenance.model_digest)
        if not same or not a.total > 0:
            raise InputError(
                f"the attribution of {a.category!r} (model {of}, weights {weights[:12]}, at "
                f"{a.target.site}, total {a.total:.3g}) can't be compared with that of "
                f"{first.category!r}: expected one model, one site and a difference above zero"
            )
    total = torch.tensor([a.total for a in attributions], dtype=torch.float64)

    def rows(values: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(values)) / total[:, None]

    return ComponentMatrix(
        categories=categories,
        components=first.components,
        share=rows([a.scores for a in attributions]),
        low=rows([a.low for a in attributions]),
        high=rows([a.high for a in attributions]),
        total=total,
        n=tuple(a.n for a in attributions),
        provenance=first.provenance,
    )
