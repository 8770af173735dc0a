"""How probable given answers are, behind their prompts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.model.forward import Feed, Ids, last_token_logits, make_batches

_POSITIONS: Final = 256
"""Answer tokens of a batch: with a large vocabulary their logits are what takes the memory.

Four times as many took a gigabyte more at 152,000 words, and no less time."""


def continuation_log_probs(feed: Feed, answers: Sequence[Ids]) -> Float[Tensor, " prompt"]:
    """Log-probability of each row's answer tokens behind its prompt, summed over the tokens.

    A prompt that stands in several rows is read once, and its answers follow from there.

    Raises:
        InputError: a prompt and its answer are longer than the model takes.
    """
    longest = max(len(ids) + len(a) for ids, a in zip(feed.ids, answers, strict=True))
    if longest > feed.backend.n_ctx:
        raise InputError(
            f"a prompt and its answer make {longest} tokens; this model takes "
            f"{feed.backend.n_ctx}; shorten one or leave it out"
        )
    rows = max(1, _POSITIONS // max(1, *map(len, answers)))
    feed = replace(feed, batch_size=min(feed.batch_size, rows))
    prompts: dict[Ids, list[int]] = {}
    for row, ids in enumerate(feed.ids):
        prompts.setdefault(ids, []).append(row)
    if 2 * len(prompts) > len(feed.ids) or not _may_share(feed, answers):
        return _one_by_one(feed, answers)
    return _shared(feed, answers, list(prompts.values()))


def _may_share(feed: Feed, answers: Sequence[Ids]) -> bool:
    """Whether rows of one prompt are one to the edits, and a gap of padding to attention."""
    longest = max(len(ids) + len(a) for ids, a in zip(feed.ids, answers, strict=True))
    window = feed.backend.window
    return not feed.prefix.edits.by_row and (window is None or longest <= window)


def _one_by_one(feed: Feed, answers: Sequence[Ids]) -> Float[Tensor, " prompt"]:
    found = torch.zeros(len(answers))
    for prompts in feed.batches():
        batch = prompts.extended([answers[row] for row in prompts.rows])
        # The logits that predict an answer token stand one position before it.
        before = (batch.prompt - 1).tolist()
        first, last = min(before), max(int(batch.length.max()) - 1, min(before) + 1)
        logits = feed.prefix.run(batch, keep=range(first, last)).logits
        for i, row in enumerate(batch.rows):
            found[row] = _log_prob(logits[i, before[i] - first :], answers[row])
        feed.progress(len(batch.rows))
    return found


def _shared(
    feed: Feed, answers: Sequence[Ids], rows_of: Sequence[Sequence[int]]
) -> Float[Tensor, " prompt"]:
    """Each prompt once, then its answers in batches behind its keys and values."""
    found = torch.zeros(len(answers))
    rows_behind = {rows[0]: rows for rows in rows_of}
    units = [[row] for row in rows_behind]
    for batch in make_batches(feed.ids, units, len(feed.prefix.ids), feed.batch_size):
        batch = feed.prefix.prepare(batch)
        first, cache = last_token_logits(feed.prefix, batch, use_cache=True)
        behind = [(i, row) for i, key in enumerate(batch.rows) for row in rows_behind[key]]
        for start in range(0, len(behind), feed.batch_size):
            part = behind[start : start + feed.batch_size]
            at, said = [i for i, _ in part], [answers[row] for _, row in part]
            logits = first[at][:, None]
            if (n := max(map(len, said)) - 1) > 0:
                ids = torch.zeros(len(part), n, dtype=torch.int64)
                for k, answer in enumerate(said):
                    fed = answer[:-1]
                    ids[k, : len(fed)] = torch.tensor(fed, dtype=torch.int64)
                own = torch.arange(n)[None] < torch.tensor([len(a) - 1 for a in said])[:, None]
                own_cache = feed.backend.select_cache(cache, at)
                step = feed.prefix.follow(batch.chosen(at), ids, own_cache, own=own)
                logits = torch.cat([logits, step.logits], dim=1)
            for k, (_, row) in enumerate(part):
                found[row] = _log_prob(logits[k], answers[row])
            feed.progress(len(part))
    return found


def _log_prob(logits: Float[Tensor, "pos d_vocab"], answer: Ids) -> float:
    """Log-probability of an answer whose tokens the first rows of logits predict."""
    own = logits[: len(answer)].float()
    said = torch.tensor(answer, dtype=torch.int64, device=own.device)
    log_p = own.gather(1, said[:, None])[:, 0] - own.logsumexp(-1)
    return float(log_p.double().sum().cpu())
