"""Direct contributions: what every component writes along given directions, per row of a pass."""

from collections.abc import Sequence
from typing import Final, Literal, final

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from refusal_lens.attribution.checks import check_in_stream
from refusal_lens.attribution.components import Anatomy, Component
from refusal_lens.directions import Direction
from refusal_lens.model import HookReader
from refusal_lens.sites import Site

_EMBEDDED: Final = Site(0).hook_name  # what enters block 0: token and position embedding, scaled


@final
class Projections:
    """Computes r . (what a component writes) from the hook points of a pass, for all directions.

    `names` are the hook points to read and `offsets` the positions. Units are those of the
    residual stream; positive points towards refusal.

    Raises:
        InputError: a direction that was not fitted in the residual stream itself.

    >>> import torch
    >>> projections = Projections(Anatomy(model.backend), [direction])
    >>> feed = model.feed(["Why?"])
    >>> with torch.inference_mode():
    ...     reader = feed.read(feed.batch([0]), projections.names, projections.offsets)
    >>> total, length = projections.total(reader)
    >>> bool((projections.parts(reader).sum(-1) - total).abs().max() < 1e-4)
    True
    """

    def __init__(self, anatomy: Anatomy, directions: Sequence[Direction]) -> None:
        check_in_stream(directions)
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
        self._streams = [d.site.hook_name for d in directions]
        self._readers = {n: self._head_readers(n) for n in self.layers if anatomy.n_heads(n)}
        names = [Site(n, "mlp_out").hook_name for n in self.layers]
        names = [name for name in names if name in anatomy.names]  # a block may have no MLP
        names += [
            anatomy.z(n) if anatomy.n_heads(n) else Site(n, "attn_out").hook_name
            for n in self.layers
        ]
        names += [s for n in self.layers for w in ("attn", "mlp") if (s := anatomy.scale(n, w))]
        self.names = (_EMBEDDED, *names, *self._streams)

    @property
    def written(self) -> Bool[Tensor, "target component"]:
        """Whether a component writes before a direction's site."""
        return torch.tensor(
            [[c.writes_before(d.site) for c in self.components] for d in self.directions]
        )

    def total(
        self, reader: HookReader
    ) -> tuple[Float64[Tensor, "batch target"], Float64[Tensor, "batch target"]]:
        """r . x at each direction's own site and offset, and the length of x."""
        x = torch.stack(
            [
                reader.values[name][:, self.offsets.index(d.offset)].double()
                for name, d in zip(self._streams, self.directions, strict=True)
            ],
            dim=1,
        )
        return (x * self._vectors).sum(-1), x.norm(dim=-1)

    def parts(self, reader: HookReader) -> Float64[Tensor, "batch target component"]:
        """r . (what each component writes); 0 for those that write after the direction's site."""
        n_rows, n_targets = len(reader.positions), len(self.directions)
        parts = torch.zeros(n_rows, n_targets, len(self.components), dtype=torch.float64)
        place = {c: i for i, c in enumerate(self.components)}
        for o, offset in enumerate(self.offsets):
            k = [i for i, d in enumerate(self.directions) if d.offset == offset]
            here = torch.zeros(n_rows, len(k), len(self.components), dtype=torch.float64)
            vectors = self._vectors[k]
            here[..., 0] = reader.values[_EMBEDDED][:, o].double() @ vectors.T
            for n in self.layers:
                self._attention(reader, here, place, (n, o, k))
                self._mlp(reader, here, place, (n, o, k))
            parts[:, k] = here
        return parts * self._carried

    def reader_of(self, layer: int) -> Float64[Tensor, "target head d_head"]:
        """What one unit of each head's output adds along each direction: W_O (gain * r)."""
        return self._readers[layer]

    def carried_from(self, layer: int) -> float:
        """What is left, at the first direction's site, of a unit that a layer's heads write."""
        return self.anatomy.carried(Component(layer, "head", 0), self.directions[0].site)

    def _attention(
        self,
        reader: HookReader,
        parts: Tensor,
        place: dict[Component, int],
        at: tuple[int, int, list[int]],
    ) -> None:
        n, o, k = at
        n_heads = self.anatomy.n_heads(n)
        if not n_heads:
            written = reader.values[Site(n, "attn_out").hook_name][:, o].double()
            parts[..., place[Component(n, "mixer")]] = written @ self._vectors[k].T
            return
        z = reader.values[self.anatomy.z(n)][:, o].double().reshape(len(parts), n_heads, -1)
        divisor = self._divisor(reader, n, o, "attn")
        first = place[Component(n, "head", 0)]
        heads = torch.einsum("bhe,khe->bkh", z, self._readers[n][k])
        parts[..., first : first + n_heads] = heads / divisor
        bias = self.anatomy.bias(n, "attn")
        if bias is not None:
            share = self._vectors[k] @ (bias * self.anatomy.gain(n, "attn"))
            parts[..., place[Component(n, "attention bias")]] = share / divisor[..., 0]

    def _mlp(
        self,
        reader: HookReader,
        parts: Tensor,
        place: dict[Component, int],
        at: tuple[int, int, list[int]],
    ) -> None:
        n, o, k = at
        if Component(n, "MLP") not in place:
            return
        out = reader.values[Site(n, "mlp_out").hook_name][:, o].double() @ self._vectors[k].T
        bias = self.anatomy.bias(n, "mlp")
        if bias is not None:
            share = self._vectors[k] @ (bias * self.anatomy.gain(n, "mlp"))
            by_bias = share / self._divisor(reader, n, o, "mlp")[..., 0]
            parts[..., place[Component(n, "MLP bias")]] = by_bias
            out = out - by_bias
        parts[..., place[Component(n, "MLP")]] = out

    def _divisor(
        self, reader: HookReader, n: int, o: int, writer: Literal["attn", "mlp"]
    ) -> Float64[Tensor, "batch 1 1"]:
        """The number by which the post-norm divided each row's write; 1 without a post-norm."""
        name = self.anatomy.scale(n, writer)
        if name is None:
            return torch.ones(len(reader.positions), 1, 1, dtype=torch.float64)
        return self.anatomy.divisor(n, writer, reader.values[name][:, o]).reshape(-1, 1, 1)

    def _head_readers(self, n: int) -> Float64[Tensor, "target head d_head"]:
        read = self._vectors * self.anatomy.gain(n, "attn")
        return torch.einsum("hed,kd->khe", self.anatomy.heads(n), read)


def _blocks(site: Site) -> int:
    """Number of blocks that write, at least in part, before a site."""
    return site.layer + (site.point != "resid_pre")
