"""Answers token by token, with the residual stream as each pass leaves it.

Edits are put onto the same hook points before the reader, so what is read at a site is the stream
behind every edit of that site, and behind every edit below it.
"""

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.model.batch import Batch
from refusal_lens.model.feed import Feed, last_token_logits
from refusal_lens.model.generate import Decoding, choose_tokens, row_generators
from refusal_lens.model.past import Past
from refusal_lens.model.reading import HookReader
from refusal_lens.sites import Site

_PAD: Final = 0


@final
@dataclass(frozen=True, eq=False)
class StreamStep:
    """One pass of a batch: what it read, and the token that each row goes on with.

    Pass 0 reads the prompt's last token, pass k the k-th answer token. `tokens` holds None for a
    row whose answer has ended. `resid` is None where nothing is read any more; rows that had ended
    before the pass hold what their padding gave.
    """

    tokens: tuple[int | None, ...]
    resid: Float[Tensor, "row site d_model"] | None


def stream_answers(
    feed: Feed,
    batch: Batch,
    stops: frozenset[int],
    decoding: Decoding,
    sites: Sequence[Site],
    passes: int,
) -> Generator[StreamStep]:
    """The answers of a batch, pass by pass; `sites` are read in the first `passes` of them.

    The tokens are those of `generate`. Hooks are on during passes alone: what the caller does with
    the model between two steps is not read.

    >>> feed = model.feed(["Why?"])
    >>> batch = feed.batch([0])
    >>> steps = stream_answers(feed, batch, frozenset(), Decoding(3), (rl.Site(2),), passes=2)
    >>> [step.resid is None for step in steps]
    [False, False, True]
    """
    generators = row_generators(batch.rows, decoding)
    rows = [_Row() for _ in batch.rows]
    past: Past | None = None
    for place in range(decoding.max_new_tokens):
        reader = _reader(batch, rows, sites, past) if place < passes else None
        with torch.inference_mode():  # not while the caller has the step
            with nullcontext() if reader is None else feed.hooks(reader.hooks()):
                logits, past = _forward(feed, batch, rows, past, decoding)
            resid = None if reader is None else reader.residuals(sites, feed.backend.d_model)[:, 0]
            for row, token in zip(rows, choose_tokens(logits, decoding, generators), strict=True):
                row.add(token, stops)
        yield StreamStep(tuple(row.newest for row in rows), resid)
        if all(row.ended for row in rows):
            return


@final
class _Row:
    """The answer of a row so far; an ended one is fed padding, which nobody reads."""

    def __init__(self) -> None:
        self.fed: list[int] = []
        self.ended = False

    def add(self, token: int, stops: frozenset[int]) -> None:
        self.ended = self.ended or token in stops
        self.fed.append(_PAD if self.ended else token)

    @property
    def newest(self) -> int | None:
        return None if self.ended else self.fed[-1]


def _reader(
    batch: Batch, rows: Sequence[_Row], sites: Sequence[Site], past: Past | None
) -> HookReader:
    """Reads each row's last token: the prompt's own first, then the one token of a step."""
    if past is not None:
        last = torch.zeros(len(rows), 1, dtype=torch.int64)
    else:
        last = (batch.length + len(rows[0].fed) - 1)[:, None]
    return HookReader([site.hook_name for site in sites], last)


def _forward(
    feed: Feed, batch: Batch, rows: Sequence[_Row], past: Past | None, decoding: Decoding
) -> tuple[Float[Tensor, "row d_vocab"], Past | None]:
    if past is not None:
        newest = torch.tensor([row.fed[-1:] for row in rows])
        step = feed.prefix.follow(batch, newest, past)
        return step.logits[:, -1], past.longer(step.cache)
    whole = batch.extended([row.fed for row in rows]) if rows[0].fed else batch
    logits, cache = last_token_logits(feed.prefix, whole, use_cache=decoding.use_cache)
    # Some recurrent models give no cache back.
    kept = decoding.use_cache and cache is not None
    return logits, feed.prefix.past(batch, cache) if kept else None
