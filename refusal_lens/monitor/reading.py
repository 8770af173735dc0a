"""Projections of the residual stream while prompts are read and answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.feed import Feed
from refusal_lens.model.generate import length_groups
from refusal_lens.model.lens import Prompts
from refusal_lens.model.stream import stream_answers
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Readings:
    """Projections of prompts and of their greedy answers, and the answers.

    `projections[p, 0]` is read at the prompt's last token, `[p, k]` at its k-th answer token, in
    residual-stream units, positive towards refusal. `there` says which of these tokens exist: an
    answer may end early.
    """

    projections: Float[Tensor, "prompt pass site"]
    there: Bool[Tensor, "prompt pass"]
    answers: tuple[Ids, ...]

    def only(self, rows: Sequence[int]) -> "Readings":
        """The readings of some of the prompts."""
        chosen = list(rows)
        answers = tuple(self.answers[row] for row in chosen)
        return Readings(self.projections[chosen], self.there[chosen], answers)


def read_streams(
    model: LensModel,
    prompts: Prompts,
    sites: Sequence[Site],
    vectors: Float[Tensor, "site d_model"],
    *,
    tokens: int,
    progress: Progress = NO_PROGRESS,
) -> Readings:
    """Projections at each prompt's last token and at its first `tokens` answer tokens.

    With whatever edits are on. The last token of an answer of `tokens` tokens is not read: it
    could only be by a pass that no plain generation makes.

    >>> vectors = direction.vector[None]
    >>> read_streams(model, ["Why?"], (rl.Site(2),), vectors, tokens=3).projections.shape
    torch.Size([1, 3, 1])
    """
    with torch.inference_mode():
        feed = model.feed(prompts, progress)
        return _read(model, feed, tuple(sites), vectors, tokens)


def _read(
    model: LensModel, feed: Feed, sites: tuple[Site, ...], vectors: Tensor, tokens: int
) -> Readings:
    n = len(feed.ids)
    projections = torch.full((n, tokens, len(sites)), torch.nan, dtype=torch.float64)
    there = torch.zeros(n, tokens, dtype=torch.bool)
    answers: list[Ids] = [()] * n
    decoding = Decoding(max_new_tokens=tokens)

    def work(batch: Batch) -> tuple[Tensor, list[tuple[int | None, ...]]]:
        read: list[Tensor] = []
        chosen: list[tuple[int | None, ...]] = []
        for step in stream_answers(feed, batch, model.stops, decoding, sites, tokens):
            assert step.resid is not None
            read.append(project(step.resid, vectors))
            chosen.append(step.tokens)
        return torch.stack(read, dim=1), chosen

    longest = max(len(ids) for ids in feed.ids) + tokens
    window = feed.backend.window
    for group in length_groups(feed.ids, window is not None and longest > window):
        for batch, (read, chosen) in feed.batches(work, [[row] for row in group]):
            for i, row in enumerate(batch.rows):
                answers[row] = tuple(t for step in chosen if (t := step[i]) is not None)
                passes = min(1 + len(answers[row]), read.shape[1])
                projections[row, :passes] = read[i, :passes]
                there[row, :passes] = True
            feed.progress(len(batch.rows))
    return Readings(projections, there, tuple(answers))


def project(
    resid: Float[Tensor, "row site d_model"], vectors: Float[Tensor, "site d_model"]
) -> Float[Tensor, "row site"]:
    """Each site's residual on its own direction, in float64.

    >>> import torch
    >>> project(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[0.0, 1.0]])).tolist()
    [[4.0]]
    """
    return (resid.double() * vectors.double()).sum(-1)
