"""Where learning is: vectors, moments of the optimiser, losses; saved so that a fit can go on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.optimised.settings import Settings
from refusal_lens.records import Record

_MOMENTS: Final = {
    "exp_avg": "first_moment",
    "exp_avg_sq": "second_moment",
    "max_exp_avg_sq": "largest_second_moment",
}
_BETAS: Final = (0.9, 0.98)


@final
@dataclass(frozen=True, eq=False)
class Checkpoint(Record):
    """A fit after some steps. `question` is the digest of everything that it depends on.

    `losses` has one row per step and one column per term, unweighted; `evaluated` the step of each
    evaluation, `evaluation` its weighted loss. `waited` counts evaluations without improvement
    since the learning rate was last reduced. What is learned of a combination of directions are
    coordinates on these, in place of the stream's.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    question: str
    learning_rate: float
    reductions: int
    waited: int
    evaluated: tuple[int, ...]
    evaluation: Float64[Tensor, " evaluation"]
    losses: Float64[Tensor, "step term"]
    basis: Float[Tensor, "vector d_model"]
    best: Float[Tensor, "vector d_model"]
    first_moment: Float[Tensor, "vector d_model"]
    second_moment: Float[Tensor, "vector d_model"]
    largest_second_moment: Float[Tensor, "vector d_model"]


@final
class State:
    """The basis with its optimiser: AdamW, betas .9 and .98, no decay, amsgrad.

    >>> import torch
    >>> state = State(torch.eye(4)[:1], Settings())
    >>> for loss in (0.7, 0.9):
    ...     state.evaluated_as(loss, Settings())
    >>> state.waited, state.best_loss
    (1, 0.7)
    """

    def __init__(self, basis: Float[Tensor, "vector d_model"], settings: Settings) -> None:
        self.basis = basis.detach().clone().requires_grad_()
        self.best = basis.detach().clone()
        self.optimiser = torch.optim.AdamW(
            [self.basis],
            lr=settings.learning_rate,
            betas=_BETAS,
            weight_decay=0.0,
            amsgrad=True,
        )
        self.losses: list[list[float]] = []
        self.evaluated: list[int] = []
        self.evaluation: list[float] = []
        self.reductions = self.waited = 0

    @property
    def step(self) -> int:
        """Steps taken."""
        return len(self.losses)

    @property
    def best_loss(self) -> float:
        """The lowest weighted loss of an evaluation; infinite before the first."""
        return min(self.evaluation, default=float("inf"))

    @property
    def learning_rate(self) -> float:
        """The optimiser's, now."""
        return float(self.optimiser.param_groups[0]["lr"])

    def stopped(self, settings: Settings) -> bool:
        """Whether the last reduction of the learning rate has brought nothing either."""
        return self.reductions > settings.reductions

    def evaluated_as(self, loss: float, settings: Settings) -> None:
        """Take up an evaluation: keep the best vectors, or wait, and at last reduce the rate."""
        if loss < self.best_loss:
            self.best, self.waited = self.basis.detach().clone(), 0
        else:
            self.waited += 1
        self.evaluated.append(self.step)
        self.evaluation.append(loss)
        if self.waited >= settings.patience:
            self.reductions, self.waited = self.reductions + 1, 0
            self.optimiser.param_groups[0]["lr"] = self.learning_rate / 10

    def save(self, stem: Path, question: str, terms: int) -> None:
        """Write a `Checkpoint`."""
        moments: dict[str, Any] = self.optimiser.state.get(self.basis, {})
        none = torch.zeros_like(self.basis)
        Checkpoint(
            question=question,
            learning_rate=self.learning_rate,
            reductions=self.reductions,
            waited=self.waited,
            evaluated=tuple(self.evaluated),
            evaluation=torch.tensor(self.evaluation, dtype=torch.float64),
            losses=torch.tensor(self.losses, dtype=torch.float64).reshape(-1, terms),
            basis=self.basis.detach(),
            best=self.best,
            **{field: moments.get(name, none).detach() for name, field in _MOMENTS.items()},
        ).save(stem)

    def resume(self, stem: Path, question: str) -> bool:
        """Go on from a checkpoint; False where there is none.

        Raises:
            InputError: it is of another fit, or damaged.
        """
        if not (stem.parent / f"{stem.name.removesuffix('.json')}.json").exists():
            return False
        saved = Checkpoint.load(stem)
        if saved.question != question:
            raise InputError(
                f"{stem} is the checkpoint of another fit (other model, prompts, targets, "
                "start or settings); name another file, or delete it"
            )
        self.losses, self.evaluated = saved.losses.tolist(), [*saved.evaluated]
        self.evaluation = saved.evaluation.tolist()
        self.reductions, self.waited, self.best = saved.reductions, saved.waited, saved.best
        with torch.no_grad():
            self.basis.copy_(saved.basis)
        self.optimiser.param_groups[0]["lr"] = saved.learning_rate
        if self.step:
            moments = {name: getattr(saved, field) for name, field in _MOMENTS.items()}
            step = torch.tensor(float(self.step))
            self.optimiser.state[self.basis] = {"step": step, **moments}
        return True
