"""What the rows of a running batch have behind them: a cache, and which of its places are real."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn.functional import pad

from refusal_lens.model.backend import Backend


@final
@dataclass(frozen=True, eq=False)
class Past:
    """Keys and values of rows in the middle of their answers.

    `mask` spans the places of `cache`, 0 where a row is padded: before its first token where a
    longer row is beside it, and behind its prompt. `n_generated` counts the answer tokens of each
    row that the cache holds.

    >>> feed = model.feed(["Why?"])
    >>> with torch.inference_mode():
    ...     batch = feed.batch([0])
    ...     step = feed.prefix.run(batch, keep=(0,), use_cache=True)
    >>> past = feed.prefix.past(batch, step.cache)
    >>> past.mask.shape[1] == len(feed.ids[0]), past.n_generated.tolist()
    (True, [0])
    """

    cache: Any
    mask: Int64[Tensor, "batch seen"]
    n_generated: Int64[Tensor, " batch"]

    def longer(self, cache: Any) -> "Past":
        """The same rows with one more answer token each, in the cache of the pass that read it."""
        mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        return Past(cache, mask, self.n_generated + 1)

    def chosen(self, backend: Backend, at: list[int]) -> "Past":
        """Some of the rows, without the places before the first token of the longest of them."""
        mask = self.mask[at]
        start = int(mask.any(0).int().argmax())
        cache = backend.select_cache(self.cache, at, start=start)
        return Past(cache, mask[:, start:], self.n_generated[at])

    def joined(self, backend: Backend, other: "Past") -> "Past":
        """The rows of both, so that each ends at the last place."""
        width = max(self.mask.shape[1], other.mask.shape[1])
        masks = [pad(mask, (width - mask.shape[1], 0)) for mask in (self.mask, other.mask)]
        return Past(
            backend.join_caches(self.cache, other.cache),
            torch.cat(masks),
            torch.cat([self.n_generated, other.n_generated]),
        )
