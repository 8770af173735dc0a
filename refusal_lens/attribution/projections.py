"""What every component writes along given directions, for the rows of one forward pass."""

from collections.abc import Sequence
from typing import Final, Literal, final

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from refusal_lens.attribution.components import Anatomy, Component
from refusal_lens.attribution.passes import Tap
from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.sites import Site

_EMBEDDED: Final = Site(0).hook_name  # what enters block 0: token and position embedding, scaled
_STREAM: Final = ("resid_pre", "resid_mid", "resid_post")


@final
class Projections:
    """Reads r . (what a component writes) off a pass, for all directions at once.

    `names` are the hook points to tap and `offsets` the positions to read.

    Raises:
        InputError: a direction that was not fitted in the residual stream itself.
    """

    def __init__(self, anatomy: Anatomy, directions: Sequence[Direction]) -> None:
        for d in several_directions(directions):
            if d.site.point not in _STREAM:
                raise InputError(
                    f"the direction of {d.category!r} was fitted at {d.site}, which is one "
                    f"writer's output; a sum over writers needs one of {list(_STREAM)}"
                )
        self.directions = tuple(directions)
        self.anatomy = anatomy
        self.offsets = tuple(sorted({d.offset for d in directions}))
        self.layers = range(max(_blocks(d.site) for d in directions))
        self.components = anatomy.components(len(self.layers))
        self._vectors = torch.stack([d.vector for d in directions]).double()
        self._carried = self.written * torch.tensor(
            [[anatomy.carried(c, d.site) for c in self.components] for d in directions],
            dtype=torch.float64,
        )
        self._whole = [d.site.hook_name for d in directions]
        self._readers = {n: self._head_readers(n) for n in self.layers if anatomy.n_heads(n)}
        own = [Site(n, "mlp_out").hook_name for n in self.layers]
        own = [name for name in own if name in anatomy.names]  # a block may have no MLP
        own += [
            anatomy.z(n) if anatomy.n_heads(n) else Site(n, "attn_out").hook_name
            for n in self.layers
        ]
        own += [s for n in self.layers for w in ("attn", "mlp") if (s := anatomy.scale(n, w))]
        self.names = (_EMBEDDED, *own, *self._whole)

    @property
    def written(self) -> Bool[Tensor, "target component"]:
        """Whether a component writes before a direction's site."""
        return torch.tensor(
            [[c.writes_before(d.site) for c in self.components] for d in self.directions]
        )

    def whole(
        self, tap: Tap
    ) -> tuple[Float64[Tensor, "batch target"], Float64[Tensor, "batch target"]]:
        """r . x at each direction's own site and offset, and the length of x."""
        x = torch.stack(
            [
                tap.seen[name][:, self.offsets.index(d.offset)].double()
                for name, d in zip(self._whole, self.directions, strict=True)
            ],
            dim=1,
        )
        return (x * self._vectors).sum(-1), x.norm(dim=-1)

    def parts(self, tap: Tap) -> Float64[Tensor, "batch target component"]:
        """r . (what each component writes); 0 for those that write after the direction's site."""
        n_rows, n_targets = len(tap.positions), len(self.directions)
        found = torch.zeros(n_rows, n_targets, len(self.components), dtype=torch.float64)
        place = {c: i for i, c in enumerate(self.components)}
        for o, offset in enumerate(self.offsets):
            k = [i for i, d in enumerate(self.directions) if d.offset == offset]
            own = torch.zeros(n_rows, len(k), len(self.components), dtype=torch.float64)
            vectors = self._vectors[k]
            own[..., 0] = tap.seen[_EMBEDDED][:, o].double() @ vectors.T
            for n in self.layers:
                self._attention(tap, own, place, (n, o, k))
                self._mlp(tap, own, place, (n, o, k))
            found[:, k] = own
        return found * self._carried

    def reader_of(self, layer: int) -> Float64[Tensor, "target head d_head"]:
        """What one unit of each head's output adds along each direction: W_O (gain * r)."""
        return self._readers[layer]

    def carried_from(self, layer: int) -> float:
        """What is left, at the first direction's site, of a unit that a layer's heads write."""
        return self.anatomy.carried(Component(layer, "head", 0), self.directions[0].site)

    def _attention(
        self, tap: Tap, own: Tensor, place: dict[Component, int], at: tuple[int, int, list[int]]
    ) -> None:
        n, o, k = at
        n_heads = self.anatomy.n_heads(n)
        if not n_heads:
            whole = tap.seen[Site(n, "attn_out").hook_name][:, o].double()
            own[..., place[Component(n, "mixer")]] = whole @ self._vectors[k].T
            return
        z = tap.seen[self.anatomy.z(n)][:, o].double().reshape(len(own), n_heads, -1)
        held = self._held(tap, n, o, "attn")
        first = place[Component(n, "head", 0)]
        heads = torch.einsum("bhe,khe->bkh", z, self._readers[n][k])
        own[..., first : first + n_heads] = heads / held
        bias = self.anatomy.bias(n, "attn")
        if bias is not None:
            share = self._vectors[k] @ (bias * self.anatomy.gain(n, "attn"))
            own[..., place[Component(n, "attention bias")]] = share / held[..., 0]

    def _mlp(
        self, tap: Tap, own: Tensor, place: dict[Component, int], at: tuple[int, int, list[int]]
    ) -> None:
        n, o, k = at
        if Component(n, "MLP") not in place:
            return
        out = tap.seen[Site(n, "mlp_out").hook_name][:, o].double() @ self._vectors[k].T
        bias = self.anatomy.bias(n, "mlp")
        if bias is not None:
            share = self._vectors[k] @ (bias * self.anatomy.gain(n, "mlp"))
            by_bias = share / self._held(tap, n, o, "mlp")[..., 0]
            own[..., place[Component(n, "MLP bias")]] = by_bias
            out = out - by_bias
        own[..., place[Component(n, "MLP")]] = out

    def _held(self, tap: Tap, n: int, o: int, writer: str) -> Float64[Tensor, "batch 1 1"]:
        """The number by which the post-norm divided each row's write; 1 without a post-norm."""
        which: Literal["attn", "mlp"] = "attn" if writer == "attn" else "mlp"
        name = self.anatomy.scale(n, which)
        if name is None:
            return torch.ones(len(tap.positions), 1, 1, dtype=torch.float64)
        return self.anatomy.divisor(n, which, tap.seen[name][:, o]).reshape(-1, 1, 1)

    def _head_readers(self, n: int) -> Float64[Tensor, "target head d_head"]:
        read = self._vectors * self.anatomy.gain(n, "attn")
        return torch.einsum("hed,kd->khe", self.anatomy.heads(n), read)


def _blocks(site: Site) -> int:
    """Number of blocks that write, in part or whole, before a site."""
    return site.layer + (site.point != "resid_pre")
