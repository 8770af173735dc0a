"""How much of a model's own predictions an autoencoder keeps: loss recovered (Bricken et al. 2023).

The loss of the next token on running text, with the reconstruction in place of the stream,
compared with the loss where the stream is replaced by its mean, or by zero. The first token of a
text is left as it is: its residual is unlike any other, and autoencoders are not trained on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.interventions import Constant, Edit, Only, Reconstruct
from refusal_lens.model import LensModel
from refusal_lens.model.batch import Ids
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.records import Estimate
from refusal_lens.sparse.autoencoder import SparseAutoencoder


@final
@dataclass(frozen=True)
class LossRecovered:
    """Loss (nats per token, over windows of text) of the model as it is, with reconstructions, and
    with the stream replaced by its mean, or by zero, at the site.

    `recovered` is (replaced - reconstructed) / (replaced - plain): 1 where reconstructions lose
    nothing, 0 where they are no better than the mean, or than zero.
    """

    plain: Estimate
    reconstructed: Estimate
    mean: Estimate
    zero: Estimate

    @property
    def recovered(self) -> float | None:
        """Against the mean."""
        return _share(self.plain, self.reconstructed, self.mean)

    @property
    def recovered_from_zero(self) -> float | None:
        """Against zero."""
        return _share(self.plain, self.reconstructed, self.zero)


def loss_recovered(
    model: LensModel,
    sae: SparseAutoencoder,
    windows: Sequence[Ids],
    mean: Float[Tensor, " d_model"],
    *,
    progress: Progress = NO_PROGRESS,
) -> LossRecovered:
    """The losses on windows of running text; `mean` is that of the site's residuals.

    >>> mean = torch.zeros(model.d_model)
    >>> loss = loss_recovered(model, sae, [(5, 6, 7, 8), (9, 10, 11)], mean)
    >>> loss.plain.n, loss.zero.value == loss.mean.value
    (2, True)

    Raises:
        InputError: fewer than two windows; or raises as `text_log_probs`.
    """
    if len(windows) < 2:
        raise InputError(f"{len(windows)} windows of text; give at least 2")
    edits: list[Edit | None] = [
        None,
        Reconstruct(sae),
        Constant(mean, sae.site),
        Constant(torch.zeros_like(mean), sae.site),
    ]
    plain, reconstructed, averaged, zeroed = (
        mean_estimate(_losses(model, windows, edit, progress)) for edit in edits
    )
    return LossRecovered(plain, reconstructed, averaged, zeroed)


def _losses(
    model: LensModel, windows: Sequence[Ids], edit: Edit | None, progress: Progress
) -> list[float]:
    """Mean loss of each window; to an edit its first token is the prompt."""
    edits = () if edit is None else (Only(edit, "generated"),)
    with model.editing(*edits):
        log_p = model.text_log_probs(windows, progress=progress)
    return [-float(x) / (len(w) - 1) for x, w in zip(log_p, windows, strict=True)]


def _share(plain: Estimate, reconstructed: Estimate, replaced: Estimate) -> float | None:
    assert plain.value is not None and reconstructed.value is not None
    assert replaced.value is not None
    gap = replaced.value - plain.value
    return (replaced.value - reconstructed.value) / gap if gap else None
