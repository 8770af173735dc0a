"""Many conditions in one batch: each prompt under an edit of its own."""

from dataclasses import dataclass, replace
from typing import final

from refusal_lens.arguments import several
from refusal_lens.errors import InputError
from refusal_lens.interventions.base import Edit, Part


@final
@dataclass(frozen=True, eq=False)
class PerRow(Edit):
    """One edit for each prompt of the call, in the order of its prompts; None leaves one alone.

    Equal to running each prompt by itself under its edit. Give the same edit object wherever the
    same edit is meant: rows that share it share their work.

    >>> edit = rl.PerRow((rl.Ablate(direction), None))
    >>> with model.editing(edit):
    ...     answers = model.generate(["Should I sell?", "Why?"], rl.Decoding(max_new_tokens=4))
    """

    edits: tuple[Edit | None, ...]

    def __post_init__(self) -> None:
        several(self.edits, (Edit, type(None)), what="edit", write="PerRow((a, None, b))")
        if not self.edits:
            raise InputError("PerRow of no edits: give one edit, or None, for each prompt")

    def _rows(self) -> dict[Edit, list[int]]:
        rows: dict[Edit, list[int]] = {}
        for row, edit in enumerate(self.edits):
            if edit is not None:
                rows.setdefault(edit, []).append(row)
        return rows

    def parts(self) -> tuple[Part, ...]:
        """The parts of each distinct edit, with the rows on which they act.

        >>> [sorted(part.rows) for part in rl.PerRow((rl.Ablate(direction), None)).parts()]
        [[0]]

        Raises:
            InputError: a `PerRow` inside a `PerRow`.
        """
        parts: list[Part] = []
        for edit, rows in self._rows().items():
            for part in edit.parts():
                if part.rows is not None:
                    raise InputError("a PerRow inside a PerRow: give each prompt one edit")
                parts.append(replace(part, rows=frozenset(rows), n_rows=len(self.edits)))
        return tuple(parts)

    def __repr__(self) -> str:
        each = [f"{edit!r} on rows {_spans(rows)}" for edit, rows in self._rows().items()]
        return f"PerRow({len(self.edits)} prompts: {'; '.join(each) or 'no edit'})"


def _spans(rows: list[int]) -> str:
    """Sorted numbers as "0-3, 7"."""
    spans: list[list[int]] = []
    for row in rows:
        if spans and row == spans[-1][1] + 1:
            spans[-1][1] = row
        else:
            spans.append([row, row])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)
