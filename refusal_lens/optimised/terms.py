"""Loss terms on next tokens: cross-entropy of a target under an edit, and the retain term."""

from collections.abc import Sequence
from typing import Final, Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate
from refusal_lens.optimised.passes import LearnedVectors, LearningPasses, MakeEdit
from refusal_lens.optimised.rows import TargetRow
from refusal_lens.optimised.schedule import chunks
from refusal_lens.optimised.settings import RetainForm

_BASELINE_BYTES: Final = 2**31


@runtime_checkable
class Term(Protocol):
    """A loss per prompt (nats), differentiable in the vector under which each prompt runs."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each prompt's row."""
        ...

    def losses(self, places: Sequence[int], vectors: LearnedVectors) -> Float[Tensor, " prompt"]:
        """The loss of the prompts at `places`, each under its vector."""
        ...


@final
class TargetLoss:
    """Cross-entropy (nats per token) of each row's target under an edit made from its vector.

    The addition term of refusals on harmless prompts, and the ablation term of supplied answers.

    >>> import torch
    >>> passes, row = LearningPasses(model, direction), TargetRow("one", (5, 6, 7), (8, 9))
    >>> term = TargetLoss(passes, [row], rl.Ablate)
    >>> bool(term.losses([0], [direction.vector]) > 0)
    True
    """

    def __init__(self, passes: LearningPasses, rows: Sequence[TargetRow], make: MakeEdit) -> None:
        self._passes, self._rows, self._make = passes, rows, make
        self.lengths = tuple(len(row.ids) for row in rows)

    def losses(self, places: Sequence[int], vectors: LearnedVectors) -> Float[Tensor, " prompt"]:
        """See `Term.losses`."""
        rows = [self._rows[place] for place in places]
        logits = self._passes.logits(rows, self._passes.edit(vectors, self._make))
        return torch.stack(
            [
                F.cross_entropy(x, torch.tensor(row.target, device=x.device))
                for x, row in zip(logits, rows, strict=True)
            ]
        ).cpu()


@final
class RetainLoss:
    """Divergence (nats) of next tokens under an edit, by default ablation, from the unedited model.

    At the positions that predict the model's own answer and the one after. "paper": the mean over
    positions of KL(unedited || edited). "code": the sum over positions of KL(edited || unedited),
    which is what the released code of Wollschlaeger et al. 2025 computes: the other direction, and
    so many times the weight as there are positions.

    >>> import torch
    >>> passes, row = LearningPasses(model, direction), TargetRow("one", (5, 6, 7), (8, 0))
    >>> term = RetainLoss(passes, [row], n_at_once=8)
    >>> bool(term.losses([0], [direction.vector]) > 0)
    True

    Raises:
        InputError: the unedited model's log-probabilities would take more than 2 GiB.
    """

    def __init__(
        self,
        passes: LearningPasses,
        rows: Sequence[TargetRow],
        *,
        n_at_once: int,
        form: RetainForm = "paper",
        make: MakeEdit = Ablate,
    ) -> None:
        self._passes, self._rows, self._form, self._make = passes, rows, form, make
        self.lengths = tuple(len(row.ids) for row in rows)
        self._unedited: list[Float[Tensor, "pos d_vocab"]] = []
        with torch.no_grad():
            for part in chunks(range(len(rows)), n_at_once):
                logits = passes.logits([rows[i] for i in part])
                self._check_size(logits[0])
                self._unedited += [x.log_softmax(-1) for x in logits]

    def losses(self, places: Sequence[int], vectors: LearnedVectors) -> Float[Tensor, " prompt"]:
        """See `Term.losses`."""
        rows = [self._rows[place] for place in places]
        logits = self._passes.logits(rows, self._passes.edit(vectors, self._make))
        unedited = [self._unedited[place] for place in places]
        pairs = list(zip(unedited, (x.log_softmax(-1) for x in logits), strict=True))
        if self._form == "code":
            kl = [_kl(edited, plain).sum() for plain, edited in pairs]
        else:
            kl = [_kl(plain, edited).mean() for plain, edited in pairs]
        return torch.stack(kl).cpu()

    def _check_size(self, logits: Tensor) -> None:
        n_positions = sum(len(row.positions) for row in self._rows)
        size = n_positions * logits.shape[-1] * logits.element_size()
        if size > _BASELINE_BYTES:
            raise InputError(
                f"the unedited log-probabilities of {len(self._rows)} harmless prompts at "
                f"{n_positions} positions take {size / 2**30:.1f} GiB, of at most 2; give fewer "
                "prompts, or a smaller retain_tokens"
            )


def _kl(
    log_p: Float[Tensor, "pos d_vocab"], log_q: Float[Tensor, "pos d_vocab"]
) -> Float[Tensor, " pos"]:
    """KL(p || q) at each position."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
