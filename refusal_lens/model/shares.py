"""A feed's rows shared out over the processes of a run, and what they made of them merged.

Rows keep their places in the caller's list, so that edits by row and seeds of samples are those of
one process. Each row is computed by one process, in batches with other companions than in a run of
one process: results differ by rounding, as they do with another batch size. Sums over prompts are
added in another order, in float64.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from refusal_lens.model.batch import Ids
from refusal_lens.model.feed import Feed
from refusal_lens.processes import this_process
from refusal_lens.progress import Progress


def share_of(feed: Feed) -> Feed:
    """The feed whose batches are this process's share; all of them without other processes.

    What is made of them must be merged: every process that takes a share must come to `merge`.

    >>> feed = model.feed(["Why?"])
    >>> share_of(feed) is feed
    True
    """
    here = this_process()
    if here.count == 1:
        return feed
    progress = _Scaled(feed.progress, here.count, len(feed.ids))
    return replace(feed, share=here, progress=progress)


def merge(feed: Feed, *tensors: Tensor) -> None:
    """Add up, in place, what the processes made of their shares: zero for the rows of others.

    >>> import torch
    >>> feed, rows = share_of(model.feed(["Why?"])), torch.ones(1)
    >>> merge(feed, rows)
    >>> rows
    tensor([1.])
    """
    if feed.share.count == 1:
        return
    asked = repr((list(feed.ids), feed.prefix.edits.text, [tuple(x.shape) for x in tensors]))
    at = f"{len(feed.ids)} prompts, {zlib.crc32(asked.encode()):08x}"
    feed.share.add_up(at, *tensors)
    if isinstance(feed.progress, _Scaled):
        feed.progress.finish()


def merged_ids(feed: Feed, answers: Sequence[Ids], most: int) -> list[Ids]:
    """The token ids of every row, of which this process made those of its share; at most `most`.

    >>> merged_ids(share_of(model.feed(["Why?"])), [(5, 6)], 4)
    [(5, 6)]
    """
    if feed.share.count == 1:
        return list(answers)
    table = torch.zeros(len(answers), 1 + most, dtype=torch.int64)  # length, then the tokens
    for row, answer in zip(table, answers, strict=True):
        row[: 1 + len(answer)] = torch.tensor((len(answer), *answer))
    merge(feed, table)
    return [tuple(row[1 : 1 + row[0]]) for row in table.tolist()]


@final
class _Scaled:
    """Progress over all rows, as seen by one of several processes that go equally fast."""

    def __init__(self, progress: Progress, count: int, total: int) -> None:
        self._progress, self._count, self._left = progress, count, total

    def __call__(self, n: int) -> None:
        step = min(n * self._count, self._left)
        self._left -= step
        self._progress(step)

    def finish(self) -> None:
        """Report what others have done beyond that."""
        self(self._left)
