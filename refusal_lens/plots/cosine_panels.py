"""A geometry as the cosine figure needs it: plain numbers and words, site by site."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

from refusal_lens.geometry import Geometry
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.plots.matrices import Matrix
from refusal_lens.plots.text import escape, interval, tick
from refusal_lens.sites import Site

Value = Literal["corrected", "naive"]


@final
@dataclass(frozen=True)
class PanelAtSite:
    """One geometry at one site as plain numbers; `rows` finds the categories of the figure."""

    site: Site
    rows: tuple[int | None, ...]
    n: tuple[int, ...]
    cosines: tuple[list[list[float]], ...]  # naive, corrected, low, high, ceiling; or none
    bounds: tuple[tuple[float, float, float] | None, ...]  # reliability, low, high
    reliable: tuple[str, ...]

    def values(self, value: Value) -> Matrix:
        """The matrix, None where undefined."""
        if not self.cosines:
            return [[None] * len(self.rows) for _ in self.rows]
        matrix = self.cosines[0 if value == "naive" else 1]
        return [
            [
                None
                if a is None or b is None or math.isnan(matrix[a][b])
                else round(matrix[a][b], 4)
                for b in self.rows
            ]
            for a in self.rows
        ]

    def ends(self, i: int) -> tuple[float, float, float]:
        """Reliability of a category with its interval, NaN where it is undefined."""
        return self.bounds[i] or (math.nan, math.nan, math.nan)

    def doubtful(self, x: int, y: int) -> bool:
        """Whether one of two categories is not measurable."""
        ends = (self.bounds[x], self.bounds[y])
        return any(e is None or not e[1] >= MEASURABLE for e in ends)


@final
@dataclass(frozen=True, eq=False)
class CosinePanel:
    """One model's geometry, seen through the categories of the figure."""

    name: str
    geometry: Geometry
    categories: tuple[str, ...]
    titles: tuple[str, ...]
    value: Value

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Escaped titles."""
        return tuple(escape(t) for t in self.titles)

    @cached_property
    def ticks(self) -> tuple[str, ...]:
        """Escaped titles, cut for an axis."""
        return tuple(tick(t) for t in self.titles)

    def at(self, site: Site) -> PanelAtSite:
        """The panel's numbers at a site; none where the geometry was not measured there."""
        g = self.geometry
        rows = tuple(g.categories.index(c) if c in g.categories else None for c in self.categories)
        if site not in g.sites:
            nothing = (None,) * len(rows)
            return PanelAtSite(site, rows, g.n, (), nothing, ("",) * len(rows))
        s = g.sites.index(site)
        parts = (g.reliability, g.reliability_low, g.reliability_high)
        reliability = list(zip(*(part[s].tolist() for part in parts), strict=True))
        bounds = tuple(
            None if row is None or math.isnan(sum(reliability[row])) else reliability[row]
            for row in rows
        )
        return PanelAtSite(
            site,
            rows,
            g.n,
            tuple(part[s].tolist() for part in (g.naive, g.corrected, g.low, g.high, g.ceiling)),
            bounds,
            tuple("undefined" if ends is None else _reliability_text(ends) for ends in bounds),
        )


def _reliability_text(ends: tuple[float, float, float]) -> str:
    return interval(*ends) + ("" if ends[1] >= MEASURABLE else " (not measurable)")
