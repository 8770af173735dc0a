"""The path from one head to a direction: directly, or through which later components.

The benign prompt runs with one head's output replaced by that of its should-refuse twin; the
change of r . x is decomposed like r . x itself. The head's own contribution is the direct path;
the change of every other contribution is what later heads and MLPs make of it (the indirect
paths, after path patching: Goldowsky-Dill et al. 2023). The contributions' changes sum to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.attribution.activations import PairActivations, random_value
from refusal_lens.attribution.base import Target
from refusal_lens.attribution.checks import NO_SUM, check_directions
from refusal_lens.attribution.components import Anatomy, Component
from refusal_lens.attribution.pairs import CLEAN, CORRUPT, Pair, pair_feed
from refusal_lens.attribution.patch_sites import PatchHooks, PatchSite, value_at
from refusal_lens.attribution.patching import Placebo
from refusal_lens.attribution.projections import Projections
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.model import Feed, HookReader, LensModel, Rerun, check_unedited
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.records import Estimate, Provenance, Record

Route = Literal["total", "direct", "through later heads", "through later MLPs"]


@final
@dataclass(frozen=True, eq=False)
class HeadPath(Record):
    """Change of every contribution to r . x when one head's output is patched in.

    In residual-stream units; positive is towards refusal. `change[pair, component]` sums over
    components to `total[pair]`, up to `residual` (floating-point error); the head's own entry is
    the direct path. `placebo_change` and `placebo` are the same when a random vector as long as
    the difference is patched in.

    >>> from refusal_lens.attribution import pairs_of
    >>> pairs = pairs_of(model, prompts, equal_length=False, most=1)
    >>> path = head_path(model, pairs, Component(0, "head", 1), direction)
    >>> bool((path.change.sum(1) - path.total).abs().max() < 1e-4)
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    head: Component
    target: Target
    components: tuple[Component, ...]
    pairs: tuple[str, ...]
    alignment: tuple[str, ...]
    change: Float64[Tensor, "pair component"]
    placebo_change: Float64[Tensor, "pair component"]
    total: Float64[Tensor, " pair"]
    placebo: Float64[Tensor, " pair"]
    residual: float
    control: Placebo
    provenance: Provenance

    def estimate(self, component: Component | None = None) -> Estimate:
        """Mean change of one contribution, or of the total; t interval; control: the placebo."""
        if component is None:
            return _mean(self.total, self.placebo)
        return self._over([component])

    def routes(self) -> dict[Route, Estimate]:
        """The total effect, the direct one, and those through later heads and MLPs; they add up."""
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
        """The other components whose mean change is largest, of either sign."""
        size = self.change.mean(0).abs()
        order: list[int] = size.argsort(descending=True).tolist()
        others = [self.components[i] for i in order if float(size[i]) > 0]
        return tuple([c for c in others if c != self.head][:most])

    def _over(self, components: Sequence[Component]) -> Estimate:
        columns = [self.components.index(c) for c in components]
        return _mean(self.change[:, columns].sum(1), self.placebo_change[:, columns].sum(1))


def head_path(
    model: LensModel,
    pairs: Sequence[Pair],
    head: Component,
    direction: Direction,
    *,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> HeadPath:
    """Follow one head's difference, at the template's end, to a direction.

    Raises:
        InputError: as `head_paths`.

    >>> from refusal_lens.attribution import pairs_of
    >>> pairs = pairs_of(model, prompts, equal_length=False, most=1)
    >>> path = head_path(model, pairs, Component(1, "head", 2), direction)
    >>> list(path.routes())
    ['total', 'direct', 'through later heads', 'through later MLPs']
    """
    return head_paths(model, pairs, [head], direction, seed=seed, progress=progress)[0]


def head_paths(
    model: LensModel,
    pairs: Sequence[Pair],
    heads: Sequence[Component],
    direction: Direction,
    *,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> tuple[HeadPath, ...]:
    """Follow each head by itself; a pair's prompts run once for all of them.

    Progress counts pairs.

    Raises:
        InputError: no pair, not a head, one that writes after the direction's site, or an edit
            that is on.

    >>> from refusal_lens.attribution import pairs_of
    >>> pairs = pairs_of(model, prompts, equal_length=False, most=1)
    >>> heads = [Component(0, "head", 1), Component(1, "head", 2)]
    >>> [path.head.name for path in head_paths(model, pairs, heads, direction)]
    ['L0H1', 'L1H2']
    """
    check_unedited(model, NO_SUM)
    check_directions(model, [direction])
    feed = pair_feed(model, pairs)
    projections = Projections(Anatomy(model.backend), [direction])
    for head in heads:
        if head.kind != "head" or head not in projections.components:
            raise InputError(f"{head.name} is not a head that writes before {direction.site}")
    changes: list[Tensor] = []
    totals: list[Tensor] = []
    for i in range(len(pairs)):
        with torch.inference_mode():
            parts, along = _runs(model, feed, i, heads, projections, seed * 1_000_003 + i)
        changes.append(parts[1:] - parts[0])
        totals.append(along[1:] - along[0])
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
            residual=float((total - change.sum(2))[:, k : k + 2].abs().max()),
            control=Placebo(len(pairs), seed),
            provenance=model.provenance(),
        )
        for head, k in zip(heads, range(0, 2 * len(heads), 2), strict=True)
    )


def _runs(  # noqa: PLR0913 - one pair of a feed, and what is followed in it
    model: LensModel,
    feed: Feed,
    pair: int,
    heads: Sequence[Component],
    projections: Projections,
    seed: int,
) -> tuple[Float64[Tensor, "row component"], Float64[Tensor, " row"]]:
    """Contributions to r . x, and r . x: the corrupt prompt as it is, then each head and placebo.

    Every head's placebo is drawn anew from the seed, so that it does not depend on the others.
    """
    offsets, n_rows = model.chat.offsets, 1 + 2 * len(heads)
    sites = [PatchSite("head", h.layer, None, h.head) for h in heads]
    names = tuple(dict.fromkeys(s.hook_name for s in sites))
    values = PairActivations.read(feed, pair, names, offsets, _no_score).values
    rerun = Rerun(feed, 2 * pair + CORRUPT)
    start = rerun.start_of(min(offsets[0], projections.offsets[0]))
    hooks = PatchHooks(offsets, torch.full((n_rows,), offsets[0] - start))
    for k, site in enumerate(sites):
        generator = torch.Generator().manual_seed(seed)
        hooks.write(2 * k + 1, site, value_at(site, values, CLEAN, offsets))
        hooks.write(2 * k + 2, site, random_value(site, values, offsets, generator))
    positions = torch.tensor(projections.offsets) - start
    reader = HookReader(projections.names, positions.expand(n_rows, -1))
    rerun.run(start, n_rows, hooks=[*hooks.hooks(), *reader.hooks()], keep=(0,))
    return projections.parts(reader)[:, 0], projections.total(reader)[0][:, 0]


def _no_score(logits: Tensor) -> Tensor:
    return torch.zeros(len(logits))


def _kind(component: Component) -> str:
    """Whose contribution it counts as: a bias its block's heads' or MLP's, a mixer the heads'."""
    return "MLP" if component.kind.startswith("MLP") else "head"


def _mean(change: Float64[Tensor, " pair"], placebo: Float64[Tensor, " pair"]) -> Estimate:
    mean = mean_estimate(change.tolist(), float(placebo.mean()))
    return replace(mean, method="mean over pairs, t interval; control: placebo of equal length")
