"""Text for plotly, which renders `<b>`, `<a href>`, `<br>`, entities, `%{..}` and `$..$` in labels.

Whatever a user or a model wrote passes through `escape` (or a function below that calls it)
before it goes into a figure. HTML pages escape by themselves, and their templates write every text
by `shown`.
"""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from refusal_lens.records import Estimate

# "&" first. "{" only acts after "%", and "$" only where MathJax is loaded, as in notebooks.
_ACTIVE: Final = (
    ("&", "&#38;"),
    ("<", "&#60;"),
    (">", "&#62;"),
    ('"', "&#34;"),
    ("'", "&#39;"),
    ("{", "&#123;"),
    ("$", "&#36;"),
)
_MARKS: Final = {"\n": "↵", "\r": "↵", "\t": "⇥"}


def visible(text: str) -> str:
    """The text with control, format and private characters written out, as `\\u202e`.

    Newlines and tabs become marks, so that nothing can hide, break a line or turn the direction
    of writing.
    """
    if text.isprintable():  # most are, and a page holds megabytes of its own
        return text
    return "".join(_MARKS.get(c) or (_written_out(c) if _hidden(c) else c) for c in text)


def visible_lines(text: str) -> str:
    """Visible text that keeps its line breaks: of an answer, a template, a cell.

    >>> visible_lines("a\\tb\\nc\\x1b")
    'a⇥b\\nc\\\\u001b'
    """
    return "\n".join(map(visible, text.split("\n")))


def shown(value: Any) -> Any:
    """What a template of a page writes for a value: of text that is no markup, visible lines.

    >>> shown("a\\u202eb"), shown(3)
    ('a\\\\u202eb', 3)
    """
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return visible_lines(value) if is_text else value


def escape(text: str) -> str:
    """Text as plotly shows it literally: nothing in it acts as markup, template or formula."""
    text = visible(text)
    for character, entity in _ACTIVE:
        text = text.replace(character, entity)
    return text


def tick(text: str, most: int = 19) -> str:
    """Escaped text for an axis, cut to what fits beside it."""
    text = visible(text)
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def token(text: str) -> str:
    """A token for a tick or a hover: spaces shown as ␣, newlines as ↵, empty as ∅; escaped."""
    return escape(text.replace(" ", "␣").replace("\n", "↵") or "∅")


def number(value: float | int | None, digits: int = 2) -> str:
    """A number with a true minus sign, or "undefined"."""
    if value is None or math.isnan(value):
        return "undefined"
    return _signed(f"{value:.{digits}f}")


def probability(value: float) -> str:
    """A p or q with four digits, `< 0.0001` under them, or "undefined"."""
    return "< 0.0001" if value < 0.00005 else number(value, 4)


def interval(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """`0.62 [0.50, 0.71]`, without brackets where there is no interval."""
    if value is None or low is None or high is None or math.isnan(value + low + high):
        return number(value, digits)
    ends = f"[{low:.{digits}f}, {high:.{digits}f}]".replace("-", "−")
    return f"{number(value, digits)} {ends}"  # an end just under 0 keeps its sign


def value_interval(estimate: Estimate, digits: int = 2) -> str:
    """An estimate as `0.62 [0.50, 0.71]`, where its n is given elsewhere."""
    return interval(estimate.value, estimate.low, estimate.high, digits)


def estimate_text(estimate: Estimate, digits: int = 2) -> str:
    """An estimate with interval, n and control."""
    text = f"{value_interval(estimate, digits)}, {counted(estimate)}"
    if estimate.control is not None:
        text += f", control {number(estimate.control, digits)}"
    return text


def condition_name(condition: str, titles: Mapping[str, str]) -> str:
    """`advice | added` as people say it, control characters written out; to be escaped."""
    name, bar, what = condition.rpartition(" | ")
    if not bar:
        return visible(condition)
    title = "all, pooled" if name == "pooled" else titles.get(name, name)
    return visible(f"{title}: {what}")


def counted(estimate: Estimate) -> str:
    """`n = 120`, and how many were left out where any could not be read."""
    text = f"n = {estimate.n}"
    return f"{text}, {estimate.missing} left out" if estimate.missing else text


def percent(estimate: Estimate) -> str:
    """A rate as `87% [80, 92], n = 120`, with what was left out of it."""
    return f"{percent_interval(estimate)}, {counted(estimate)}"


def percent_interval(estimate: Estimate) -> str:
    """A rate as `87% [80, 92]`, where its n is given elsewhere."""
    if estimate.value is None:
        return "undefined"
    text = f"{100 * estimate.value:.0f}%"
    if estimate.low is not None and estimate.high is not None:
        text += f" [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"
    return text


def reached(estimate: Estimate | None) -> str:
    """A rate at a matched refusal rate or damage, which no strength or rung may have."""
    return "not reached" if estimate is None else percent_interval(estimate)


def points_interval(estimate: Estimate, digits: int = 0) -> str:
    """A difference of rates in percentage points, as `12 [3, 20]`."""
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = (None if v is None else 100 * v for v in ends)
    return interval(value, low, high, digits)


def whole_percent(value: float | None) -> str:
    """A rate alone, as `87%`, or a dash where there is none."""
    return "–" if value is None else f"{value:.0%}"


def _signed(text: str) -> str:
    """With a true minus sign, which what rounds to zero does not get."""
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
