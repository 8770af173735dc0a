"""Log-probabilities of given answers, each after its prompt."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.memory import BatchSize, in_batches
from refusal_lens.model.active import ActiveEdits
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.feed import Feed, last_token_logits
from refusal_lens.model.lengths import check_ids, check_lengths, check_texts
from refusal_lens.model.prefix import SharedPrefix
from refusal_lens.model.shares import merge, share_of
from refusal_lens.model.streams import Sweep
from refusal_lens.progress import NO_PROGRESS, Progress

_POSITIONS: Final = 256
"""Answer tokens of a batch: with a large vocabulary their logits are what takes the memory.

Four times as many took a gigabyte more at 152,000 words, and no less time."""


def continuation_log_probs(feed: Feed, answers: Sequence[Ids]) -> Float[Tensor, " prompt"]:
    """Log-probability (nats) of each row's answer tokens after its prompt, summed over the tokens.

    A prompt that several rows share is read once, and its answers continue its cache.

    Raises:
        InputError: not as many answers as prompts, a prompt and its answer that are longer than the
            model takes, or a token id that the model does not have.

    >>> import torch
    >>> with torch.inference_mode():
    ...     log_p = continuation_log_probs(model.feed(["Why?"] * 2), [(5, 6), (7,)])
    >>> bool((log_p < 0).all())
    True
    """
    if len(answers) != len(feed.ids):
        raise InputError(
            f"{len(feed.ids)} prompts and {len(answers)} answers; give one answer for each prompt"
        )
    check_ids([f"the answer to {name}" for name in feed.names], answers, feed.backend.n_vocab)
    check_lengths(
        feed.names,
        [len(ids) + len(a) for ids, a in zip(feed.ids, answers, strict=True)],
        feed.backend.n_ctx,
        made_of="with its answer",
        remedy="shorten one or leave it out",
    )
    rows = max(1, _POSITIONS // max(1, *map(len, answers)))
    feed = share_of(replace(feed, at_most=rows))
    prompts: dict[Ids, list[int]] = {}
    for row, ids in enumerate(feed.ids):
        prompts.setdefault(ids, []).append(row)
    if 2 * len(prompts) > len(feed.ids) or not _may_share(feed, answers):
        log_probs = _one_by_one(feed, answers)
    else:
        log_probs = _shared(feed, answers, list(prompts.values()))
    merge(feed, log_probs)
    return log_probs


def text_log_probs(
    edits: ActiveEdits, rows: Sequence[Ids], size: BatchSize, progress: Progress = NO_PROGRESS
) -> Float[Tensor, " row"]:
    """Log-probability (nats) of running text: every token after the first, given those before it.

    Raises:
        InputError: as `check_texts`.

    >>> import torch
    >>> edits = model.feed(["Why?"]).prefix.edits
    >>> with torch.inference_mode():
    ...     text_log_probs(edits, [(5, 6, 7), (8, 9)], model.rows).shape
    torch.Size([2])
    """
    names = check_texts(rows, edits.backend.n_ctx, edits.backend.n_vocab)
    edits.check_prompts([1] * len(rows), names)
    first = [row[:1] for row in rows]
    feed = Feed(SharedPrefix(edits, ()), first, names, size, progress)
    return continuation_log_probs(feed, [row[1:] for row in rows])


def _may_share(feed: Feed, answers: Sequence[Ids]) -> bool:
    """Whether rows of one prompt are one to the edits, and a gap of padding nothing to attention.

    The gap ends where the batch's longest prompt does: an answer behind a short prompt reaches as
    far as one behind that.
    """
    longest = max(map(len, feed.ids)) + max(map(len, answers))
    window = feed.backend.window
    return not feed.prefix.edits.by_row and (window is None or longest <= window)


def _one_by_one(feed: Feed, answers: Sequence[Ids]) -> Float[Tensor, " prompt"]:
    log_probs = torch.zeros(len(answers))

    def read(prompts: Batch) -> list[float]:
        batch = prompts.extended([answers[row] for row in prompts.rows])
        # The logits that predict an answer token stand one position before it.
        before = (batch.prompt - 1).tolist()
        first, last = min(before), max(int(batch.length.max()) - 1, min(before) + 1)
        sweep = feed.prefix.sweep(batch)
        logits = feed.prefix.run(batch, keep=range(first, last), sweep=sweep).logits
        return [
            _log_prob(logits[i, before[i] - first :], answers[row])
            for i, row in enumerate(batch.rows)
        ]

    for batch, log_p in feed.batches(read):
        log_probs[list(batch.rows)] = torch.tensor(log_p)
        feed.progress(len(batch.rows))
    return log_probs


def _shared(
    feed: Feed, answers: Sequence[Ids], rows_of: Sequence[Sequence[int]]
) -> Float[Tensor, " prompt"]:
    """Each prompt once, then its answers in batches that continue its keys and values."""
    log_probs = torch.zeros(len(answers))
    rows_behind = {rows[0]: rows for rows in rows_of}

    def read(batch: Batch) -> list[tuple[int, float]]:
        behind = [(i, row) for i, key in enumerate(batch.rows) for row in rows_behind[key]]
        sweep = feed.prefix.sweep(batch, [(i, answers[row][:-1]) for i, row in behind])
        first, cache = last_token_logits(feed.prefix, batch, use_cache=True, sweep=sweep)

        def follow(places: list[int]) -> list[tuple[int, float]]:
            at, rows = [behind[k][0] for k in places], [behind[k][1] for k in places]
            asked = [answers[row] for row in rows]
            logits = _behind(feed, batch, (first, cache, sweep), at, asked)
            return [(row, _log_prob(logits[k], answers[row])) for k, row in enumerate(rows)]

        parts = in_batches([[k] for k in range(len(behind))], feed.size, follow, cap=feed.at_most)
        return [one for _, part in parts for one in part]

    for _, log_p in feed.batches(read, [[row] for row in rows_behind]):
        for row, value in log_p:
            log_probs[row] = value
        feed.progress(len(log_p))
    return log_probs


def _behind(
    feed: Feed,
    batch: Batch,
    before: tuple[Float[Tensor, "batch d_vocab"], Any, Sweep | None],
    at: list[int],
    answers: Sequence[Ids],
) -> Float[Tensor, "answer pos d_vocab"]:
    """Logits that predict each answer's tokens.

    `before` holds those of the prompts, the cache, and the sweep if one goes on. Answer k follows
    row `at[k]` of the batch.
    """
    first, cache, sweep = before
    logits = first[at][:, None]
    if (n := max(map(len, answers)) - 1) < 1:
        return logits
    ids = torch.zeros(len(answers), n, dtype=torch.int64)
    for k, answer in enumerate(answers):
        fed = answer[:-1]
        ids[k, : len(fed)] = torch.tensor(fed, dtype=torch.int64)
    real = torch.arange(n)[None] < torch.tensor([len(a) - 1 for a in answers])[:, None]
    asked = batch.chosen(at)
    past = feed.prefix.past(asked, feed.backend.select_cache(cache, at))
    used = None if sweep is None else (sweep, [answer[:-1] for answer in answers])
    step = feed.prefix.follow(asked, ids, past, real=real, sweep=used)
    return torch.cat([logits, step.logits], dim=1)


def _log_prob(logits: Float[Tensor, "pos d_vocab"], answer: Ids) -> float:
    """Log-probability of an answer whose tokens the first rows of logits predict."""
    predicting = logits[: len(answer)].float()
    tokens = torch.tensor(answer, dtype=torch.int64, device=predicting.device)
    log_p = predicting.gather(1, tokens[:, None])[:, 0] - predicting.logsumexp(-1)
    return float(log_p.double().sum().cpu())
