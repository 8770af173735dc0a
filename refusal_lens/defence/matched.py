"""Refusal read at matched over-refusal and at matched damage: pure functions of a ladder's numbers.

At matched over-refusal: refusal scores in place of verdicts, so that the threshold can be moved to
where the wanted share of benign prompts counts as refused; the share of harmful prompts above it is
refusal there (a point of the ROC curve). It says what the model still tells apart in its first
tokens, not what it does unasked. At matched damage: verdicts, read between the rungs at a KL.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from refusal_lens.defence.ladder import CONTROL, Ladder
from refusal_lens.evaluation.grid import DirectionKind, Grid
from refusal_lens.evaluation.matched import match_refusal
from refusal_lens.evaluation.monotone import over_refusal_at
from refusal_lens.intervals import TAILS
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.records import Estimate

OVER_REFUSAL: Final = (0.05, 0.1, 0.2)
"""Shares of benign prompts refused at which refusal is compared."""
KL: Final = (0.3, 0.5, 1.0, 3.0)
"""Damage in nats at which refusal is compared."""
DRAWS: Final = 1000


def refusal_at_over_refusal(
    ladder: Ladder, rates: tuple[float, ...] = OVER_REFUSAL, *, draws: int = DRAWS, seed: int = 0
) -> dict[tuple[str, int], tuple[Estimate | None, ...]]:
    """Refusal at each over-refusal rate, by span and dimension; the control is random spans.

    By `evaluation.match_refusal` with the two sides exchanged: thresholds take the place of
    strengths. Empty where fewer than two pairs have a score.
    """
    cells = [(s, r) for s in range(len(ladder.spans)) for r in range(len(ladder.dimensions))]
    flags = torch.stack([_called(ladder.score[s, r]) for s, r in cells])
    if int((flags.amin((0, 1, 2)) >= 0).sum()) < 2:
        return {}
    kinds: list[DirectionKind] = [
        "control" if ladder.spans[s] == CONTROL and r else "direction" for s, r in cells
    ]
    exchanged = Grid(
        layer=ladder.layer,
        judged_by="refusal score",
        names=tuple(f"{ladder.spans[s]} {ladder.dimensions[r]}" for s, r in cells),
        kinds=tuple(kinds),
        lengths=(0.0,) * len(cells),
        strengths=tuple(float(i) for i in range(flags.shape[1])),
        pairs=ladder.pairs,
        ids=tuple((p, p) for p in ladder.pairs),
        generated=torch.zeros(len(ladder.pairs), dtype=torch.bool),
        refused=flags.to(torch.int8),
        provenance=ladder.provenance,
    )
    curves = match_refusal(exchanged, rates=rates, draws=draws, seed=seed).curves
    return {
        (ladder.spans[s], ladder.dimensions[r]): curve.over_refusal
        for (s, r), curve in zip(cells, curves, strict=True)
    }


def _called(score: Float[Tensor, "2 pair"]) -> Float[Tensor, "threshold 2 pair"]:
    """Whether each prompt counts as refused as the threshold falls, benign side first.

    -1 where the pair has no score.

    Every benign score is a threshold: over-refusal grows by one prompt at a time.
    """
    known = ~score.isnan().any(0)
    benign = score[COMPLY].nan_to_num(-torch.inf).sort(descending=True).values
    ends = torch.tensor([torch.inf]), torch.tensor([-torch.inf])
    thresholds = torch.cat([ends[0], benign, ends[1]])
    sides = score[[COMPLY, REFUSE]]
    above = (sides > thresholds[:, None, None]).float()
    return torch.where(known, above, -1.0)


def refusal_at_damage(
    ladder: Ladder, budgets: Sequence[float] = KL, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, tuple[Estimate | None, ...]]:
    """Refusal of harmful prompts at each mean KL, by span; None where no rung does that damage.

    Shares of all prompts asked: an answer without sense is no refusal. Linear between rungs, over
    KL made monotone in the dimension (isotonic regression); percentile bootstrap over pairs. Never
    extrapolated.
    """
    n = len(ladder.pairs)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=draws)
    weights = np.concatenate([np.ones((1, n)), drawn])
    at: dict[str, tuple[Estimate | None, ...]] = {}
    for s, span in enumerate(ladder.spans):
        flags = ladder.refused[s, :, REFUSE].numpy()
        kl = weights @ ladder.kl[s].double().numpy().T / n
        refusal = weights @ (flags == 1).astype(np.float64).T / n
        damage = np.apply_along_axis(isotonic_regression, -1, kl)
        read = np.array(
            [over_refusal_at(x, y, np.array(budgets)) for x, y in zip(damage, refusal, strict=True)]
        )
        at[span] = tuple(_estimate(read[:, b], n) for b in range(len(budgets)))
    return at


def _estimate(read: Float[np.ndarray, " draw"], n: int) -> Estimate | None:
    """None where the budget is not reached, in the data or in more than a tail of the draws."""
    inside = read[1:][np.isfinite(read[1:])]
    if not np.isfinite(read[0]) or len(inside) < TAILS[1] * (len(read) - 1):
        return None
    low, high = np.quantile(inside, TAILS)
    method = "read between rungs at a matched KL; percentile bootstrap over pairs"
    return Estimate(float(read[0]), float(low), float(high), n, method)
