"""Knock-outs: are the components with the largest direct contribution also those that matter most?

The top-k components of a direction are ablated together, for growing k in the order of their
contribution, at the template's end of should-refuse prompts. The projection on the direction and
the refusal score are read at each k, with k random components of the same kinds as baseline. If
the order is right, the first few remove most (Wang et al. 2023, section 4, "faithfulness").
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.ablated import AblatedRuns
from refusal_lens.attribution.base import Attribution, Target
from refusal_lens.attribution.checks import NO_SUM
from refusal_lens.attribution.components import WRITERS, Component
from refusal_lens.attribution.score import Score, score_name
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.model import LensModel, check_unedited
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Provenance, Record

REPLACEMENTS: Final = ("zero", "mean", "resample")
COUNTS: Final = (0, 1, 2, 4, 8, 16, 32)


@final
@dataclass(frozen=True)
class Cuts:
    """How many components are ablated (each k), by what, and the number of random baselines.

    "zero" writes nothing (zero ablation); "mean" what the component writes on average over the
    benign prompts, offset by offset (mean ablation); "resample" what it writes on one benign
    prompt, drawn for each prompt (resample ablation). `draws` counts random orders.

    Raises:
        InputError: a negative count, no draw, or an unknown replacement.

    >>> Cuts(counts=(0, 1, 4), replacement="zero").counts
    (0, 1, 4)
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
    """Projection and refusal score as the top-k components are ablated, and k random ones.

    Projections are in residual-stream units, scores in nats; positive is towards refusal. In row i
    the first k = `cuts.counts[i]` of `order` are ablated; the `random_` tensors hold the baseline:
    k random components of the same kinds. `benign_projection` and `benign_score` are the means of
    the benign prompts as they are: the values where nothing of the difference is left. `scored_by`
    says which log-odds the score is: of a refusal token, or of a refusal opening.

    >>> from refusal_lens.attribution import decompose
    >>> advice = prompts.only(category="advice")
    >>> order = decompose(model, advice, [direction]).attribution("advice")
    >>> knocked_out = knock_out(
    ...     model, advice, direction, order, lambda logits: logits[:, 7], cuts=Cuts((0, 2), draws=1)
    ... )
    >>> [estimate.n for estimate in knocked_out.curve("projection")]  # one per k, over 6 prompts
    [6, 6]
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
        """Mean over prompts at each k, t interval; control: the mean of the random baseline."""
        score = of == "score"
        values = self.score if score else self.projection
        baseline = self.random_score if score else self.random_projection
        return tuple(
            replace(
                mean_estimate(values[i].tolist(), float(baseline[:, i].mean())),
                method=f"mean over prompts, t interval; control: {len(baseline)} random orders",
            )
            for i in range(len(values))
        )


def knock_out(  # noqa: PLR0913 - what is knocked out of what, and how it is read
    model: LensModel,
    prompts: PromptSet,
    direction: Direction,
    attribution: Attribution,
    metric: Score,
    *,
    cuts: Cuts = Cuts(),
    progress: Progress = NO_PROGRESS,
) -> KnockOut:
    """Ablate the top-k components of `attribution` in the should-refuse prompts, for each k.

    A k beyond the number of components is cut to it. Progress counts passes over the prompts.

    Raises:
        InputError: a side without prompts, an attribution of another direction, or an edit that
            is on.

    >>> from refusal_lens.attribution import decompose
    >>> advice = prompts.only(category="advice")
    >>> order = decompose(model, advice, [direction]).attribution("advice")
    >>> score = lambda logits: logits[:, 7]
    >>> knock_out(model, advice, direction, order, score, cuts=Cuts((0, 1))).projection.shape
    torch.Size([2, 6])
    """
    check_unedited(model, NO_SUM)
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
        top = _curve(runs, refuse, values, order, counts, progress)
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
        projection=top[0],
        score=top[1],
        random_projection=torch.stack([r[0] for r in random]),
        random_score=torch.stack([r[1] for r in random]),
        benign_projection=float(benign[0].mean()),
        benign_score=float(benign[1].mean()),
        scored_by=score_name(metric),
        provenance=model.provenance(prompts, cuts.seed),
    )


def _values(
    runs: AblatedRuns, n: int, comply: PromptSet, order: Sequence[Component], cuts: Cuts
) -> dict[Component, Tensor]:
    """What replaces each component's output on each of `n` prompts."""
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
    """Random orders of the same components with heads and MLPs at the same ranks as in `order`."""
    generator = torch.Generator().manual_seed(cuts.seed)
    orders: list[list[Component]] = []
    for _ in range(cuts.draws):
        shuffled: list[Component] = [
            order[i] for i in torch.randperm(len(order), generator=generator).tolist()
        ]
        of_kind = {kind: iter([c for c in shuffled if c.kind == kind]) for kind in WRITERS}
        orders.append([next(of_kind[c.kind]) for c in order])
    return orders
