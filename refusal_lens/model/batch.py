"""Rows of token ids that go through the model together, padded on the right."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from refusal_lens.model.hooks import IGNORED_POSITION
from refusal_lens.model.streams import StreamKey

Ids = tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of token ids without the shared prefix, padded on the right.

    `rows` are their places in the caller's list; `length` counts each row's own tokens, of which
    the first `prompt` belong to the prompt and the others to an answer. `decided` says which
    conditions of the edits hold for each row, once that is known.

    >>> batch = padded((0, 1), [[5, 6, 7], [8]]).extended([[1], [2]])
    >>> batch.ids.tolist(), batch.places()[0].tolist()  # -1 is the prompt's last token
    ([[5, 6, 7, 1], [8, 2, 0, 0]], [-3, -2, -1, 0])
    """

    rows: tuple[int, ...]
    ids: Int64[Tensor, "batch pos"]
    length: Int64[Tensor, " batch"]
    prompt: Int64[Tensor, " batch"]
    decided: Bool[Tensor, "batch condition"] | None = None

    def mask(self, n_prefix: int) -> Int64[Tensor, "batch seen"]:
        """1 for the prefix and each row's own tokens, 0 for padding."""
        prefix = torch.ones(len(self.rows), n_prefix, dtype=torch.int64)
        return torch.cat([prefix, self._is_token().long()], dim=1)

    def places(self) -> Int64[Tensor, "batch pos"]:
        """Each token's place from the end of its prompt: -1 its last, 0 the first after it."""
        places = torch.arange(self.ids.shape[1])[None] - self.prompt[:, None]
        return torch.where(self._is_token(), places, IGNORED_POSITION)

    def extended(self, tokens: Sequence[Sequence[int]]) -> "Batch":
        """The same rows with more tokens after each row's own."""
        longer = padded(
            self.rows, [[*a, *b] for a, b in zip(self._own_tokens(), tokens, strict=True)]
        )
        return replace(longer, prompt=self.prompt, decided=self.decided)

    def joined(self, other: "Batch") -> "Batch":
        """The rows of both; their conditions must be decided.

        >>> none = torch.zeros(1, 0, dtype=torch.bool)
        >>> one, two = (replace(padded((i,), [[5] * n]), decided=none) for i, n in ((3, 1), (1, 2)))
        >>> one.joined(two).rows, one.joined(two).ids.tolist()
        ((3, 1), [[5, 0], [5, 5]])
        """
        assert self.decided is not None and other.decided is not None
        return replace(
            padded(self.rows + other.rows, self._own_tokens() + other._own_tokens()),
            prompt=torch.cat([self.prompt, other.prompt]),
            decided=torch.cat([self.decided, other.decided]),
        )

    def chosen(self, at: Sequence[int]) -> "Batch":
        """Some of the rows, in this order; a row may be named several times."""
        rows = tuple(self.rows[i] for i in at)
        decided = None if self.decided is None else self.decided[at]
        return Batch(rows, self.ids[at], self.length[at], self.prompt[at], decided)

    def keys(self, prefix: Ids, answers: Sequence[Ids] | None = None) -> list[StreamKey]:
        """Per row all tokens that a pass depends on, and how many of them are new in it.

        The new ones are the row's own, or with `answers` those, which follow it.

        >>> padded((0, 1), [[5, 6], [8]]).keys((1,)), padded((0,), [[5]]).keys((1,), [(9,)])
        ([((1, 5, 6), 2), ((1, 8), 1)], [((1, 5, 9), 1)])
        """
        lengths = self.length.tolist()
        rows = [(*prefix, *x[:n]) for x, n in zip(self.ids.tolist(), lengths, strict=True)]
        if answers is None:
            return list(zip(rows, lengths, strict=True))
        return [((*row, *new), len(new)) for row, new in zip(rows, answers, strict=True)]

    def _own_tokens(self) -> list[list[int]]:
        """Each row's own tokens."""
        return [self.ids[i, : self.length[i]].tolist() for i in range(len(self.rows))]

    def _is_token(self) -> Bool[Tensor, "batch pos"]:
        return torch.arange(self.ids.shape[1])[None] < self.length[:, None]


def padded(rows: tuple[int, ...], tokens: Sequence[Sequence[int]]) -> Batch:
    """A batch of prompts, given each row's tokens without the shared prefix.

    >>> padded((4, 7), [[5, 6], [8]]).length.tolist()
    [2, 1]
    """
    length = torch.tensor([len(x) for x in tokens])
    ids = torch.zeros(len(rows), int(length.max()), dtype=torch.int64)
    for i, x in enumerate(tokens):
        ids[i, : len(x)] = torch.tensor(x)
    return Batch(rows, ids, length, prompt=length)
