"""Which rows of text are trained on, and which tokens of the others are new to the autoencoder.

A token's residual depends on the tokens up to it alone. Rows share beginnings (answers those of
prompts, samples their openings, the prompts of a pair each other's), and where a row that is held
out begins like one that is trained on, its vectors there are the very same ones.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, final

import torch
from jaxtyping import Bool
from torch import Tensor

from refusal_lens.model.batch import Ids
from refusal_lens.sparse.reading import TrainingText

_HELD_OUT: Final = 20
"""One row in so many of each source is not trained on."""


def parted(texts: Sequence[TrainingText]) -> tuple[list[TrainingText], list[TrainingText]]:
    """What is trained on, and the last rows of each source, which are not.

    >>> text = TrainingText("text", ((5, 6), (7, 8), (9, 10)), 1)
    >>> [part[0].rows for part in parted([text])]
    [((5, 6), (7, 8)), ((9, 10),)]
    """
    trained_on: list[TrainingText] = []
    held_out: list[TrainingText] = []
    for text in (text for text in texts if text.rows):
        n = len(text.rows) - max(1, len(text.rows) // _HELD_OUT)
        trained_on.append(replace(text, rows=text.rows[:n]))
        held_out.append(replace(text, rows=text.rows[n:]))
    return [text for text in trained_on if text.n_tokens], held_out


@final
class Beginnings:
    """The beginnings of rows that are trained on.

    >>> beginnings = Beginnings([TrainingText("text", ((5, 6, 7), (5, 8)), 1)])
    >>> beginnings.shared((5, 6, 9, 7)), beginnings.shared((6, 7))
    (2, 0)
    >>> beginnings.new(TrainingText("text", ((5, 6, 9, 7),), 1)).tolist()
    [False, True, True]
    """

    def __init__(self, trained_on: Sequence[TrainingText]) -> None:
        self._rows = sorted({row for text in trained_on for row in text.rows})

    def shared(self, row: Ids) -> int:
        """With how many tokens the row begins as some row that is trained on does."""
        i = bisect_left(self._rows, row)  # in this order the longest is shared with a neighbour
        return max((_common(row, other) for other in self._rows[max(0, i - 1) : i + 1]), default=0)

    def new(self, text: TrainingText) -> Bool[Tensor, " token"]:
        """Which of the tokens of a text that are read stand behind a beginning of their own."""
        flags = [
            place >= shared
            for row, shared in ((row, self.shared(row)) for row in text.rows)
            for place in range(text.left_out, len(row))
        ]
        return torch.tensor(flags, dtype=torch.bool)


def _common(a: Ids, b: Ids) -> int:
    both = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in both if x != y), min(len(a), len(b)))
