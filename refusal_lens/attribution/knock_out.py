"""Knock-outs: do the parts that write most also matter most?

The strongest writers of a direction are replaced one after another, in the order of their
attribution, at the template's end of refuse-side prompts; the projection on the direction and the
refusal score are read after each step, beside as many random parts of the same kinds. If the
order is right, the first few take away most (Wang et al. 2023, section 4, "faithfulness").
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.ablated import AblatedRuns
from refusal_lens.attribution.base import Attribution, Target
from refusal_lens.attribution.components import WRITERS, Component
from refusal_lens.attribution.passes import check_unedited, silent
from refusal_lens.attribution.score import Score, name_of
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.model import LensModel
from refusal_lens.model.forward import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Provenance, Record

REPLACEMENTS: Final = ("zero", "mean", "resample")
COUNTS: Final = (0, 1, 2, 4, 8, 16, 32)


@final
@dataclass(frozen=True)
class Cuts:
    """How many writers are replaced, by what, and how many random orders stand beside.

    "zero" writes nothing; "mean" what the part writes on average over the benign prompts, offset
    by offset; "resample" what it writes on one benign prompt, drawn anew for each prompt.
    """

    counts: tuple[int, ...] = COUNTS
    replacement: str = "mean"
    draws: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 0 or self.draws < 1:
            raise InputError(
                f"counts {list(self.counts)} must be 0 or more and draws {self.draws} 1 or more"
            )
        if self.replacement not in REPLACEMENTS:
            raise InputError(
                f"replacement {self.replacement!r} is unknown; use one of {list(REPLACEMENTS)}"
            )


@final
@dataclass(frozen=True, eq=False)
class KnockOut(Record):
    """Projection (residual-stream units) and refusal score (nats) as writers are replaced.

    The first `cuts.counts[i]` of `order` are out in row i; the `random_` tensors hold the same
    numbers of random parts of the same kinds. `benign_projection` and `benign_score` are the
    unedited means of the benign prompts: where nothing of the difference is left. `scored_by`
    says which log-odds the score is: of a refusal token, or of a refusal opening.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    target: Target
    category: str
    cuts: Cuts
    order: tuple[Component, ...]
    prompts: tuple[str, ...]
    projection: Float[Tensor, "count prompt"]
    score: Float[Tensor, "count prompt"]
    random_projection: Float[Tensor, "draw count prompt"]
    random_score: Float[Tensor, "draw count prompt"]
    benign_projection: float
    benign_score: float
    scored_by: str
    provenance: Provenance

    def curve(self, of: Literal["projection", "score"]) -> tuple[Estimate, ...]:
        """Mean over prompts at each count, t interval; control: the random parts' mean."""
        score = of == "score"
        own = self.score if score else self.projection
        other = self.random_score if score else self.random_projection
        return tuple(
            replace(
                mean_estimate(own[i].tolist(), float(other[:, i].mean())),
                method=f"mean over prompts, t interval; control: {len(other)} random orders",
            )
            for i in range(len(own))
        )


def knock_out(  # noqa: PLR0913 - what is knocked out of what, and how it is read
    model: LensModel,
    prompts: PromptSet,
    direction: Direction,
    attribution: Attribution,
    metric: Score,
    *,
    cuts: Cuts = Cuts(),
    progress: Progress = silent,
) -> KnockOut:
    """Replace the strongest writers of `attribution` in the refuse-side prompts.

    Counts beyond the number of writers are cut to it. Progress counts passes over the prompts.

    Raises:
        InputError: a side without prompts, an attribution of another direction, or an edit that
            is on.
    """
    check_unedited(model)
    if attribution.target != Target(
        direction.category, direction.site, direction.offset, direction.scale
    ):
        raise InputError(
            f"the attribution is that of {attribution.target}, not of {direction!r}: decompose the "
            "direction that is to be knocked out"
        )
    refuse, comply = (prompts.only(label=label) for label in ("refuse", "comply"))
    order = attribution.writers()
    counts = tuple(sorted({min(k, len(order)) for k in cuts.counts}))
    if not len(refuse) or not len(comply):
        raise InputError("knock-outs need refuse-side prompts and benign ones; a side is empty")
    runs = AblatedRuns(model, direction, metric)
    with torch.inference_mode():
        values = _values(runs, len(refuse), comply, order, cuts)
        own = _curve(runs, refuse, values, order, counts, progress)
        random = [
            _curve(runs, refuse, values, o, counts, progress) for o in _random_orders(order, cuts)
        ]
        benign = runs.read(comply, {})
    return KnockOut(
        target=attribution.target,
        category=attribution.category,
        cuts=replace(cuts, counts=counts),
        order=order,
        prompts=refuse.ids,
        projection=own[0],
        score=own[1],
        random_projection=torch.stack([r[0] for r in random]),
        random_score=torch.stack([r[1] for r in random]),
        benign_projection=float(benign[0].mean()),
        benign_score=float(benign[1].mean()),
        scored_by=name_of(metric),
        provenance=model.provenance(prompts, cuts.seed),
    )


def _values(
    runs: AblatedRuns, n: int, comply: PromptSet, order: Sequence[Component], cuts: Cuts
) -> dict[Component, Tensor]:
    """What takes each writer's place on each of `n` prompts."""
    benign = runs.outputs(comply, order)
    generator = torch.Generator().manual_seed(cuts.seed)
    rows = torch.randint(len(comply), (n,), generator=generator)
    if cuts.replacement == "zero":
        return {c: torch.zeros(n, *x.shape[1:]) for c, x in benign.items()}
    if cuts.replacement == "mean":
        return {c: x.mean(0).expand(n, *x.shape[1:]) for c, x in benign.items()}
    return {c: x[rows] for c, x in benign.items()}


def _curve(  # noqa: PLR0913 - the parts of one measurement
    runs: AblatedRuns,
    prompts: PromptSet,
    values: dict[Component, Tensor],
    order: Sequence[Component],
    counts: Sequence[int],
    progress: Progress,
) -> tuple[Float[Tensor, "count prompt"], Float[Tensor, "count prompt"]]:
    rows: list[tuple[Tensor, Tensor]] = []
    for k in counts:
        rows.append(runs.read(prompts, {c: values[c] for c in order[:k]}))
        progress(1)
    return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])


def _random_orders(order: Sequence[Component], cuts: Cuts) -> list[list[Component]]:
    """Random orders of the same parts with heads and MLPs at the same places as in `order`."""
    generator = torch.Generator().manual_seed(cuts.seed)
    orders: list[list[Component]] = []
    for _ in range(cuts.draws):
        shuffled: list[Component] = [
            order[i] for i in torch.randperm(len(order), generator=generator).tolist()
        ]
        of_kind = {kind: iter([c for c in shuffled if c.kind == kind]) for kind in WRITERS}
        orders.append([next(of_kind[c.kind]) for c in order])
    return orders
