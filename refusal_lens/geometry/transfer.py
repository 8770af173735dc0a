"""How well directions separate the two sides of prompts that they were not fitted on.

The area under the ROC curve of the coordinate along a direction, within each category, so that no
refused prompt of one topic is compared with an answered one of another: the share of (refuse,
comply) pairs of that category's prompts of which the refuse side lies further along, ties half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from refusal_lens.auroc import LEAST_A_SIDE, drawn_aurocs
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import TAILS
from refusal_lens.prompts import LABELS
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.residuals import Residuals

LEAST: Final = 3  # prompts per side; an area of fewer says nothing
DRAWS: Final = 2000
SideCoordinates = tuple[
    Tensor, Tensor
]  # coordinates of the refuse and the comply side, of any lengths


@final
@dataclass(frozen=True, eq=False)
class Transfer(Record):
    """Held-out areas under the ROC curve: rows are directions, columns categories of prompts.

    `mean[r]` is the mean over columns with its interval, `area[r, c]` one category's, NaN where it
    has fewer than `LEAST` prompts on a side or the direction does not exist. There is no interval
    (NaN, None) with fewer than five prompts on a side, of a mean in all its categories together.
    `left_out` is the same of directions each of which was fitted without the category that it is
    tried on, None where there are none. `count` is the number of prompts (refuse, comply) by
    column. Chance: .5.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    area: Float[Tensor, "row column"]
    low: Float[Tensor, "row column"]
    high: Float[Tensor, "row column"]
    mean: tuple[Estimate, ...]
    left_out: Estimate | None
    left_out_area: Float[Tensor, " column"]
    count: tuple[tuple[int, int], ...]
    provenance: Provenance

    def of(self, row: str) -> Estimate:
        """The mean over categories of one direction's areas."""
        return self.mean[self.rows.index(row)]


def measure_transfer(
    residuals: Residuals,
    directions: Sequence[Direction],
    *,
    without: Mapping[str, Direction] | None = None,
    seed: int = 0,
) -> Transfer:
    """Each direction's area on each category of held-out residuals.

    `without[c]` is a direction fitted on all categories but c. Intervals: percentiles of 2,000
    bootstrap draws of prompts, within category and side, where there are five or more on a side.
    Where the sides are separated perfectly they have no width: they say nothing of prompts that
    would not be.

    >>> held_out = model.residuals(prompts.only(split="test"))
    >>> transfer = measure_transfer(held_out, [direction])
    >>> transfer.rows, transfer.area.shape
    (('advice',), torch.Size([1, 3]))

    Raises:
        InputError: no directions, directions of several sites or offsets, or residuals of plain
            texts.
    """
    without = {} if without is None else dict(without)
    places = {(d.site, d.offset) for d in (*directions, *without.values())}
    if len(places) != 1 or not directions:
        raise InputError(
            f"transfer is measured of directions of one site and offset; found {len(directions)} "
            f"directions at {len(places)}"
        )
    prompts, ((site, offset),) = residuals.labelled, places
    x = residuals.at(site, offset).double()
    rows = {
        c: [
            [i for i, p in enumerate(prompts) if (p.category, p.label) == (c, label)]
            for label in LABELS
        ]
        for c in prompts.categories
    }
    drawn = _Drawn(seed)
    areas = [
        _Row.of([_sides(x, rows[c], d) for c in prompts.categories], drawn) for d in directions
    ]
    nowhere: SideCoordinates = (x.new_empty(0), x.new_empty(0))
    left = _Row.of(
        [_sides(x, rows[c], without[c]) if c in without else nowhere for c in prompts.categories],
        drawn,
    )
    n = len(prompts)
    return Transfer(
        rows=tuple(d.category for d in directions),
        columns=prompts.categories,
        area=torch.stack([row.area for row in areas]).float(),
        low=torch.stack([row.low for row in areas]).float(),
        high=torch.stack([row.high for row in areas]).float(),
        mean=tuple(row.mean(n) for row in areas),
        left_out=left.mean(n) if without else None,
        left_out_area=left.area.float(),
        count=tuple((len(a), len(b)) for a, b in rows.values()),
        provenance=residuals.provenance,
    )


@final
class _Drawn:
    """Bootstrap weights of a side's prompts: the same ones for every direction."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._weights: dict[tuple[int, int], Tensor] = {}

    def weights(self, column: int, side: int, n: int) -> Float64[Tensor, "draw prompt"]:
        """How often each prompt is drawn; the first draw is the sample itself."""
        if (column, side) not in self._weights:
            rows = torch.randint(n, (DRAWS, n), generator=self._generator)
            counts = torch.zeros(DRAWS, n, dtype=torch.float64)
            counts.scatter_add_(1, rows, torch.ones_like(rows, dtype=torch.float64))
            self._weights[column, side] = torch.cat([torch.ones(1, n).double(), counts])
        return self._weights[column, side]


@final
@dataclass(frozen=True)
class _Row:
    """Areas of one direction under each draw, the sample itself first."""

    drawn: Float64[Tensor, "draw column"]
    count: Int64[Tensor, "column side"]

    @classmethod
    def of(cls, columns: Sequence[SideCoordinates], drawn: _Drawn) -> "_Row":
        """Each column's area under every draw, NaN where a side has too few prompts."""
        areas: list[Tensor] = []
        for column, (refuse, comply) in enumerate(columns):
            if min(len(refuse), len(comply)) < LEAST or bool(refuse.isnan().any()):
                areas.append(torch.full((DRAWS + 1,), torch.nan).double())
                continue
            weights = [drawn.weights(column, i, len(x)) for i, x in enumerate((refuse, comply))]
            side = torch.arange(len(refuse) + len(comply)) < len(refuse)
            areas.append(drawn_aurocs(torch.cat([refuse, comply]), side, torch.cat(weights, 1)))
        return cls(torch.stack(areas, 1), torch.tensor([[len(a), len(b)] for a, b in columns]))

    @property
    def area(self) -> Float64[Tensor, " column"]:
        """Of the sample."""
        return self.drawn[0]

    @property
    def low(self) -> Float64[Tensor, " column"]:
        """Lower ends of the intervals."""
        return self._end(TAILS[0])

    @property
    def high(self) -> Float64[Tensor, " column"]:
        """Upper ends."""
        return self._end(TAILS[1])

    def _end(self, tail: float) -> Float64[Tensor, " column"]:
        enough = self.count.amin(1) >= LEAST_A_SIDE
        return torch.where(enough, self.drawn[1:].quantile(tail, dim=0), torch.nan)

    def mean(self, n: int) -> Estimate:
        """Over the categories that have an area."""
        defined = ~self.area.isnan()
        used = self.drawn[:, defined]
        method = (
            f"AUROC within category, mean over {used.shape[1]} of {self.drawn.shape[1]} "
            "categories, percentile bootstrap over prompts; control: chance"
        )
        if used.shape[1] == 0:
            return Estimate(None, None, None, n, method, 0.5)
        means = used.mean(1)
        if int(self.count[defined].sum(0).min()) < LEAST_A_SIDE:
            return Estimate(float(means[0]), None, None, n, method, 0.5)
        low, high = means[1:].quantile(torch.tensor(TAILS, dtype=torch.float64)).tolist()
        return Estimate(float(means[0]), low, high, n, method, 0.5)


def _sides(
    x: Float64[Tensor, "prompt d_model"], rows: Sequence[Sequence[int]], d: Direction
) -> SideCoordinates:
    refuse, comply = (x[list(side)] @ d.vector.double() for side in rows)
    return refuse, comply
