"""Runs of prompts with the outputs of chosen heads and MLPs replaced at the template's end."""

from collections.abc import Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.components import Component
from refusal_lens.attribution.passes import Tap, feed_of, positions_of, tapped
from refusal_lens.attribution.patch_sites import PatchHooks, PatchSite
from refusal_lens.attribution.score import Score, read_scores
from refusal_lens.directions import Direction
from refusal_lens.model import LensModel
from refusal_lens.model.batch import Batch
from refusal_lens.model.forward import Feed
from refusal_lens.prompts import PromptSet


def site_of(component: Component) -> PatchSite:
    """Where a head's, a mixer's or an MLP's output is replaced: at all read offsets."""
    if component.kind == "head":
        return PatchSite("head", component.layer, None, component.head)
    if component.kind == "mixer":
        return PatchSite("attn_out", component.layer, None)
    assert component.kind == "MLP"
    return PatchSite("mlp_out", component.layer, None)


@final
class AblatedRuns:
    """One direction and one score, read from prompts while parts are replaced.

    Arguments of the methods are rows of prompts at the offsets of the template's end.
    """

    def __init__(self, model: LensModel, direction: Direction, metric: Score) -> None:
        self.model, self.direction, self.metric = model, direction, metric
        self.offsets = tuple(sorted({*model.chat.offsets, direction.offset}))

    def outputs(
        self, prompts: PromptSet, components: Sequence[Component]
    ) -> dict[Component, Float[Tensor, "prompt offset ..."]]:
        """What each part writes on each prompt, at every offset."""
        sites = {c: site_of(c) for c in components}
        names = tuple(dict.fromkeys(s.hook_name for s in sites.values()))
        feed = feed_of(self.model, self.model.ids(prompts))
        seen: dict[str, Tensor] = {}
        for batch, tap in feed.batches(partial(tapped, feed, names, self.offsets)):
            for name, x in tap.seen.items():
                whole = seen.setdefault(name, torch.zeros(len(prompts), *x.shape[1:]))
                whole[list(batch.rows)] = x
        return {
            c: seen[s.hook_name] if s.head is None else seen[s.hook_name][:, :, s.head]
            for c, s in sites.items()
        }

    def read(
        self,
        prompts: PromptSet,
        replaced: dict[Component, Float[Tensor, "prompt offset ..."]],
    ) -> tuple[Float[Tensor, " prompt"], Float[Tensor, " prompt"]]:
        """Projection and score of each prompt with the parts replaced (none: unedited)."""
        feed = feed_of(self.model, self.model.ids(prompts))
        projection, score = torch.zeros(len(prompts)), torch.zeros(len(prompts))
        for batch, found in feed.batches(partial(self._batch, feed, replaced)):
            rows = list(batch.rows)
            projection[rows], score[rows] = found
        return projection, score

    def _batch(
        self,
        feed: Feed,
        replaced: dict[Component, Float[Tensor, "prompt offset ..."]],
        batch: Batch,
    ) -> tuple[Tensor, Tensor]:
        n_prefix, d = len(feed.prefix.ids), self.direction
        first = positions_of(batch, self.offsets, n_prefix)[:, 0]
        hooks = PatchHooks(self.offsets, first)
        for component, values in replaced.items():
            for i, row in enumerate(batch.rows):
                hooks.write(i, site_of(component), values[row])
        tap = Tap([d.site.hook_name], positions_of(batch, [d.offset], n_prefix))
        with feed.backend.hooks([*hooks.hooks(), *tap.hooks()]):
            score = read_scores(self.metric, feed.prefix, batch)
        return tap.seen[d.site.hook_name][:, 0] @ d.vector, score
