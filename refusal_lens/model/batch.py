"""Rows of token ids that go through the model together, padded on the right."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from refusal_lens.model.hooks import IGNORED_POSITION

Ids = tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of token ids without the shared prefix, padded on the right.

    `rows` are their places in the caller's list; `length` counts each row's own tokens, of which
    the first `prompt` belong to the prompt and the others to an answer. `decided` says which
    conditions of the edits hold for each row, once that is known.
    """

    rows: tuple[int, ...]
    ids: Int64[Tensor, "batch pos"]
    length: Int64[Tensor, " batch"]
    prompt: Int64[Tensor, " batch"]
    decided: Bool[Tensor, "batch condition"] | None = None

    def mask(self, n_prefix: int) -> Int64[Tensor, "batch seen"]:
        """1 for the prefix and each row's own tokens, 0 for padding."""
        prefix = torch.ones(len(self.rows), n_prefix, dtype=torch.int64)
        return torch.cat([prefix, self._own().long()], dim=1)

    def places(self) -> Int64[Tensor, "batch pos"]:
        """Each token's place from the end of its prompt: -1 its last, 0 the first behind it."""
        places = torch.arange(self.ids.shape[1])[None] - self.prompt[:, None]
        return torch.where(self._own(), places, IGNORED_POSITION)

    def extended(self, tokens: Sequence[Sequence[int]]) -> "Batch":
        """The same rows with more tokens behind each row's own."""
        own = [self.ids[i, : self.length[i]].tolist() for i in range(len(self.rows))]
        longer = padded(self.rows, [[*a, *b] for a, b in zip(own, tokens, strict=True)])
        return replace(longer, prompt=self.prompt, decided=self.decided)

    def chosen(self, at: Sequence[int]) -> "Batch":
        """Some of the rows, in this order; a row may stand there several times."""
        rows = tuple(self.rows[i] for i in at)
        decided = None if self.decided is None else self.decided[at]
        return Batch(rows, self.ids[at], self.length[at], self.prompt[at], decided)

    def _own(self) -> Bool[Tensor, "batch pos"]:
        return torch.arange(self.ids.shape[1])[None] < self.length[:, None]


def padded(rows: tuple[int, ...], own: Sequence[Sequence[int]]) -> Batch:
    """A batch of prompts, given each row's own tokens."""
    length = torch.tensor([len(x) for x in own])
    ids = torch.zeros(len(rows), int(length.max()), dtype=torch.int64)
    for i, x in enumerate(own):
        ids[i, : len(x)] = torch.tensor(x)
    return Batch(rows, ids, length, prompt=length)
