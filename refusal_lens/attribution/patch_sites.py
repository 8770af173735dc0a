"""Where activations are patched: the stream, an attention block, a head, an MLP; and by what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.attribution.components import Anatomy
from refusal_lens.errors import InputError
from refusal_lens.model.backend import HookFunction, Hooks
from refusal_lens.sites import Site

PatchPoint = Literal["resid_pre", "attn_out", "mlp_out", "head"]


@final
@dataclass(frozen=True)
class PatchSite:
    """One activation: at one offset from the prompt's end, or (None) at all that are patched."""

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
    """The stream entering each layer at each offset."""
    return tuple(PatchSite("resid_pre", n, o) for n in layers for o in offsets)


def writer_sites(
    layers: Sequence[int], points: Sequence[PatchPoint] = ("attn_out", "mlp_out")
) -> tuple[PatchSite, ...]:
    """Attention blocks and MLPs of each layer, at all offsets at once."""
    return tuple(PatchSite(point, n, None) for n in layers for point in points)


def head_sites(anatomy: Anatomy, layers: Sequence[int]) -> tuple[PatchSite, ...]:
    """Every head of each layer, at all offsets at once."""
    return tuple(PatchSite("head", n, None, h) for n in layers for h in range(anatomy.n_heads(n)))


def check_patch_sites(
    sites: Sequence[PatchSite], offsets: Sequence[int], n_layers: int, hook_names: frozenset[str]
) -> None:
    """Refuse what can't be patched.

    Raises:
        InputError: no site, a layer that the model does not have, or an offset that is not read.
    """
    if not sites:
        raise InputError("no site to patch was given; expected at least one")
    for site in sites:
        if not 0 <= site.layer < n_layers or site.hook_name not in hook_names:
            raise InputError(f"{site} is not in this model: its layers are 0 to {n_layers - 1}")
        if site.offset is not None and site.offset not in offsets:
            raise InputError(f"{site} is not among the patched offsets {list(offsets)}")


def value_at(
    site: PatchSite, seen: dict[str, Tensor], row: int, offsets: Sequence[int]
) -> Float[Tensor, "offset ..."]:
    """The activation of a tapped row at a site; one offset, or all of them."""
    x = seen[site.hook_name][row]
    if site.offset is not None:
        x = x[offsets.index(site.offset)][None]
    return x if site.head is None else x[:, site.head]


@final
class PatchHooks:
    """Writes one value into each row of a pass, at the row's own site.

    `first` is where the first of `offsets` stands in each row; rows without a site stay as they
    are.
    """

    def __init__(self, offsets: Sequence[int], first: Int64[Tensor, " row"]) -> None:
        self.offsets = list(offsets)
        self.first = first
        self._writes: dict[str, list[tuple[int, PatchSite, Tensor]]] = {}

    def write(self, row: int, site: PatchSite, value: Float[Tensor, "offset ..."]) -> None:
        """Put `value` into a row at a site."""
        self._writes.setdefault(site.hook_name, []).append((row, site, value))

    def hooks(self) -> Hooks:
        """One hook function a hook point that is written."""
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
