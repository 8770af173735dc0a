"""What a notebook shows of a prompt set: plain HTML, everything escaped."""

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from refusal_lens.prompts.prompt_set import PromptSet

_SHOWN: Final = 5
_STYLE: Final = 'style="text-align:left;white-space:pre-wrap"'


def prompts_html(prompts: "PromptSet") -> str:
    """How many prompts each category and split has on each side, and the first few.

    >>> html = prompts_html(prompts)
    >>> "advice" in html, "31 more prompts" in html
    (True, True)
    """
    sides = Counter((p.category, p.split, p.label) for p in prompts)
    splits = prompts.splits
    counts = [(c, *(_both_sides(sides, c, split) for split in splits)) for c in prompts.categories]
    first = [(p.id, p.label, p.text) for p in prompts.prompts[:_SHOWN]]
    parts = [
        f"<p>{escape(repr(prompts))}; refuse side + comply side:</p>",
        _table(("category", *map(escape, splits)), counts),
        _table(("id", "label", "text"), first),
    ]
    if (left := len(prompts) - _SHOWN) > 0:
        parts.append(f"<p>{left} more prompts</p>")
    return "".join(parts)


def _both_sides(sides: Counter[tuple[str, str, str]], category: str, split: str) -> str:
    """`32 + 32`, or a dash where the split has none of the category."""
    n = [sides[category, split, label] for label in ("refuse", "comply")]
    return f"{n[0]} + {n[1]}" if any(n) else "\u2013"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    heads = "".join(f"<th {_STYLE}>{name}</th>" for name in head)
    cells = ["".join(f"<td {_STYLE}>{escape(text)}</td>" for text in row) for row in rows]
    return f"<table><tr>{heads}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
