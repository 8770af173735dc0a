"""What is read of all prompts of a feed: statistics of the stream, residuals, logits."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.model.batch import Batch
from refusal_lens.model.feed import Feed
from refusal_lens.model.shares import merge, share_of
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Provenance
from refusal_lens.residuals import ResidualStats, StatsAccumulator, half_pairs
from refusal_lens.sites import Site


def residual_stats(
    feed: Feed,
    prompts: PromptSet,
    *,
    sites: tuple[Site, ...],
    offsets: tuple[int, ...],
    provenance: Provenance,
) -> ResidualStats:
    """Stream the statistics of `prompts`; memory does not grow with their number.

    >>> import torch
    >>> places = {"sites": (rl.Site(1),), "offsets": (-1,), "provenance": model.provenance()}
    >>> with torch.inference_mode():
    ...     stats = residual_stats(model.feed(prompts), prompts, **places)
    >>> stats.count.tolist()
    [[6, 6], [6, 6], [6, 6]]
    """
    accumulator = StatsAccumulator(prompts.categories, sites, offsets, feed.backend.d_model)
    read = partial(read_batch, feed, sites, offsets)
    mine = share_of(feed)
    for resid, sides in mine.paired_batches(prompts, read):
        accumulator.update(resid, sides.category, sides.label, sides.pairs)
    merge(mine, *accumulator.tensors)
    return accumulator.finish(provenance, half_pairs=half_pairs(prompts))


def residuals(
    feed: Feed, *, sites: tuple[Site, ...], offsets: tuple[int, ...]
) -> Float[Tensor, "prompt offset site d_model"]:
    """Residuals of every prompt at the given sites and offsets, in the order of the feed.

    >>> import torch
    >>> with torch.inference_mode():
    ...     residuals(model.feed(["Why?"]), sites=(rl.Site(1),), offsets=(-2, -1)).shape
    torch.Size([1, 2, 1, 32])
    """
    shape = (len(feed.ids), len(offsets), len(sites), feed.backend.d_model)
    resid_of, mine = torch.zeros(shape), share_of(feed)
    for batch, resid in mine.batches(partial(read_batch, feed, sites, offsets)):
        resid_of[list(batch.rows)] = resid
        mine.progress(len(batch.rows))
    merge(mine, resid_of)
    return resid_of


def last_logits(feed: Feed) -> Float[Tensor, "prompt d_vocab"]:
    """Logits at each row's last token, float32 on the CPU, in the order of the feed.

    >>> import torch
    >>> with torch.inference_mode():
    ...     last_logits(model.feed(["Why?", "Who?"])).shape
    torch.Size([2, 300])
    """
    logits: Float[Tensor, "prompt d_vocab"] | None = None
    mine = share_of(feed)

    def read(batch: Batch) -> Float[Tensor, "batch d_vocab"]:
        return feed.last_logits(batch).float().cpu()

    for rows, of_rows in _last_logits(mine, read):
        if logits is None:  # filled in place: a second copy would be large where vocabularies are
            logits = of_rows.new_zeros(len(feed.ids), of_rows.shape[1])
        logits[rows] = of_rows
        mine.progress(len(rows))
    if logits is None:  # fewer rows than processes: this one reads a row for the width alone
        logits = torch.zeros(len(feed.ids), read(feed.batch([0])).shape[1])
    merge(mine, logits)
    return logits


def _last_logits(
    feed: Feed, read: Callable[[Batch], Float[Tensor, "batch d_vocab"]]
) -> Iterator[tuple[list[int], Float[Tensor, "batch d_vocab"]]]:
    """Rows with their logits: those that earlier passes left the ends of, then the others."""
    known: set[int] = set()
    if feed.ends is not None:
        for rows, logits in feed.ends.logits(lambda row: read(feed.batch([row]))):
            known.update(rows)
            yield rows, logits
    left = [[row] for row in range(len(feed.ids)) if row not in known]
    for batch, logits in feed.batches(read, left):
        yield list(batch.rows), logits


def read_batch(
    feed: Feed, sites: tuple[Site, ...], offsets: tuple[int, ...], batch: Batch
) -> Float[Tensor, "batch offset site d_model"]:
    """Residuals of one batch at offsets counted from each row's last token (-1).

    >>> import torch
    >>> feed = model.feed(["Why?"])
    >>> with torch.inference_mode():
    ...     read_batch(feed, (rl.Site(1),), (-1,), feed.batch([0])).shape
    torch.Size([1, 1, 1, 32])
    """
    reader = feed.read(batch, [site.hook_name for site in sites], offsets)
    return reader.residuals(sites, feed.backend.d_model)
