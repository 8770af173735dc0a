"""Where activations are patched: the stream, an attention block, a head, an MLP; and by what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.attribution.components import Anatomy
from refusal_lens.errors import InputError
from refusal_lens.model import Feed, HookFunction, Hooks
from refusal_lens.sites import Site

PatchPoint = Literal["resid_pre", "attn_out", "mlp_out", "head"]


@final
@dataclass(frozen=True)
class PatchSite:
    """One activation: at one offset from the prompt's end, or (None) at all that are patched.

    >>> str(PatchSite("head", 1, None, head=2))
    'L1H2, all offsets'
    """

    point: PatchPoint
    layer: int
    offset: int | None
    head: int | None = None

    @property
    def hook_name(self) -> str:
        """TransformerLens' name of the hook point."""
        if self.point == "head":
            return Anatomy.z(self.layer)
        return Site(self.layer, self.point).hook_name

    def __str__(self) -> str:
        where = "all offsets" if self.offset is None else f"offset {self.offset}"
        part = f"L{self.layer}H{self.head}" if self.point == "head" else f"L{self.layer} "
        return f"{part}{'' if self.point == 'head' else self.point}, {where}"


def stream_sites(layers: Sequence[int], offsets: Sequence[int]) -> tuple[PatchSite, ...]:
    """The stream entering each layer at each offset.

    >>> [str(site) for site in rl.stream_sites([1], [-2, -1])]
    ['L1 resid_pre, offset -2', 'L1 resid_pre, offset -1']
    """
    return tuple(PatchSite("resid_pre", n, o) for n in layers for o in offsets)


def writer_sites(
    layers: Sequence[int], points: Sequence[PatchPoint] = ("attn_out", "mlp_out")
) -> tuple[PatchSite, ...]:
    """Attention blocks and MLPs of each layer, at all offsets at once.

    >>> [str(site) for site in writer_sites([1])]
    ['L1 attn_out, all offsets', 'L1 mlp_out, all offsets']
    """
    return tuple(PatchSite(point, n, None) for n in layers for point in points)


def head_sites(anatomy: Anatomy, layers: Sequence[int]) -> tuple[PatchSite, ...]:
    """Every head of each layer, at all offsets at once.

    >>> len(head_sites(Anatomy(model.backend), [0, 1]))
    8
    """
    return tuple(PatchSite("head", n, None, h) for n in layers for h in range(anatomy.n_heads(n)))


def check_patch_sites(sites: Sequence[PatchSite], offsets: Sequence[int], feed: Feed) -> None:
    """Reject what can't be patched in this model, under the edits that are on.

    Raises:
        InputError: no site, a layer that the model does not have, an offset that is not read, or
            `attn_out` of a layer whose `resid_mid` is edited.

    >>> check_patch_sites(stream_sites([1], [-1]), [-1], model.feed(["Why?"]))
    """
    if not sites:
        raise InputError("no site to patch was given; expected at least one")
    n_layers, hook_names = feed.backend.n_layers, feed.backend.hook_names()
    for site in sites:
        if not 0 <= site.layer < n_layers or site.hook_name not in hook_names:
            raise InputError(f"{site} is not in this model: its layers are 0 to {n_layers - 1}")
        if site.offset is not None and site.offset not in offsets:
            raise InputError(f"{site} is not among the patched offsets {list(offsets)}")
        if site.point == "attn_out" and site.layer in feed.prefix.edits.middles:
            raise InputError(
                f"{site} can't be patched under {feed.prefix.edits.text}: resid_mid is edited "
                "through what attention writes, so a patch there would undo the edit; edit "
                f"attn_out[{site.layer}] and resid_pre[{site.layer}] instead, or patch heads"
            )


def value_at(
    site: PatchSite, values: dict[str, Tensor], row: int, offsets: Sequence[int]
) -> Float[Tensor, "offset ..."]:
    """One row's activation at a site, of values by hook point; one offset, or all of them.

    >>> import torch
    >>> values = {"blocks.1.hook_mlp_out": torch.arange(4.0).reshape(1, 2, 2)}
    >>> value_at(PatchSite("mlp_out", 1, -1), values, 0, [-2, -1])
    tensor([[2., 3.]])
    """
    x = values[site.hook_name][row]
    if site.offset is not None:
        x = x[offsets.index(site.offset)][None]
    return x if site.head is None else x[:, site.head]


@final
class PatchHooks:
    """Writes one value into each row of a pass, at the row's own site.

    `first` is the position of the first of `offsets` in each row; rows without a site stay as
    they are.

    >>> import torch
    >>> hooks = PatchHooks([-2, -1], torch.tensor([0]))
    >>> hooks.write(0, PatchSite("mlp_out", 1, -1), torch.ones(1, 3))
    >>> (name, function), = hooks.hooks()
    >>> name, function(torch.zeros(1, 2, 3), None)[0].tolist()
    ('blocks.1.hook_mlp_out', [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    """

    def __init__(self, offsets: Sequence[int], first: Int64[Tensor, " row"]) -> None:
        self.offsets = list(offsets)
        self.first = first
        self._writes: dict[str, list[tuple[int, PatchSite, Tensor]]] = {}

    def write(self, row: int, site: PatchSite, value: Float[Tensor, "offset ..."]) -> None:
        """Put `value` into a row at a site."""
        self._writes.setdefault(site.hook_name, []).append((row, site, value))

    def hooks(self) -> Hooks:
        """One hook function per hook point that is written."""
        return [(name, self._function(writes)) for name, writes in self._writes.items()]

    def _function(self, writes: list[tuple[int, PatchSite, Tensor]]) -> HookFunction:
        def function(x: Tensor, hook: Any) -> Tensor:
            del hook
            patched = x.clone()
            for row, site, value in writes:
                chosen = self.offsets if site.offset is None else [site.offset]
                where = int(self.first[row]) - self.offsets[0] + torch.tensor(chosen)
                at = where.to(x.device)
                if site.head is None:
                    patched[row, at] = value.to(x)
                else:
                    patched[row, at, site.head] = value.to(x)
            return patched

        return function
