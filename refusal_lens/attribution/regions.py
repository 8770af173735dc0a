"""From which part of a prompt heads carry what they write, over several pairs."""

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
    """What heads write along a direction, by the part of the prompt that it is carried from.

    `refuse` and `comply` hold the two sides of the same pairs; a row sums over regions to the
    head's projection on that prompt. "template before" holds a system prompt, too. `template`
    counts the template's tokens before and after the request.
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
        """Mean over refuse-side prompts, t interval; control: the mean of their twins."""
        h, r = self.heads.index(head), self.regions.index(region)
        found = mean_estimate(self.refuse[:, h, r].tolist(), float(self.comply[:, h, r].mean()))
        return replace(found, method="mean over prompts, t interval; control: benign twins")


def source_regions(
    refuse: Sequence[HeadSources],
    comply: Sequence[HeadSources],
    heads: Sequence[Component],
    *,
    category: str,
    template: tuple[int, int],
) -> SourceRegions:
    """Sum the shares by token over the regions; `template` counts its tokens on either side.

    Raises:
        InputError: no pair, or sides of different number.
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
    own = sources.scores[[sources.heads.index(h) for h in heads]]
    before, after = template
    end = own.shape[1] - after
    return torch.stack(
        [own[:, a:b].sum(1) for a, b in ((0, before), (before, end), (end, None))], 1
    )
