"""Representational independence, measured: do cosines with one direction outlast another's loss?

Directions a and b are representationally independent where cos(x_l, a) is the same with b ablated,
and cos(x_l, b) with a ablated, at every layer l (Wollschlaeger et al. 2025, arXiv 2502.17420).
Orthogonal directions need not be: a later layer may write a where it reads b. Directions that are
not orthogonal can't be, by geometry alone: what is projected out of b goes from a too. So the part
that later layers cause is kept beside the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from scipy.stats import false_discovery_control, ttest_rel
from torch import Tensor

from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.interventions import Ablate
from refusal_lens.linalg import project_out, unit
from refusal_lens.model import LensModel, warn_of_transfer
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Provenance, Record


@final
@dataclass(frozen=True, eq=False)
class Independence(Record):
    """How much cosines with one direction change when another is ablated.

    `change[i, j]` is |cos(x_l, j) - cos(x_l without i, j)| of each prompt, averaged over layers;
    `by_layer[i, j]` the same per layer, averaged over prompts. x_l is the input of block l at the
    last token, read after the ablation there. `downstream[i, j]` is the part that is not geometry:
    |cos(x_l with i projected out, j) - cos(x_l without i, j)|, the first from the unedited stream.
    What begins with `control` is of `n_controls` random directions in place of i, averaged. The
    diagonal of `change` says how much of a direction there was to lose; that of `downstream` is 0.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    names: tuple[str, ...]
    change: Float[Tensor, "ablated read prompt"]
    downstream: Float[Tensor, "ablated read prompt"]
    by_layer: Float[Tensor, "ablated read layer"]
    control: Float[Tensor, "read prompt"]
    control_downstream: Float[Tensor, "read prompt"]
    control_by_layer: Float[Tensor, "read layer"]
    n_controls: int
    provenance: Provenance

    def of_pair(self, a: str, b: str) -> Estimate:
        """The mean change of both ways, 0 for independent directions; 95% t interval over prompts.

        `control` is the mean change of cosines with a and with b under random ablations.

        Raises:
            InputError: a name that was not measured, or twice the same.
        """
        i, j = self._index(a), self._index(b)
        if i == j:
            raise InputError(f"a pair is two directions; found {a!r} twice")
        values = (self.change[i, j] + self.change[j, i]) / 2
        control = (self.control[i] + self.control[j]).mean() / 2
        return mean_estimate(values.tolist(), float(control))

    def of_reading(self, ablated: str, read: str, *, downstream: bool = False) -> Estimate:
        """The mean change of cosines with `read` when `ablated` is ablated: one way of a pair.

        `downstream`: only what later layers cause.

        Raises:
            InputError: a name that was not measured.
        """
        i, j = self._index(ablated), self._index(read)
        change, control = (
            (self.downstream, self.control_downstream)
            if downstream
            else (self.change, self.control)
        )
        return mean_estimate(change[i, j].tolist(), float(control[j].mean()))

    def q_downstream(self) -> Float[Tensor, "ablated read"]:
        """Is `downstream` more than under random directions? NaN on the diagonal.

        By a one-sided t test of each prompt against its own control, over all ordered pairs
        corrected for the false discovery rate (Benjamini and Hochberg).
        """
        k = len(self.names)
        q = torch.full((k, k), torch.nan, dtype=torch.float64)
        if self.downstream.shape[-1] < 2:
            return q
        control = self.control_downstream.double().numpy()
        rest = ~torch.eye(k, dtype=torch.bool)
        p = [
            ttest_rel(self.downstream[i, j].double().numpy(), control[j], alternative="greater")
            for i, j in rest.nonzero().tolist()
        ]
        values = torch.tensor([1.0 if t.pvalue != t.pvalue else t.pvalue for t in p])
        q[rest] = torch.from_numpy(false_discovery_control(values.double().numpy()))
        return q

    def __repr__(self) -> str:
        return (
            f"Independence({len(self.names)} directions, {self.change.shape[-1]} prompts, "
            f"{self.by_layer.shape[-1]} layers, {self.n_controls} random directions, "
            f"{self.provenance.model})"
        )

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"direction {name!r} was not measured; there are {list(self.names)}")
        return self.names.index(name)


def representational_independence(
    model: LensModel,
    prompts: PromptSet,
    directions: Sequence[Direction],
    *,
    n_controls: int = 3,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Independence:
    """Ablate each direction in turn, and read how cosines with all the others change.

    One pass over the prompts per direction, one per random control, and one without an edit,
    whatever the number of pairs. Directions are named by their category. The paper reads harmful
    prompts. `progress` counts passes.

    >>> pair = [directions["advice", 2], directions["humanizing", 2]]
    >>> measured = rl.representational_independence(model, prompts, pair)
    >>> estimate = measured.of_pair("advice", "humanizing")
    >>> estimate.n, 0 <= estimate.value <= 2
    (36, True)

    Raises:
        InputError: fewer than two directions, two of one name, no prompt, or no control.
    """
    chosen = several_directions(directions)
    names = tuple(d.category for d in chosen)
    if len(chosen) < 2 or len({*names}) < len(names):
        raise InputError(
            f"independence is between two directions or more, of different names; found "
            f"{list(names)}; rename one with dataclasses.replace(direction, category=...)"
        )
    if n_controls < 1:
        raise InputError(f"n_controls={n_controls} must be at least 1")
    warn_of_transfer(chosen, model.provenance(), "if that is meant, use allow_transfer()")
    vectors = torch.stack([d.vector for d in chosen]).double()
    plain = _streams(model, prompts, None)
    progress(1)

    def changes(ablated: Direction) -> Float[Tensor, "kind read prompt layer"]:
        without = _cosines(_streams(model, prompts, ablated), vectors)
        progress(1)
        projected = _cosines(project_out(plain, ablated.vector.double()), vectors)
        whole = without - _cosines(plain, vectors)
        return torch.stack([whole, without - projected]).abs().float()

    each = torch.stack([changes(d) for d in chosen], 1)
    drawn = [chosen[0].random_like(seed + i) for i in range(n_controls)]
    control = torch.stack([changes(d) for d in drawn]).mean(0)
    return Independence(
        names=names,
        change=each[0].mean(-1),
        downstream=each[1].mean(-1),
        by_layer=each[0].mean(-2),
        control=control[0].mean(-1),
        control_downstream=control[1].mean(-1),
        control_by_layer=control[0].mean(-2),
        n_controls=n_controls,
        provenance=model.provenance(prompts, seed=seed),
    )


def _cosines(
    resid: Float[Tensor, "prompt layer d_model"], vectors: Float[Tensor, "read d_model"]
) -> Float[Tensor, "read prompt layer"]:
    """cos(x_l, v) of every prompt and layer with every unit vector."""
    return torch.einsum("pld,rd->rpl", unit(resid), vectors)


def _streams(
    model: LensModel, prompts: PromptSet, ablated: Direction | None
) -> Float[Tensor, "prompt layer d_model"]:
    """Every prompt's last token at every block's input, in double precision."""
    edits = () if ablated is None else (Ablate(ablated),)
    with model.editing(*edits, transfer=True):
        return model.residuals(prompts).tensor[:, 0].double()
