"""What a monitor computes of projections: how far refusal is behind what was to be expected.

The early layers of the prompt's last token say what is asked; x are their projections. The later
layers say what comes of it; y are theirs, at the prompt's last token (pass 0) and then as the mean
over the answer tokens read so far (pass k: the first k of them). All are projections on the refusal
direction of their own layer.
"""

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

DETECTORS: Final = ("mahalanobis", "logistic")


@final
@dataclass(frozen=True, eq=False)
class Features:
    """Early projections x of the prompt, and later ones y by pass; `there` as in `Readings`.

    Past the end of an answer y stays what it was last.
    """

    x: Float[Tensor, "prompt early"]
    y: Float[Tensor, "prompt pass late"]
    there: Bool[Tensor, "prompt pass"]

    @classmethod
    def of(
        cls,
        projections: Float[Tensor, "prompt pass site"],
        there: Bool[Tensor, "prompt pass"],
        n_early: int,
    ) -> "Features":
        """Features of projections whose first `n_early` sites are the early ones.

        >>> import torch
        >>> projections = torch.tensor([[[1.0, 2.0], [0.0, 4.0], [0.0, 6.0]]])
        >>> Features.of(projections, torch.ones(1, 3, dtype=torch.bool), 1).y[0, :, 0].tolist()
        [2.0, 4.0, 5.0]
        """
        late = projections[:, :, n_early:].double()
        read = there[:, 1:, None].double()
        total = (late[:, 1:].nan_to_num(0.0) * read).cumsum(1)
        count = read.cumsum(1)
        mean = torch.where(count > 0, total / count.clamp(min=1), late[:, :1])
        return cls(
            projections[:, 0, :n_early].double(), torch.cat([late[:, :1], mean], dim=1), there
        )


@final
@dataclass(frozen=True, eq=False)
class Scoring:
    """The numbers of both detectors, by pass.

    `coefficients` give the later projections that an unedited model has behind these early ones
    (linear, the last column is the intercept), `precision` is the inverse covariance of what
    remains, `spread` its standard deviations. `weights` and `bias` give the calibrated logit of
    "suppressed". `center` and `width` bring each detector's scores onto one scale over passes:
    mean and standard deviation over unedited prompts (past the end of nearly all of their answers,
    those of the last pass that enough of them reach).
    """

    coefficients: Float[Tensor, "pass late coefficient"]
    precision: Float[Tensor, "pass late late"]
    spread: Float[Tensor, "pass late"]
    weights: Float[Tensor, "pass feature"]
    bias: Float[Tensor, " pass"]
    center: Float[Tensor, "pass detector"]
    width: Float[Tensor, "pass detector"]

    def deviations(self, features: Features) -> Float[Tensor, "prompt pass late"]:
        """Later projections minus the expected ones, in standard deviations; negative: too low."""
        one = torch.ones(len(features.x), 1, dtype=torch.float64)
        expected = torch.einsum("nc,plc->npl", torch.cat([features.x, one], 1), self.coefficients)
        return (features.y - expected) / self.spread

    def distances(self, features: Features) -> Float[Tensor, "prompt pass"]:
        """Mahalanobis distance of the later projections given the early ones, with a sign.

        Positive where they lie under what was expected, in the mean over layers, in standard
        deviations; negative where they lie above it (more refusal than expected).
        """
        z = self.deviations(features)
        e = z * self.spread
        square = torch.einsum("npl,plm,npm->np", e, self.precision, e).clamp(min=0.0)
        return -torch.sign(z.mean(-1)) * square.sqrt()

    def logits(self, features: Features) -> Float[Tensor, "prompt pass"]:
        """Calibrated logit of "suppressed", at as many suppressed as unedited prompts."""
        n_passes = features.y.shape[1]
        x = features.x[:, None].expand(-1, n_passes, -1)
        return (torch.cat([x, features.y], -1) * self.weights).sum(-1) + self.bias

    def scores(self, features: Features) -> Float[Tensor, "prompt pass detector"]:
        """Both detectors' scores on their common scale, NaN past the end of an answer."""
        raw = torch.stack([self.distances(features), self.logits(features)], -1)
        scaled = (raw - self.center) / self.width
        return torch.where(features.there[..., None], scaled, torch.nan)

    def passes(self, first: int, last: int) -> "Scoring":
        """The numbers of some of the passes."""
        return Scoring(**{name: value[first:last] for name, value in vars(self).items()})


def highest(scores: Float[Tensor, "prompt pass detector"]) -> Float[Tensor, "prompt detector"]:
    """The largest score of each prompt over the passes of its answer: what a threshold is set on.

    A prompt raises an alarm as soon as any pass exceeds the threshold; a bound on the largest is
    a bound on the whole answer, however many passes there are.

    >>> import torch
    >>> highest(torch.tensor([[[1.0], [3.0], [torch.nan]]])).tolist()
    [[3.0]]
    """
    return scores.nan_to_num(-torch.inf).amax(1)


def first_alarm(
    scores: Float[Tensor, "prompt pass detector"], thresholds: Float[Tensor, " detector"]
) -> list[int | None]:
    """Answer tokens that were out when either detector first exceeded its threshold.

    0: before the first token; None: never.

    >>> import torch
    >>> first_alarm(torch.tensor([[[0.0], [2.0]], [[0.0], [0.0]]]), torch.tensor([1.0]))
    [1, None]
    """
    over = (scores > thresholds).any(-1)  # NaN exceeds nothing
    return [int(row.int().argmax()) if bool(row.any()) else None for row in over]
