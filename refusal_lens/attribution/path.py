"""The path from one head to a direction: directly, or through which later parts.

The benign prompt runs with one head's output replaced by that of its refuse-side twin; the change
of r . x is taken apart like r . x itself. The head's own part is the direct path; the change of
every other part is what later heads and MLPs make of it. The parts of the change sum to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.attribution.base import Target
from refusal_lens.attribution.components import Anatomy, Component
from refusal_lens.attribution.pairs import Pair
from refusal_lens.attribution.passes import Tap, check_unedited, silent
from refusal_lens.attribution.patch_sites import PatchHooks, PatchSite, value_at
from refusal_lens.attribution.patching import Placebo, Tapped, random_value
from refusal_lens.attribution.projections import Projections
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.model import LensModel
from refusal_lens.model.active import ActiveEdits
from refusal_lens.model.batch import Batch
from refusal_lens.model.forward import Progress, SharedPrefix
from refusal_lens.records import Estimate, Provenance, Record

Route = Literal["total", "direct", "through later heads", "through later MLPs"]


@final
@dataclass(frozen=True, eq=False)
class HeadPath(Record):
    """Change of every part of r . x when one head writes what it writes for the refuse side.

    `change[pair, component]` sums over components to `total[pair]` (up to rounding, which is
    `remainder`); the head's own entry is the direct path. `placebo_change` and `placebo` are the
    same when a random vector as long as the difference is patched in.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    head: Component
    target: Target
    components: tuple[Component, ...]
    pairs: tuple[str, ...]
    alignment: tuple[str, ...]
    change: Float64[Tensor, "pair component"]
    placebo_change: Float64[Tensor, "pair component"]
    total: Float64[Tensor, " pair"]
    placebo: Float64[Tensor, " pair"]
    remainder: float
    control: Placebo
    provenance: Provenance

    def estimate(self, component: Component | None = None) -> Estimate:
        """Mean change of a part, or the total; t interval over pairs; control: the placebo."""
        if component is None:
            return _mean(self.total, self.placebo)
        return self._over([component])

    def routes(self) -> dict[Route, Estimate]:
        """The total, its direct part, and what other heads and MLPs make of it; parts add up."""
        later = {
            kind: [c for c in self.components if c != self.head and _kind(c) == kind]
            for kind in ("head", "MLP")
        }
        return {
            "total": self.estimate(),
            "direct": self._over([self.head]),
            "through later heads": self._over(later["head"]),
            "through later MLPs": self._over(later["MLP"]),
        }

    def carriers(self, most: int) -> tuple[Component, ...]:
        """The other parts whose mean change is largest, of either sign."""
        size = self.change.mean(0).abs()
        order: list[int] = size.argsort(descending=True).tolist()
        others = [self.components[i] for i in order if float(size[i]) > 0]
        return tuple([c for c in others if c != self.head][:most])

    def _over(self, components: Sequence[Component]) -> Estimate:
        own = [self.components.index(c) for c in components]
        return _mean(self.change[:, own].sum(1), self.placebo_change[:, own].sum(1))


def head_path(
    model: LensModel,
    pairs: Sequence[Pair],
    head: Component,
    direction: Direction,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> HeadPath:
    """Follow one head's difference, at the template's end, to a direction.

    Raises:
        InputError: as `head_paths`.
    """
    return head_paths(model, pairs, [head], direction, seed=seed, progress=progress)[0]


def head_paths(
    model: LensModel,
    pairs: Sequence[Pair],
    heads: Sequence[Component],
    direction: Direction,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[HeadPath, ...]:
    """Follow each head by itself; a pair's prompts run once for all of them.

    Progress counts pairs.

    Raises:
        InputError: no pair, not a head, one that writes after the direction's site, or an edit
            that is on.
    """
    check_unedited(model)
    if not pairs:
        raise InputError("no pair was given; expected at least one")
    projections = Projections(Anatomy(model.backend), [direction])
    for head in heads:
        if head.kind != "head" or head not in projections.components:
            raise InputError(f"{head.name} is not a head that writes before {direction.site}")
    changes: list[Tensor] = []
    totals: list[Tensor] = []
    for i, pair in enumerate(pairs):
        with torch.inference_mode():
            parts, whole = _runs(model, pair, heads, projections, seed * 1_000_003 + i)
        changes.append(parts[1:] - parts[0])
        totals.append(whole[1:] - whole[0])
        progress(1)
    change, total = torch.stack(changes), torch.stack(totals)
    n_post = model.chat.n_post
    return tuple(
        HeadPath(
            head=head,
            target=Target(direction.category, direction.site, direction.offset, direction.scale),
            components=projections.components,
            pairs=tuple(p.name for p in pairs),
            alignment=tuple(p.alignment(n_post, n_post) for p in pairs),
            change=change[:, k].clone(),
            placebo_change=change[:, k + 1].clone(),
            total=total[:, k].clone(),
            placebo=total[:, k + 1].clone(),
            remainder=float((total - change.sum(2))[:, k : k + 2].abs().max()),
            control=Placebo(len(pairs), seed),
            provenance=model.provenance(),
        )
        for head, k in zip(heads, range(0, 2 * len(heads), 2), strict=True)
    )


def _runs(
    model: LensModel, pair: Pair, heads: Sequence[Component], projections: Projections, seed: int
) -> tuple[Float64[Tensor, "row component"], Float64[Tensor, " row"]]:
    """Parts and whole of r . x for the benign prompt as it is, then each head patched and placebo.

    Every head's placebo is drawn anew from the seed, so that it does not depend on the others.
    """
    offsets, n_rows = model.chat.offsets, 1 + 2 * len(heads)
    sites = [PatchSite("head", h.layer, None, h.head) for h in heads]
    names = tuple(dict.fromkeys(s.hook_name for s in sites))
    seen = Tapped.read(model, pair, names, offsets, _no_score).seen
    prefix = SharedPrefix(ActiveEdits(model.backend), pair.corrupt[: offsets[0]])
    n_prefix = len(prefix.ids)
    first = len(pair.corrupt) + offsets[0] - n_prefix
    hooks = PatchHooks(offsets, torch.full((n_rows,), first))
    for k, site in enumerate(sites):
        generator = torch.Generator().manual_seed(seed)
        hooks.write(2 * k + 1, site, value_at(site, seen, 0, offsets))
        hooks.write(2 * k + 2, site, random_value(site, seen, offsets, generator))
    end = torch.tensor([pair.corrupt[n_prefix:]]).expand(n_rows, -1)
    length = torch.full((n_rows,), end.shape[1])
    batch = prefix.prepare(Batch(tuple(range(n_rows)), end, length, prompt=length))
    tap = Tap(projections.names, length[:, None] + torch.tensor(projections.offsets))
    with model.backend.hooks([*hooks.hooks(), *tap.hooks()]):
        prefix.run(batch, keep=(0,))
    return projections.parts(tap)[:, 0], projections.whole(tap)[0][:, 0]


def _no_score(logits: Tensor) -> Tensor:
    return torch.zeros(len(logits))


def _kind(component: Component) -> str:
    """Whose write a part belongs to: a bias to its block's heads or MLP, a mixer to the heads."""
    return "MLP" if component.kind.startswith("MLP") else "head"


def _mean(change: Float64[Tensor, " pair"], placebo: Float64[Tensor, " pair"]) -> Estimate:
    found = mean_estimate(change.tolist(), float(placebo.mean()))
    return replace(found, method="mean over pairs, t interval; control: placebo of equal length")
