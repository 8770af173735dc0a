"""What an answer is scored by: its first token, or the openings of refusals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.pairs import Metric
from refusal_lens.errors import InputError
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import log_odds
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.forward import SharedPrefix, last_token_logits


@final
@dataclass(frozen=True)
class OpeningScore:
    """Log-odds (nats) that an answer begins with one of the openings, teacher-forced.

    Hooks that stand at prompt positions stay there: the openings' own tokens run unedited behind
    the edited prompt. Openings that exclude each other, as those of equal length do.
    """

    openings: tuple[Ids, ...]

    def of(self, log_p: Sequence[Float[Tensor, " row"]]) -> Float[Tensor, " row"]:
        """The score from each opening's log-probability, differentiable."""
        p = torch.stack([x.exp() for x in log_p]).sum(0)
        return log_odds(p.clamp(max=1.0)).float()


Score = Metric | OpeningScore


def score_for(score: Score | Mapping[str, Score], category: str) -> Score:
    """The score of a category, where each may have its own."""
    return score[category] if isinstance(score, Mapping) else score


def name_of(score: Score) -> str:
    """Which log-odds a score is: of a refusal token, or of a refusal opening."""
    return "opening" if isinstance(score, OpeningScore) else "first token"


def read_scores(score: Score, prefix: SharedPrefix, batch: Batch) -> Float[Tensor, " batch"]:
    """The refusal score of each row of a batch of prompts, under the hooks that are on.

    An opening takes a pass of its own.
    """
    if isinstance(score, OpeningScore):
        return score.of([opening_log_p(prefix, batch, o) for o in score.openings])
    logits, _ = last_token_logits(prefix, batch)
    return score(logits).float().cpu()


def opening_score_of(trust: ScoreTrust, category: str) -> OpeningScore:
    """The score by the openings that were seen on `train`, for a category that is scored so.

    Raises:
        InputError: a category that is scored in another way.
    """
    if trust.mode.get(category) != "opening":
        raise InputError(
            f"category {category!r} is scored by {trust.mode.get(category, 'nothing')!r}, not by "
            "openings"
        )
    return OpeningScore(trust.openings[category])


def opening_log_p(prefix: SharedPrefix, batch: Batch, opening: Ids) -> Float[Tensor, " batch"]:
    """Log-probability of the opening behind each row's prompt."""
    longer = batch.extended([opening] * len(batch.rows))
    # The logits that predict an answer's token stand one position before it.
    first = int(batch.length.min()) - 1
    keep = range(first, int(longer.length.max()) - 1)
    log_p = prefix.run(longer, keep=keep).logits.double().log_softmax(-1).cpu()
    at = batch.length[:, None] - 1 - first + torch.arange(len(opening))[None]
    return log_p[torch.arange(len(at))[:, None], at, torch.tensor(opening)].sum(1)
