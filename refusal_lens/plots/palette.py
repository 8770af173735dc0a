"""Colours and marks: one for each category, the same in every figure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

TEXT: Final = "#1f2328"
QUIET: Final = "#57606a"
RULE: Final = "#d8dee4"
UNDEFINED: Final = "#e3e6ea"
CONTROL: Final = "#8b949e"
POOLED: Final = "#1f2328"
REFUSE: Final = "#b2182b"
BENIGN: Final = "#2166ac"
DIVERGING: Final = "RdBu_r"  # red is positive: towards refusal

# After Paul Tol's muted and vibrant schemes, dark enough for lines on white. Neighbours differ in
# lightness, and a symbol goes with each colour, so that nothing rests on hue alone.
_COLOURS: Final = (
    "#332288",
    "#ee7733",
    "#117733",
    "#cc3311",
    "#0077bb",
    "#aa4499",
    "#999933",
    "#882255",
    "#33aabb",
    "#ddaa33",
    "#8c6d46",
    "#5577dd",
    "#cc6677",
    "#44aa99",
)
_SYMBOLS: Final = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "cross",
    "x",
    "pentagon",
    "star",
    "hexagon",
    "hourglass",
)
_CONTROL_DASHES: Final = ("dash", "dot", "dashdot", "longdash")


@final
@dataclass(frozen=True)
class Mark:
    """How a curve is drawn."""

    colour: str
    symbol: str
    dash: str = "solid"


def marks(categories: Iterable[str]) -> dict[str, Mark]:
    """A mark for each category key by its place; the same keys give the same marks everywhere."""
    return {
        key: Mark(_COLOURS[i % len(_COLOURS)], _SYMBOLS[i % len(_SYMBOLS)])
        for i, key in enumerate(categories)
    }


def mark_of(name: str, categories: Iterable[str], controls: Iterable[str] = ()) -> Mark:
    """The mark of a curve: a category's own, near black for "pooled", dashed grey for a control.

    These two keep theirs where `categories` names them too, as titles of all curves do.
    """
    if name == "pooled":
        return Mark(POOLED, "circle")
    of_category, grey = marks(categories), list(controls)
    if name in of_category and name not in grey:
        return of_category[name]
    place = grey.index(name) if name in grey else 0
    return Mark(CONTROL, "circle-open", _CONTROL_DASHES[place % len(_CONTROL_DASHES)])


def faded(colour: str, opacity: float) -> str:
    """A colour `#rrggbb` as `rgba(...)`."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{opacity:g})"
