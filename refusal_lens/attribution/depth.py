"""A category by layer: probe accuracy, steering effect, direct contribution, logit lens."""

from dataclasses import dataclass
from math import nan
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.base import Attribution
from refusal_lens.attribution.components import ComponentKind
from refusal_lens.attribution.logit_lens import LensProfile, PromotedTokens
from refusal_lens.attribution.probe import ProbeProfile
from refusal_lens.errors import InputError
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.selection import LayerCurve


@final
@dataclass(frozen=True, eq=False)
class DepthProfile(Record):
    """One category by layer; what was not measured at a layer is NaN.

    `decodable` is the accuracy on this category of a probe fitted on the others (`_shuffled`: on
    shuffled labels); `lens_refuse` and `lens_comply` the logit-lens refusal scores (nats) at that
    layer; `ablation` and `addition` the mean refusal scores (nats) under steering with the
    direction of that layer, `ablation_control` and `addition_control` those without an edit;
    `heads` and `mlps` the direct contributions of the block's heads and MLP to the class
    difference at `written_to` (residual-stream units). Positive is towards refusal. `_low` and
    `_high` bound 95% intervals. `n` counts the category's prompts: probe, each side of the lens,
    pairs of the attribution.

    >>> from refusal_lens.attribution import decompose, logit_lens, probe_layers, promoted_tokens
    >>> profile = depth_profile(
    ...     "advice",
    ...     probe=probe_layers(model, prompts),
    ...     lens=logit_lens(model, prompts, lambda logits: logits[:, 7]),
    ...     attribution=decompose(model, prompts, [direction]).attribution("advice"),
    ...     promoted=promoted_tokens(model, direction),
    ... )
    >>> profile.decodable.shape, profile.steered_by
    (torch.Size([3]), 'not steered')
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    category: str
    layers: tuple[int, ...]
    decodable: Float[Tensor, " layer"]
    decodable_low: Float[Tensor, " layer"]
    decodable_high: Float[Tensor, " layer"]
    decodable_shuffled: Float[Tensor, " layer"]
    lens_refuse: Float[Tensor, " layer"]
    lens_refuse_low: Float[Tensor, " layer"]
    lens_refuse_high: Float[Tensor, " layer"]
    lens_comply: Float[Tensor, " layer"]
    lens_comply_low: Float[Tensor, " layer"]
    lens_comply_high: Float[Tensor, " layer"]
    ablation: Float[Tensor, " layer"]
    ablation_low: Float[Tensor, " layer"]
    ablation_high: Float[Tensor, " layer"]
    ablation_control: Float[Tensor, " layer"]
    addition: Float[Tensor, " layer"]
    addition_low: Float[Tensor, " layer"]
    addition_high: Float[Tensor, " layer"]
    addition_control: Float[Tensor, " layer"]
    heads: Float[Tensor, " layer"]
    mlps: Float[Tensor, " layer"]
    written_to: str
    steered_by: str
    n: tuple[int, int, int]
    promoted: PromotedTokens
    provenance: Provenance


def depth_profile(
    category: str,
    *,
    probe: ProbeProfile,
    lens: LensProfile,
    attribution: Attribution,
    promoted: PromotedTokens,
    steering: LayerCurve | None = None,
) -> DepthProfile:
    """Assemble what was measured into one category's profile.

    Raises:
        InputError: a category that the probe, the lens or the attribution does not hold.

    >>> from refusal_lens.attribution import decompose, logit_lens, probe_layers, promoted_tokens
    >>> attribution = decompose(model, prompts, [direction]).attribution("advice")
    >>> profile = depth_profile(
    ...     "advice",
    ...     probe=probe_layers(model, prompts, layers=[2]),
    ...     lens=logit_lens(model, prompts, lambda logits: logits[:, 7]),
    ...     attribution=attribution,
    ...     promoted=promoted_tokens(model, direction),
    ... )
    >>> profile.n  # prompts of the probe, of each side of the lens; pairs
    (12, 6, 6)
    """
    measured = (probe.categories, lens.categories, (attribution.category,))
    if missing := [names for names in measured if category not in names]:
        raise InputError(f"category {category!r} was not measured; found {list(missing[0])}")
    c = lens.categories.index(category)
    n_layers = len(lens.layers) - 1
    decoded = {n: probe.accuracy(n, category) for n in probe.layers}
    steered = {} if steering is None else {x.layer: x for x in steering.candidates}
    curves = {
        "decodable": _curve(decoded, n_layers),
        "ablation": _curve({k: x.ablation for k, x in steered.items()}, n_layers),
        "addition": _curve({k: x.addition for k, x in steered.items()}, n_layers),
    }
    sides = {"refuse": REFUSE, "comply": COMPLY}
    fields = {
        f"lens_{side}{suffix}": values[:n_layers, c, k].clone()
        for side, k in sides.items()
        for suffix, values in (("", lens.mean), ("_low", lens.low), ("_high", lens.high))
    }
    for name, (value, low, high, control) in curves.items():
        fields |= {name: value, f"{name}_low": low, f"{name}_high": high}
        fields[f"{name}_{'shuffled' if name == 'decodable' else 'control'}"] = control
    return DepthProfile(
        category=category,
        layers=tuple(range(n_layers)),
        **fields,
        heads=_summed_by_layer(attribution, "head", n_layers),
        mlps=_summed_by_layer(attribution, "MLP", n_layers),
        written_to=f"{attribution.target.category} at {attribution.target.site}",
        steered_by="not steered" if steering is None else steering.category,
        n=(
            int(probe.count[probe.categories.index(category)]),
            int(lens.count[c].min()),
            attribution.n,
        ),
        promoted=promoted,
        provenance=attribution.provenance,
    )


def _summed_by_layer(
    attribution: Attribution, kind: ComponentKind, n_layers: int
) -> Float[Tensor, " layer"]:
    """Scores of the components of a kind, summed in each layer; NaN where there is none."""
    summed = torch.full((n_layers,), nan)
    for component, score in zip(attribution.components, attribution.scores.tolist(), strict=True):
        if component.kind == kind:
            summed[component.layer] = summed[component.layer].nan_to_num() + score
    return summed


def _curve(by_layer: dict[int, Estimate], n_layers: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Value, low, high and control by layer; NaN where there is none."""
    rows = torch.full((4, n_layers), nan)
    for layer, e in by_layer.items():
        for k, value in enumerate((e.value, e.low, e.high, e.control)):
            rows[k, layer] = nan if value is None else value
    return rows[0].clone(), rows[1].clone(), rows[2].clone(), rows[3].clone()
