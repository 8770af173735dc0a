"""Tokens that directions promote."""

from collections.abc import Mapping, Sequence
from typing import Final

from refusal_lens.attribution import DepthProfile
from refusal_lens.plots.text import number, visible
from refusal_lens.tables.table import Cell, Table

_TOKENS: Final = 8


def promoted_table(profiles: Sequence[DepthProfile], *, titles: Mapping[str, str]) -> Table:
    """The tokens that each direction itself raises and lowers, beside random directions."""
    rows = tuple(
        (
            Cell(visible(titles.get(p.category, p.category))),
            Cell(_tokens(p.promoted.raised, p.promoted.raised_by)),
            Cell(_tokens(p.promoted.lowered, p.promoted.lowered_by)),
            Cell(f"{number(p.promoted.control, 1)}, n = {p.promoted.n_random}"),
        )
        for p in profiles
    )
    return Table(
        "Tokens that a direction, read through the final norm and the unembedding, raises and "
        "lowers, in standard deviations over the vocabulary. Where the first ones do not exceed "
        "the control, the direction promotes no token by itself.",
        ("category", "raises", "lowers", "largest of a random direction"),
        rows,
        "words",
    )


def _tokens(tokens: Sequence[str], by: Sequence[float]) -> str:
    both = list(zip(tokens, by, strict=True))[:_TOKENS]
    return ", ".join(f"“{visible(t)}” {number(z, 1)}" for t, z in both)
