"""Finer contributions on demand: a head's by source token, an MLP's by its neurons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from refusal_lens.attribution.base import Target
from refusal_lens.attribution.checks import NO_SUM, check_directions, check_in_stream
from refusal_lens.attribution.components import Anatomy, Component
from refusal_lens.attribution.decompose import decompose_prompt
from refusal_lens.attribution.projections import Projections
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import t_quantile
from refusal_lens.model import Batch, HookReader, Ids, LensModel, check_unedited
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import Provenance, Record
from refusal_lens.residuals import pair_rows

_TOLERANCE: Final = 1e-3  # of a head's largest write; half precision rounds the weights themselves
_HALF_TOLERANCE: Final = 5e-2
_DRAWS: Final = 500  # sign flips of the pairs


@final
@dataclass(frozen=True, eq=False)
class HeadSources(Record):
    """Each head's contribution along a direction, by the source token whose value it moves.

    `scores[head, pos]` is attention weight times r . (value W_O), in residual-stream units and
    positive towards refusal; a row sums to the head's contribution up to `residual` (the largest
    gap: floating-point error). `positions` count from the prompt's end, -1 is the last token.

    >>> sources = head_sources(model, "Should I sue?", direction)
    >>> sources.scores.shape == (len(sources.heads), len(sources.tokens))
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    prompt: str
    target: Target
    heads: tuple[Component, ...]
    positions: tuple[int, ...]
    tokens: tuple[str, ...]
    scores: Float64[Tensor, "component pos"]
    residual: float
    provenance: Provenance


@final
@dataclass(frozen=True, eq=False)
class NeuronShares(Record):
    """The neurons of one MLP that contribute most to the class difference, of either sign.

    `scores` (should-refuse minus benign, over pairs; residual-stream units) with 95% t intervals,
    in order of size; `rest` is the sum of all other neurons of the layer, and `n_neurons` how many
    there are. `control` is the 95% quantile of the largest score of any neuron when the sides of
    each pair are swapped at random (max-T permutation): the neurons are selected by size, and
    scores below it show nothing.

    >>> mlp = mlp_neurons(model, prompts.only(category="advice"), direction, layer=1, most=3)
    >>> len(mlp.neurons), mlp.n_neurons
    (3, 48)
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    target: Target
    category: str
    layer: int
    neurons: tuple[int, ...]
    scores: Float64[Tensor, " neuron"]
    low: Float64[Tensor, " neuron"]
    high: Float64[Tensor, " neuron"]
    rest: float
    control: float
    n_neurons: int
    n: int
    provenance: Provenance


def head_sources(model: LensModel, prompt: Prompt | str, direction: Direction) -> HeadSources:
    """Each head's contribution by source token, for one prompt.

    Raises:
        InputError: as `decompose`; or heads that are not sums over tokens (attention sinks).

    >>> sources = head_sources(model, "Should I sue?", direction)
    >>> sources.heads[0].name, sources.positions[-1]
    ('L0H0', -1)
    """
    decomposed = decompose_prompt(model, prompt, direction)
    anatomy = Anatomy(model.backend)
    ids = model.ids([prompt])[0]
    heads = tuple(c for c in decomposed.components if c.kind == "head")
    if not heads:
        raise InputError(
            f"no block of {model.name} below {direction.site} has separate attention heads, "
            "so nothing can be shared out by source token; decompose() gives whole mixers"
        )
    projections = Projections(anatomy, [direction])
    by_layer = _by_token(model, ids, projections)
    scores = torch.stack([by_layer[c.layer][c.head or 0] for c in heads])
    expected = torch.tensor([decomposed.score_of(c) for c in heads], dtype=torch.float64)
    gap = float((scores.sum(1) - expected).abs().max())
    exact = model.backend.dtype in (torch.float32, torch.float64)
    if not gap <= (_TOLERANCE if exact else _HALF_TOLERANCE) * float(scores.abs().sum(1).max()):
        raise InputError(
            f"the heads of {model.name} are not sums over the tokens that they read (gap {gap:.2g} "
            "along the direction): this attention can't be shared out by source token"
        )
    return HeadSources(
        prompt=prompt if isinstance(prompt, str) else prompt.text,
        target=decomposed.target,
        heads=heads,
        positions=tuple(range(-len(ids), 0)),
        tokens=tuple(model.chat.strings(ids)),
        scores=scores,
        residual=gap,
        provenance=decomposed.provenance,
    )


def mlp_neurons(  # noqa: PLR0913 - whose neurons, of what, and how many
    model: LensModel,
    prompts: PromptSet,
    direction: Direction,
    layer: int,
    *,
    most: int = 10,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> NeuronShares:
    """The `most` neurons of a layer's MLP that contribute most to a direction's class difference.

    Raises:
        InputError: no pairs, a direction that was not fitted in the residual stream itself, an MLP
            without neurons (a mixture of experts), a layer that writes after the direction's site,
            or an edit that is on.

    >>> mlp = mlp_neurons(model, prompts.only(category="advice"), direction, layer=0, most=2)
    >>> mlp.scores.shape, mlp.n  # neurons, pairs
    (torch.Size([2]), 6)
    """
    check_unedited(model, NO_SUM)
    check_in_stream(check_directions(model, [direction]))
    anatomy = Anatomy(model.backend)
    below = Component(layer, "MLP").writes_before(direction.site)
    if not below or not anatomy.has_neurons(layer):
        raise InputError(
            f"the MLP of layer {layer} has no neurons that write before {direction.site}; "
            f"choose a dense layer below it"
        )
    pairs = pair_rows(prompts)
    if len(pairs) < 2:
        raise InputError(f"{len(pairs)} pairs were given; a class difference needs at least 2")
    active = _neurons(model, prompts, direction, layer, progress)
    read = anatomy.mlp(layer) @ (direction.vector.double() * anatomy.gain(layer, "mlp"))
    read = read * anatomy.carried(Component(layer, "MLP"), direction.site)
    each = (active[pairs[:, 0]] - active[pairs[:, 1]]) * read
    mean = each.mean(0)
    n = len(pairs)
    half = float(t_quantile(n - 1)) * each.std(0) / n**0.5
    top: Int64[Tensor, " neuron"] = mean.abs().argsort(descending=True)[:most]
    return NeuronShares(
        target=Target(direction.category, direction.site, direction.offset, direction.scale),
        category=", ".join(prompts.categories),
        layer=layer,
        neurons=tuple(int(i) for i in top),
        scores=mean[top],
        low=(mean - half)[top],
        high=(mean + half)[top],
        rest=float(mean.sum() - mean[top].sum()),
        control=_largest_by_chance(each, seed),
        n_neurons=len(mean),
        n=n,
        provenance=model.provenance(prompts),
    )


def _largest_by_chance(each: Float64[Tensor, "pair neuron"], seed: int) -> float:
    """The 95% quantile over sign flips of the largest absolute mean over all neurons."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (_DRAWS, len(each)), generator=generator).double() * 2 - 1
    return float((signs @ each / len(each)).abs().amax(1).quantile(0.95))


def _by_token(
    model: LensModel, ids: Ids, projections: Projections
) -> dict[int, Float64[Tensor, "head pos"]]:
    """Every head's contribution by source token, layer by layer, in one pass without a cache."""
    anatomy = projections.anatomy
    query = len(ids) + projections.offsets[0]
    values: dict[str, Tensor] = {}

    def reader(name: str) -> Any:
        def function(x: Tensor, hook: Any) -> None:
            del hook
            values[name] = x[0].detach().cpu().double()

        return function

    layers = [n for n in projections.layers if anatomy.n_heads(n)]
    names = [name for n in layers for name in _read_of_heads(anatomy, n)]
    row = torch.tensor([ids], device=model.backend.device)
    with torch.inference_mode(), model.backend.hooks([(name, reader(name)) for name in names]):
        model.backend.forward(row, torch.ones_like(row))
    by_layer: dict[int, Tensor] = {}
    for n in layers:
        weight = values[f"blocks.{n}.attn.hook_pattern"][:, query]
        value = values[anatomy.values(n) or ""]
        if anatomy.value_by_head(n):
            value = value.transpose(0, 1)
        # With grouped queries several heads read one value.
        value = value.repeat_interleave(len(weight) // value.shape[1], dim=1)
        scale = anatomy.scale(n, "attn")
        divisor = 1.0 if scale is None else float(anatomy.divisor(n, "attn", values[scale][query]))
        read = projections.reader_of(n)[0]
        if (norm := anatomy.heads_norm(n)) is not None:  # over the outputs of all heads (BitNet)
            z = torch.einsum("hs,she->he", weight, value)
            read = read * norm.gain
            divisor = divisor * float((z.square().mean() + norm.eps).sqrt())
        if (gate := anatomy.gate(n)) in values:  # on what each head writes here (Qwen3.5)
            read = read * values[gate][query].sigmoid().reshape(read.shape)
        written = torch.einsum("she,he->hs", value, read)
        by_layer[n] = weight * written / divisor * projections.carried_from(n)
    return by_layer


def _read_of_heads(anatomy: Anatomy, layer: int) -> list[str]:
    """Names of what the contributions of a layer's heads by source token are made of."""
    if (values := anatomy.values(layer)) is None:
        raise InputError(
            f"the heads of layer {layer} read the values of another layer, which can't be shared "
            "out by source token; decompose() gives whole heads"
        )
    names = [f"blocks.{layer}.attn.hook_pattern", values]
    scale, gate = anatomy.scale(layer, "attn"), anatomy.gate(layer)
    return names + ([scale] if scale else []) + ([gate] if gate in anatomy.names else [])


def _neurons(
    model: LensModel, prompts: PromptSet, direction: Direction, layer: int, progress: Progress
) -> Float64[Tensor, "prompt neuron"]:
    """Each prompt's neurons at the direction's offset, divided by what the post-norm divides by."""
    anatomy = Anatomy(model.backend)
    scale = anatomy.scale(layer, "mlp")
    written = f"blocks.{layer}.mlp.hook_out"  # before any post-norm or factor of the block
    names: Sequence[str] = [
        anatomy.neurons(layer),
        *(name for name in (scale, written) if name in anatomy.names),
    ]
    feed = model.feed(prompts)
    parts: list[tuple[tuple[int, ...], Tensor]] = []

    def read(batch: Batch) -> HookReader:
        return feed.read(batch, names, [direction.offset])

    with torch.inference_mode():
        for batch, reader in feed.batches(read):
            values = reader.values
            active = values[names[0]][:, 0].double()
            if written in values:
                _check_neurons(anatomy, layer, active, values[written][:, 0].double())
            if scale:
                active = active / anatomy.divisor(layer, "mlp", values[scale][:, 0])[:, None]
            parts.append((batch.rows, active))
            progress(len(batch.rows))
    order = torch.tensor([row for rows, _ in parts for row in rows]).argsort()
    return torch.cat([x for _, x in parts])[order]


def _check_neurons(anatomy: Anatomy, layer: int, active: Tensor, written: Tensor) -> None:
    bias = anatomy.bias(layer, "mlp")
    total = active @ anatomy.mlp(layer) + (0.0 if bias is None else bias)
    gap = float((total - written).norm() / written.norm())
    exact = anatomy.backend.dtype in (torch.float32, torch.float64)
    if not gap <= (_TOLERANCE if exact else _HALF_TOLERANCE):
        raise InputError(
            f"the neurons of layer {layer} don't sum to what its MLP writes (relative gap "
            f"{gap:.2g}): this architecture changes the sum in a way that is not known here"
        )
