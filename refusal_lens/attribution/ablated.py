"""Runs of prompts with the outputs of chosen components ablated at the template's end."""

from collections.abc import Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.components import Component
from refusal_lens.attribution.patch_sites import PatchHooks, PatchSite
from refusal_lens.attribution.score import Score, read_scores
from refusal_lens.directions import Direction
from refusal_lens.model import Batch, Feed, HookReader, LensModel
from refusal_lens.prompts import PromptSet


def site_of(component: Component) -> PatchSite:
    """Where a head's, a mixer's or an MLP's output is replaced: at all read offsets.

    >>> str(site_of(Component(1, "MLP")))
    'L1 mlp_out, all offsets'
    """
    if component.kind == "head":
        return PatchSite("head", component.layer, None, component.head)
    if component.kind == "mixer":
        return PatchSite("attn_out", component.layer, None)
    assert component.kind == "MLP"
    return PatchSite("mlp_out", component.layer, None)


@final
class AblatedRuns:
    """Reads the projection on one direction, and one score, while components are ablated.

    Values are given and taken per prompt, at the offsets of the template's end.

    >>> import torch
    >>> runs = AblatedRuns(model, direction, lambda logits: logits[:, 7])
    >>> with torch.inference_mode():
    ...     written = runs.outputs(prompts, [Component(1, "MLP")])
    ...     projection, score = runs.read(prompts, written)  # replaced by what it writes anyway
    >>> written[Component(1, "MLP")].shape == (len(prompts), model.chat.n_post, model.d_model)
    True
    """

    def __init__(self, model: LensModel, direction: Direction, metric: Score) -> None:
        self.model, self.direction, self.metric = model, direction, metric
        self.offsets = tuple(sorted({*model.chat.offsets, direction.offset}))

    def outputs(
        self, prompts: PromptSet, components: Sequence[Component]
    ) -> dict[Component, Float[Tensor, "prompt offset ..."]]:
        """What each component writes on each prompt, at every offset."""
        sites = {c: site_of(c) for c in components}
        names = tuple(dict.fromkeys(s.hook_name for s in sites.values()))
        feed = self.model.feed(prompts)
        values: dict[str, Tensor] = {}

        def read(batch: Batch) -> HookReader:
            return feed.read(batch, names, self.offsets)

        for batch, reader in feed.batches(read):
            for name, x in reader.values.items():
                of_all = values.setdefault(name, torch.zeros(len(prompts), *x.shape[1:]))
                of_all[list(batch.rows)] = x
        return {
            c: values[s.hook_name] if s.head is None else values[s.hook_name][:, :, s.head]
            for c, s in sites.items()
        }

    def read(
        self,
        prompts: PromptSet,
        replaced: dict[Component, Float[Tensor, "prompt offset ..."]],
    ) -> tuple[Float[Tensor, " prompt"], Float[Tensor, " prompt"]]:
        """Projection and score of each prompt with the components replaced (none: as it is)."""
        feed = self.model.feed(prompts)
        projection, score = torch.zeros(len(prompts)), torch.zeros(len(prompts))
        for batch, (along, scores) in feed.batches(partial(self._batch, feed, replaced)):
            rows = list(batch.rows)
            projection[rows], score[rows] = along, scores
        return projection, score

    def _batch(
        self,
        feed: Feed,
        replaced: dict[Component, Float[Tensor, "prompt offset ..."]],
        batch: Batch,
    ) -> tuple[Tensor, Tensor]:
        d = self.direction
        first = feed.positions(batch, self.offsets)[:, 0]
        hooks = PatchHooks(self.offsets, first)
        for component, values in replaced.items():
            for i, row in enumerate(batch.rows):
                hooks.write(i, site_of(component), values[row])
        reader = HookReader([d.site.hook_name], feed.positions(batch, [d.offset]))
        with feed.hooks([*hooks.hooks(), *reader.hooks()]):
            score = read_scores(self.metric, feed, batch)
        return reader.values[d.site.hook_name][:, 0] @ d.vector, score
