"""Fragments of the page: Jinja templates with escaping on; numbers and places are made here."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from refusal_lens.attribution import TokenMap
from refusal_lens.explorer.choices import Choice
from refusal_lens.explorer.projection import HEIGHT, LEFT, WIDTH, chart_of
from refusal_lens.explorer.question import (
    ACTIONS,
    LONGEST_PROMPT,
    MOST_EDITS,
    MOST_TOKENS,
    STRONGEST,
)
from refusal_lens.explorer.readings import QuestionReadings
from refusal_lens.interventions.base import PHASES
from refusal_lens.judges.refusal_styles import MANNERS
from refusal_lens.plots.text import number, shown, visible, visible_lines
from refusal_lens.plots.titles import titles_of
from refusal_lens.study.fitted import POOLED

TEMPLATES: Final = Path(__file__).parent / "templates"
_SHADES: Final = 10
_LOW, _HIGH = -0.5, 1.5  # coordinates with the palest and the deepest shade


def page_html(
    model: str, choices: Sequence[Choice], layer: int, *, report: bool, run: str | None
) -> str:
    """The whole page; it holds no answer yet.

    >>> from refusal_lens.explorer.choices import choices_of
    >>> page = page_html("<b>me", choices_of(directions), 2, report=False, run=None)
    >>> "<b>me" in page, "&lt;b&gt;me" in page
    (False, True)
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for place, choice in enumerate(choices):
        option = {
            "place": place,
            "title": title(choice.category),
            "layers": " ".join(map(str, choice.layers)),
        }
        groups.setdefault(choice.estimator, []).append(option)
    return _template("page.html").render(
        model=model,
        groups=groups,
        layer=layer,
        actions=ACTIONS,
        phases=PHASES,
        longest=LONGEST_PROMPT,
        most_tokens=MOST_TOKENS,
        most_edits=MOST_EDITS,
        strongest=STRONGEST,
        report=report,
        run=run,
    )


def readings_html(readings: QuestionReadings) -> str:
    """What was read of a question's answers: table, strips, projection, promoted tokens."""
    return _template("readings.html").render(
        rows=readings.rows,
        how=readings.how,
        layer=readings.layer,
        styles=MANNERS,
        strips=[(row.condition.name, _strip(row.tokens)) for row in readings.rows],
        chart=chart_of(readings),
        size=(WIDTH, HEIGHT, LEFT),
        promoted=readings.promoted,
    )


def title(category: str) -> str:
    """What the page calls a category.

    >>> title("over_refusal"), title("pooled"), title("mine")
    ('look-alike safety', 'all categories, pooled', 'mine')
    """
    if category == POOLED:
        return "all categories, pooled"
    return titles_of(None, [category]).get(category, category)


def answer_text(text: str) -> str:
    """A model's text with its line breaks, and what hides or turns text written out.

    >>> answer_text("a\\n" + chr(0x202E) + "b")
    'a\\n\\\\u202eb'
    """
    return visible_lines(text)


@cache
def _template(name: str) -> Any:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.filters["number"] = number
    environment.filters["token"] = _token
    environment.filters["called"] = title
    return environment.get_template(name)


def _token(text: str) -> str:
    """A token with blanks that can be seen; the template escapes it."""
    return visible(text.replace(" ", "\u2423")) or "\u2205"


def _strip(tokens: TokenMap) -> Mapping[str, Any]:
    """Layers downwards from the last one, tokens to the right; each cell a shade and a number."""
    rows = [
        (layer, [_cell(value) for value in values])
        for layer, values in zip(tokens.layers, tokens.coordinate.tolist(), strict=True)
    ]
    head = [
        (_token(text), position >= 0)
        for text, position in zip(tokens.tokens, tokens.positions, strict=True)
    ]
    return {"head": head, "rows": rows[::-1]}


def _cell(value: float) -> tuple[str, str]:
    """Shade and number: `s0` (benign side) to `s10` (refuse side), `none` where undefined."""
    if value != value:
        return "none", "\u2013"
    share = (min(max(value, _LOW), _HIGH) - _LOW) / (_HIGH - _LOW)
    return f"s{round(share * _SHADES)}", number(value, 1)
