"""Every direction at every strength on one common set of prompts: refused or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.evaluation.scoring import counts_as_refused, refusal_scores
from refusal_lens.evaluation.trade_off import Curve, TradeOff
from refusal_lens.intervals import wilson
from refusal_lens.interventions import Add
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import LensModel
from refusal_lens.model.forward import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.records import Estimate, Provenance, Record

Kind = Literal["direction", "pooled", "control"]


@final
@dataclass(frozen=True, eq=False)
class Grid(Record):
    """Directions added at one layer, all on the same prompts.

    `refused` is 1 where a prompt counts as refused, 0 where not, -1 where nobody can say. The
    prompts come as pairs: `refused[d, s, 0]` are the refuse sides and `refused[d, s, 1]` their
    twins, in the order of `pairs`. Strength 0 is the unedited model, measured once. `lengths` is
    what strength 1 adds, in residual-stream units.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    layer: int
    judged_by: str
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    lengths: tuple[float, ...]
    strengths: tuple[float, ...]
    pairs: tuple[str, ...]
    ids: tuple[tuple[str, str], ...]
    refused: Int8[Tensor, "direction strength 2 pair"]
    provenance: Provenance

    def rates(self, direction: int, side: int) -> tuple[Estimate, ...]:
        """Wilson's rate at each strength; side 0 is the refuse side, 1 the benign one."""
        plain = self._rate(direction, self.strengths.index(0.0), side, None).value
        steps = range(len(self.strengths))
        return tuple(self._rate(direction, s, side, plain) for s in steps)

    def trade_off(self) -> TradeOff:
        """The curves of all directions and controls."""
        curves = (
            Curve(name, self.lengths[i], self.strengths, self.rates(i, 0), self.rates(i, 1))
            for i, name in enumerate(self.names)
        )
        return TradeOff(self.provenance.model, self.layer, self.judged_by, tuple(curves))

    def _rate(self, direction: int, step: int, side: int, control: float | None) -> Estimate:
        own = self.refused[direction, step, side]
        known = own >= 0
        return wilson(int((own == 1).sum()), int(known.sum()), control, int((~known).sum()))


def whole_pairs(prompts: PromptSet, most: int) -> PromptSet:
    """At most `most` whole pairs, refuse side before twin, taken in turn from each category."""
    sides: dict[str, dict[str, dict[Label, int]]] = {}
    for i, p in enumerate(prompts):
        if p.pair is not None:
            sides.setdefault(p.category, {}).setdefault(p.pair, {})[p.label] = i
    rows = [[pair for pair in own.values() if len(pair) == 2] for own in sides.values()]
    turns = [
        pair
        for i in range(max(map(len, rows), default=0))
        for own in rows
        for pair in own[i : i + 1]
    ]
    chosen = [pair[label] for pair in turns[:most] for label in ("refuse", "comply")]
    return PromptSet(tuple(prompts.prompts[i] for i in chosen))


def measure_grid(
    model: LensModel,
    directions: Sequence[tuple[Direction, Kind]],
    pairs: PromptSet,
    trust: ScoreTrust,
    *,
    strengths: Sequence[float],
    progress: Progress = lambda n: None,
) -> Grid:
    """Each direction added at its own site at each strength, judged by scores.

    `pairs` is what `whole_pairs` gives; the directions lie at one layer.

    Raises:
        InputError: prompts that are not whole pairs, or directions of several layers.
    """
    sites = {d.site for d, _ in directions}
    labels = [p.label for p in pairs]
    if len(sites) != 1 or not labels or labels != ["refuse", "comply"] * (len(labels) // 2):
        raise InputError(
            f"a grid needs whole pairs and directions of one site; found {len(labels)} prompts and "
            f"{len(sites)} sites"
        )

    def read(d: Direction | None, strength: float) -> Float[Tensor, "2 pair"]:
        with model.editing(*([] if d is None else [Add(d, strength=strength)])):
            flags = counts_as_refused(pairs, refusal_scores(model, pairs, trust), trust)
        progress(len(pairs))
        return torch.tensor([-1.0 if f is None else float(f) for f in flags]).reshape(-1, 2).T

    ordered = tuple(sorted({*strengths, 0.0}))
    plain = read(None, 0.0)
    found = [torch.stack([plain if s == 0 else read(d, s) for s in ordered]) for d, _ in directions]
    ids = [p.id for p in pairs]
    return Grid(
        layer=next(iter(sites)).layer,
        judged_by="first-token or opening score",
        names=tuple(d.category for d, _ in directions),
        kinds=tuple(kind for _, kind in directions),
        lengths=tuple(d.scale for d, _ in directions),
        strengths=ordered,
        pairs=tuple(f"{p.category}/{p.pair}" for p in pairs if p.label == "refuse"),
        ids=tuple(zip(ids[::2], ids[1::2], strict=True)),
        refused=torch.stack(found).to(torch.int8),
        provenance=model.provenance(pairs),
    )
