"""Representational independence as a loss: cosines should outlast the other's ablation."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.interventions import Ablate
from refusal_lens.model import HookReader
from refusal_lens.model.reading import EnoughRead
from refusal_lens.optimised.passes import LearnedVectors, LearningPasses
from refusal_lens.optimised.rows import TargetRow
from refusal_lens.optimised.schedule import chunks
from refusal_lens.sites import block_inputs

SHARE_OF_LAYERS: Final = 0.9


@final
class IndependenceLoss:
    """Sum over given directions v of the mean over layers of both ways' squared changes of cosine.

    (cos(x, r) - cos(x_abl(v), r))^2 + (cos(x, v) - cos(x_abl(r), v))^2, x at the input of each of
    the first int(.9 L) blocks, as the ablation leaves it, at the last token (Wollschlaeger et al.
    2025). Cosines with v and streams without r are computed once; passes under the
    ablation of r end at the last of these blocks.

    >>> passes = LearningPasses(model, direction)
    >>> row = TargetRow("one", tuple(model.chat.ids("Why?")), ())
    >>> term = IndependenceLoss(passes, [row], [direction], n_at_once=8)
    >>> bool(term.losses([0], [direction.vector]) > 0)
    True
    """

    def __init__(
        self,
        passes: LearningPasses,
        prompts: Sequence[TargetRow],
        others: Sequence[Direction],
        *,
        n_at_once: int,
    ) -> None:
        self._passes, self._prompts = passes, prompts
        self.lengths = tuple(len(row.prompt) for row in prompts)
        n_layers = max(1, int(SHARE_OF_LAYERS * passes.model.n_layers))
        self._names = [site.hook_name for site in block_inputs(n_layers)]
        self._others = torch.stack([d.vector for d in others]).float()
        parts = chunks(range(len(prompts)), n_at_once)
        with torch.no_grad():
            self._plain = torch.cat([self._streams(part, None) for part in parts])
            self._without = [
                torch.cat([self._streams(part, [d.vector] * len(part)) for part in parts])
                for d in others
            ]

    def losses(self, places: Sequence[int], vectors: LearnedVectors) -> Float[Tensor, " prompt"]:
        """See `Term.losses`."""
        at = list(places)
        r = torch.stack(list(vectors)).float()[:, None]  # one per prompt, for every layer
        plain, ablated = self._plain[at], self._streams(places, vectors)
        total = torch.zeros(len(at))
        for v, without in zip(self._others, self._without, strict=True):
            of_r = _cosine(plain, r) - _cosine(without[at], r)
            of_v = _cosine(plain, v) - _cosine(ablated, v)
            total = total + (of_r.square() + of_v.square()).mean(1)
        return total

    def _streams(
        self, places: Sequence[int], vectors: LearnedVectors | None
    ) -> Float[Tensor, "prompt layer d_model"]:
        """Block inputs at the last token, after the ablation of each prompt's vector."""
        rows = [self._prompts[place] for place in places]
        edit = None if vectors is None else self._passes.edit(vectors, Ablate)
        with self._passes.running([row.prompt for row in rows], rows, edit) as (feed, batch):
            last = feed.positions(batch, [-1])
            reader = HookReader(self._names, last, live=True)
            with feed.hooks(reader.hooks_until_read()), suppress(EnoughRead):
                feed.run(batch)
        each = torch.arange(len(rows))
        streams = [reader.values[name][each, last[:, 0]].float().cpu() for name in self._names]
        return torch.stack(streams, dim=1)


def _cosine(
    x: Float[Tensor, "prompt layer d_model"], vector: Float[Tensor, "*#batch d_model"]
) -> Float[Tensor, "prompt layer"]:
    return F.cosine_similarity(x, vector, dim=-1)
