"""The refusal score of a prompt: of the first token, or of the openings of refusals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.pairs import Metric
from refusal_lens.errors import InputError
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import log_odds
from refusal_lens.model import Batch, Feed, Hooks, Ids, Rerun

_POSITIONS: Final = 256  # whose logits are there at once: with a large vocabulary they are large


@final
@dataclass(frozen=True)
class OpeningScore:
    """Log-odds (nats) that an answer begins with one of the openings, teacher-forced.

    Positive is towards refusal. Hooks at prompt positions stay there: the openings' tokens run
    after the patched prompt and are not patched themselves. The openings must exclude each other,
    as those of equal length do.

    >>> import torch
    >>> score = OpeningScore(((5, 9), (7, 2)))  # two openings of two tokens each
    >>> round(float(score.of([torch.tensor([0.25]).log(), torch.tensor([0.25]).log()])), 4)
    0.0
    """

    openings: tuple[Ids, ...]

    def of(self, log_p: Sequence[Float[Tensor, " row"]]) -> Float[Tensor, " row"]:
        """The score from each opening's log-probability (nats), differentiable."""
        p = torch.stack([x.exp() for x in log_p]).sum(0)
        return log_odds(p.clamp(max=1.0)).float()


Score = Metric | OpeningScore


def score_for(score: Score | Mapping[str, Score], category: str) -> Score:
    """The score of a category, where each may have its own.

    >>> score_for({"advice": OpeningScore(((5, 9),))}, "advice").openings
    ((5, 9),)
    """
    return score[category] if isinstance(score, Mapping) else score


def score_name(score: Score) -> str:
    """Which log-odds a score is: of a refusal token, or of a refusal opening.

    >>> score_name(OpeningScore(((5, 9),)))
    'opening'
    """
    return "opening" if isinstance(score, OpeningScore) else "first token"


def opening_score_of(trust: ScoreTrust, category: str) -> OpeningScore:
    """The score by the openings that were seen on `train`, for a category that is scored so.

    Raises:
        InputError: a category that is scored in another way.

    >>> from refusal_lens.judges import ScoreTrust
    >>> trust = ScoreTrust((7,), ("x",), {"tan": ((5, 9),)}, {"tan": "opening"}, {}, {}, {})
    >>> opening_score_of(trust, "tan")
    OpeningScore(openings=((5, 9),))
    """
    if trust.mode.get(category) != "opening":
        raise InputError(
            f"category {category!r} is scored by {trust.mode.get(category, 'nothing')!r}, not by "
            "openings"
        )
    return OpeningScore(trust.openings[category])


def read_scores(score: Score, feed: Feed, batch: Batch) -> Float[Tensor, " batch"]:
    """The refusal score (nats) of each prompt of a batch, under the hooks that are on.

    An opening takes a pass of its own.

    >>> import torch
    >>> feed = model.feed(["Why?"])
    >>> with torch.inference_mode():
    ...     score = read_scores(OpeningScore(((5, 9),)), feed, feed.batch([0]))
    >>> score.shape
    torch.Size([1])
    """
    if isinstance(score, OpeningScore):
        return score.of([opening_log_p(feed, batch, o) for o in score.openings])
    return score(feed.last_logits(batch)).float().cpu()


def opening_log_p(feed: Feed, batch: Batch, opening: Ids) -> Float[Tensor, " batch"]:
    """Log-probability (nats, float64) that each row's answer begins with the opening."""
    longer = batch.extended([opening] * len(batch.rows))
    # The logits that predict an answer's token are one position before it.
    first = int(batch.length.min()) - 1
    logits = feed.run(longer, keep=range(first, int(longer.length.max()) - 1)).logits
    at = (batch.length[:, None] - 1 - first + torch.arange(len(opening))[None]).to(logits.device)
    rows = torch.arange(len(at), device=logits.device)[:, None]
    return _log_p(logits[rows, at], opening)


def rerun_scores(
    score: Score, rerun: Rerun, start: int, n_rows: int, hooks: Hooks
) -> Float[Tensor, " row"]:
    """Scores (nats) of `n_rows` copies of a prompt, run from offset `start` with hooks on.

    >>> import torch
    >>> with torch.inference_mode():
    ...     rerun = Rerun(model.feed(["Why?"]), 0)
    ...     scores = rerun_scores(OpeningScore(((5, 9),)), rerun, -1, 2, [])
    >>> bool(scores[0] == scores[1])
    True
    """
    if not isinstance(score, OpeningScore):
        return score(rerun.run(start, n_rows, hooks=hooks).logits[:, 0]).float().cpu()
    log_p: list[Tensor] = []
    lengths = {len(opening) for opening in score.openings}
    if rerun.continues and len(lengths) == 1 and min(lengths) > 1:
        return score.of(_behind_one_run(score, rerun, start, n_rows, hooks))
    for opening in score.openings:
        keep = range(-start - 1, -start - 1 + len(opening))
        step = rerun.run(start, n_rows, hooks=hooks, answer=opening, keep=keep)
        log_p.append(_log_p(step.logits, opening))
    return score.of(log_p)


def _behind_one_run(
    score: OpeningScore, rerun: Rerun, start: int, n_rows: int, hooks: Hooks
) -> list[Float[Tensor, " row"]]:
    """Log-probability of each opening: the prompt's end is run once, the openings continue it."""
    step = rerun.run(start, n_rows, hooks=hooks, use_cache=True)
    fed = [opening[:-1] for opening in score.openings]
    behind = rerun.follow(step.cache, n_rows, fed).logits.unflatten(0, (len(fed), n_rows))
    return [
        _log_p(torch.cat([step.logits, logits], 1), opening)
        for opening, logits in zip(score.openings, behind, strict=True)
    ]


def rows_at_once(score: Score) -> int:
    """The largest number of rows whose logits are in memory at once."""
    positions = sum(map(len, score.openings)) if isinstance(score, OpeningScore) else 1
    return max(1, _POSITIONS // positions)


def _log_p(logits: Float[Tensor, "row pos d_vocab"], opening: Ids) -> Float[Tensor, " row"]:
    """Log-probability of the opening whose tokens the logits predict, position by position."""
    each = [
        logits[:, k].double().log_softmax(-1)[:, token].cpu() for k, token in enumerate(opening)
    ]
    return torch.stack(each, 1).sum(1)
