"""What the report opens with: questions, each with a small figure and its numbers in words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from refusal_lens.geometry import Geometry
from refusal_lens.records import Estimate
from refusal_lens.report.missing import Missing
from refusal_lens.report.part import SectionPart
from refusal_lens.report.run import Run
from refusal_lens.sites import Site

FrontAnswer = tuple[SectionPart, tuple[str, ...]]
"""The figure that answers a question, or why there is none, and its numbers in words."""


@final
@dataclass(frozen=True)
class Front:
    """A question that a section answers on top of the page, in the order of `place`."""

    name: str
    question: str
    place: int
    answer: Callable[[Run], FrontAnswer]


@final
@dataclass(frozen=True)
class Panel:
    """A question with its answer; `more` is the section that holds the whole of it."""

    name: str
    question: str
    shown: SectionPart
    words: tuple[str, ...]
    more: str


def not_measured(reason: Missing) -> FrontAnswer:
    """No figure, and why."""
    return reason.within("Not measured: "), ()


def geometry_at_layer(run: Run) -> tuple[Geometry, int] | Missing:
    """The cosines and the chosen layer, or why one of them is missing."""
    g, layer = run.geometry, run.layer
    if g is None or layer is None:
        return run.reason("geometry")
    if Site(layer) not in g.sites:
        words = f"layer {layer}, which was chosen, is not among the layers of the geometry"
        return Missing(words, "lacking:geometry")
    return g, layer


def measurable_at(g: Geometry, layer: int) -> tuple[str, ...]:
    """The categories whose direction is measurable at a layer."""
    kept = g.measurable()[g.sites.index(Site(layer))].tolist()
    return tuple(c for c, k in zip(g.categories, kept, strict=True) if k)


def percent_of(e: Estimate, digits: int = 1) -> str:
    """A rate with its interval, in percent: "12.5% [3.1, 28.0]"."""
    if e.value is None or e.low is None or e.high is None:
        return "undefined"
    ends = f"[{100 * e.low:.{digits}f}, {100 * e.high:.{digits}f}]"
    return f"{100 * e.value:.{digits}f}% {ends}".replace("-", "−")
