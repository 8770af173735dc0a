"""The cosines and directions of a run at one layer, and a CSV of every layer."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from refusal_lens.errors import InputError
from refusal_lens.files import write_atomic
from refusal_lens.geometry import Comparison, Geometry, Separability, WithinTests, verdicts
from refusal_lens.geometry.comparison import SeparabilityVerdict
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.intervals import finite_or_none
from refusal_lens.plots.text import visible
from refusal_lens.records import Estimate
from refusal_lens.sites import Site
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.results import Results
from refusal_lens.study.stages.contrasts import WITHIN
from refusal_lens.study.stages.control import COMPARISON, CONTROL_GEOMETRY
from refusal_lens.study.stages.geometry import INTENDED
from refusal_lens.study.stages.structure import SEPARABILITY
from refusal_lens.tables.csv_text import csv_text
from refusal_lens.tables.table import Cell, Table

COLUMNS: Final[tuple[str, ...]] = (
    "layer",
    "offset",
    "category",
    "other_category",
    "n",
    "corrected",
    "low",
    "high",
    "naive",
    "ceiling",
    "not_0",
    "apart",
    "apart_low",
    "apart_high",
    "not_1",
    "control",
    "difference",
    "difference_low",
    "difference_high",
    "reliability",
    "other_reliability",
)


@final
@dataclass(frozen=True, eq=False)
class GeometryTables:
    """The cosines of a run at every layer with what they are judged by.

    Of a run without a control model `control` and `comparison` are None, of one whose sign-flip
    tests have not been made, `tests`, and `within` of one that holds no tests of refused against
    answered prompts of its own model.
    """

    geometry: Geometry
    control: Geometry | None
    comparison: Comparison | None
    tests: Separability | None
    within: WithinTests | None

    @classmethod
    def of(cls, results: Results) -> "GeometryTables":
        """Read from a run folder.

        Raises:
            InputError: the run has no geometry, or a record is damaged.
        """
        within = results.find(WITHIN)
        return cls(
            _fitted(results),
            results.find(CONTROL_GEOMETRY),
            results.find(COMPARISON),
            results.find(SEPARABILITY),
            within if within is not None and results.is_of_model(within.provenance) else None,
        )

    def row(self, a: str, b: str, site: Site) -> dict[str, Any]:
        """What is known of two categories at a site, by column; None is undefined or not there."""
        g = self.geometry
        s, i, j = g.sites.index(site), g.categories.index(a), g.categories.index(b)
        cosine, apart = g.cosine(a, b, site.layer), g.apart(a, b, site.layer)
        change, other = self._change(s, i, j), None
        if self.control is not None and site in self.control.sites:
            other = self.control.cosine(a, b, site.layer).value
        entries = (g.naive[s, i, j], g.ceiling[s, i, j], g.reliability[s, i], g.reliability[s, j])
        naive, ceiling, reliability, other_reliability = (finite_or_none(x) for x in entries)
        values = (
            *(site.layer, g.offset, a, b, cosine.n),
            *(cosine.value, cosine.low, cosine.high, naive, ceiling, _beside(cosine)),
            *(apart.value, apart.low, apart.high, _above(apart)),
            *(other, change.value, change.low, change.high, reliability, other_reliability),
        )
        return dict(zip(COLUMNS, values, strict=True))

    def pairs(self) -> list[tuple[str, str]]:
        """Every two categories once, in the order of the run."""
        names = self.geometry.categories
        return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

    def of_pairs(self, layer: int) -> Table:
        """A row for each two categories at a layer.

        Raises:
            InputError: a layer that the run does not have.
        """
        g, site = self.geometry, _site(self.geometry, layer)
        rows = tuple(self._pair_cells(a, b, site) for a, b in self.pairs())
        return Table(
            f"cosines at layer {layer}, offset {g.offset}, {visible(g.provenance.model)}",
            (
                "categories",
                "corrected\n[95%]",
                "naive,\nceiling",
                "not 0,\nnot 1",
                "control",
                "minus control\n[95%]",
                "n",
            ),
            rows,
        )

    def _pair_cells(self, a: str, b: str, site: Site) -> tuple[Cell, ...]:
        r = self.row(a, b, site)
        change = _with_interval(r["difference"], r["difference_low"], r["difference_high"])
        texts = (
            f"{visible(a)}\n× {visible(b)}",
            _with_interval(r["corrected"], r["low"], r["high"]).replace(" ", "\n", 1),
            f"{_with_interval(r['naive'])}\n{_with_interval(r['ceiling'])}",
            f"{_word(r['not_0'])}\n{_word(r['not_1'])}",
            self._of_control(_with_interval(r["control"])),
            self._of_control(change.replace(" ", "\n", 1)),
            str(r["n"]),
        )
        return tuple(map(Cell, texts))

    def of_categories(self, layer: int) -> Table:
        """A row for each category: reliability at a layer, q of the sign flips, verdict.

        Raises:
            InputError: a layer that the run does not have.
        """
        g = self.geometry
        s = g.sites.index(_site(g, layer))
        verdict_of: dict[str, SeparabilityVerdict] = {}
        if self.tests is not None:
            verdict_of = verdicts(self.tests, self.comparison, self.within)
        rows: list[tuple[Cell, ...]] = []
        for i, c in enumerate(g.categories):
            parts = (g.reliability, g.reliability_low, g.reliability_high)
            q = "not tested"
            if self.tests is not None and c in self.tests.categories:
                value = float(self.tests.q[self.tests.categories.index(c)])
                q = "undefined" if math.isnan(value) else f"{value:.4f}"
            bounds = [finite_or_none(x[s, i]) for x in parts]
            reliability = _with_interval(bounds[0], bounds[1], bounds[2])
            if not float(g.reliability_low[s, i]) >= MEASURABLE:
                reliability += " (not measurable)"
            texts = (visible(c), str(g.n[i]), reliability, q, verdict_of.get(c, "not tested"))
            rows.append(tuple(map(Cell, texts)))
        head = ("category", "n pairs", "reliability [95%]", "q, sides\ndiffer", "verdict")
        return Table(f"categories at layer {layer}", head, tuple(rows))

    def write_csv(self, path: Path) -> Path:
        """Every two categories at every layer, a row each, columns as `COLUMNS`; what is undefined
        or was not measured is empty, and no name is a formula (`csv_text`).

        Raises:
            InputError: the file can't be written.
        """
        rows = (self.row(a, b, site) for site in self.geometry.sites for a, b in self.pairs())
        text = csv_text(COLUMNS, rows)
        try:
            write_atomic(path, text.encode())
        except OSError as error:
            raise InputError(f"{str(path)!r} can't be written ({error.strerror})") from None
        return path

    def _of_control(self, text: str) -> str:
        return "no control" if self.control is None else text

    def _change(self, s: int, i: int, j: int) -> Estimate:
        c = self.comparison
        if c is None:
            return Estimate(None, None, None, 0, "no comparison")
        parts = (c.cosine, c.cosine_low, c.cosine_high)
        value, low, high = (finite_or_none(part[s, i, j]) for part in parts)
        return Estimate(value, low, high, min(c.n[i], c.n[j]), "model minus control")


def lengths_table(results: Results, layer: int | None) -> Table:
    """Length, reliability and n of each category's direction at a layer, by default the chosen one.

    Raises:
        InputError: the run has no geometry, or not this layer.
    """
    g = _fitted(results)
    site = _site(g, chosen_layer(results) if layer is None else layer)
    s = g.sites.index(site)
    rows: list[tuple[Cell, ...]] = []
    for i, category in enumerate(g.categories):
        parts = (g.reliability, g.reliability_low, g.reliability_high)
        length = finite_or_none(g.length[s, i])
        value, low, high = (finite_or_none(x[s, i]) for x in parts)
        reliability = "undefined" if length is None else _with_interval(value, low, high, 3)
        shown = "undefined" if length is None else f"{length:.3g}"
        rows.append(tuple(map(Cell, (visible(category), str(g.n[i]), shown, reliability))))
    caption = f"layer {site.layer}, offset {g.offset}, {visible(g.provenance.model)}"
    return Table(caption, ("category", "n pairs", "length", "reliability [95%]"), tuple(rows))


def _fitted(results: Results) -> Geometry:
    if not results.has(INTENDED):
        why = results.gap("geometry") or "the stage “geometry” has not finished"
        raise InputError(f"this run has no geometry: {why}; run the study again")
    return results.get(INTENDED)


def _site(geometry: Geometry, layer: int) -> Site:
    if Site(layer) not in geometry.sites:
        raise InputError(f"layer {layer} is not in this run: 0 to {len(geometry.sites) - 1}")
    return Site(layer)


def _beside(e: Estimate) -> bool | None:
    """Whether the interval leaves out 0; None where there is none."""
    return None if e.low is None or e.high is None else not e.low <= 0 <= e.high


def _above(e: Estimate) -> bool | None:
    return None if e.low is None else e.low > 0


def _word(answer: bool | None) -> str:
    return "undefined" if answer is None else "yes" if answer else "open"


def _with_interval(
    value: float | None, low: float | None = None, high: float | None = None, digits: int = 2
) -> str:
    if value is None:
        return "undefined"
    text = f"{value:.{digits}f}"
    if low is None or high is None:
        return text
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]"
