"""Attention-source regions of heads' contributions: template or request, over several pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.attribution.base import Target
from refusal_lens.attribution.components import Component
from refusal_lens.attribution.sources import HeadSources
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.records import Estimate, Provenance, Record

REGIONS: Final = ("template before", "request", "template's end")


@final
@dataclass(frozen=True, eq=False)
class SourceRegions(Record):
    """Heads' contributions along a direction, by the region of the prompt that they attend to.

    In residual-stream units; positive is towards refusal. `refuse` and `comply` hold the two sides
    of the same pairs; a row sums over regions to the head's contribution on that prompt. "template
    before" includes a system prompt. `template` counts the template's tokens before and after the
    request.

    >>> from refusal_lens.attribution import head_sources
    >>> refuse = [head_sources(model, "Should I sue?", direction)]
    >>> comply = [head_sources(model, "What is a suit?", direction)]
    >>> chat = model.chat
    >>> sums = source_regions(
    ...     refuse,
    ...     comply,
    ...     refuse[0].heads[:1],
    ...     category="advice",
    ...     template=(len(chat.prefix_ids), chat.n_post),
    ... )
    >>> sums.regions, sums.refuse.shape
    (('template before', 'request', "template's end"), torch.Size([1, 1, 3]))
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    target: Target
    category: str
    heads: tuple[Component, ...]
    regions: tuple[str, ...]
    template: tuple[int, int]
    prompts: tuple[str, ...]
    refuse: Float64[Tensor, "pair component region"]
    comply: Float64[Tensor, "pair component region"]
    provenance: Provenance

    def estimate(self, head: Component, region: str) -> Estimate:
        """Mean over should-refuse prompts, t interval; control: their matched benign prompts."""
        h, r = self.heads.index(head), self.regions.index(region)
        mean = mean_estimate(self.refuse[:, h, r].tolist(), float(self.comply[:, h, r].mean()))
        return replace(mean, method="mean over prompts, t interval; control: benign twins")


def source_regions(
    refuse: Sequence[HeadSources],
    comply: Sequence[HeadSources],
    heads: Sequence[Component],
    *,
    category: str,
    template: tuple[int, int],
) -> SourceRegions:
    """Sum contributions by token over regions; `template` counts its tokens before and after.

    Raises:
        InputError: no pair, or sides of different number.

    >>> from refusal_lens.attribution import head_sources
    >>> one = [head_sources(model, "Should I sue?", direction)]
    >>> heads = one[0].heads[:2]
    >>> sums = source_regions(one, one, heads, category="advice", template=(1, 2))
    >>> sums.estimate(heads[0], "request").n
    1
    """
    if not refuse or len(refuse) != len(comply):
        raise InputError(
            f"{len(refuse)} refuse-side prompts and {len(comply)} twins were given; expected as "
            "many of either, at least one"
        )
    return SourceRegions(
        target=refuse[0].target,
        category=category,
        heads=tuple(heads),
        regions=REGIONS,
        template=template,
        prompts=tuple(s.prompt for s in refuse),
        refuse=torch.stack([_summed(s, heads, template) for s in refuse]),
        comply=torch.stack([_summed(s, heads, template) for s in comply]),
        provenance=refuse[0].provenance,
    )


def _summed(
    sources: HeadSources, heads: Sequence[Component], template: tuple[int, int]
) -> Float64[Tensor, "component region"]:
    scores = sources.scores[[sources.heads.index(h) for h in heads]]
    before, after = template
    end = scores.shape[1] - after
    return torch.stack(
        [scores[:, a:b].sum(1) for a, b in ((0, before), (before, end), (end, None))], 1
    )
