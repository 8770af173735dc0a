"""What a file of vectors holds, and how it becomes directions and comes from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.records import Provenance
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Vectors:
    """Raw vectors (refuse minus comply, in residual-stream units) by offset and site.

    `fitted_on` is what the file says of the model, "" where it says nothing.
    """

    vectors: Mapping[tuple[int, Site], Float[Tensor, " d_model"]]
    fitted_on: str = ""

    def directions(self, category: str, method: str) -> DirectionSet:
        """Unit directions with their lengths; a place that the file leaves out is undefined.

        Mean coordinates (`low`, `high`) and counts are not in such files: NaN and 0.

        Raises:
            InputError: no vector, or vectors of different width.
        """
        if not self.vectors:
            raise InputError("the file holds no vector; expected one or more")
        widths = {tuple(v.shape) for v in self.vectors.values()}
        if len(widths) > 1 or len(next(iter(widths))) != 1:
            raise InputError(f"the file's vectors have shapes {sorted(widths)}; expected one width")
        offsets = tuple(sorted({o for o, _ in self.vectors}))
        sites = tuple(sorted({s for _, s in self.vectors}))
        raw = torch.full((len(offsets), len(sites), *next(iter(widths))), torch.nan)
        for (offset, site), vector in self.vectors.items():
            raw[offsets.index(offset), sites.index(site)] = vector.float()
        length = raw.norm(dim=-1)
        # An empty digest: the file does not say which weights its vectors are from.
        model = self.fitted_on or "unknown"
        there = torch.isfinite(length) & (length > 0)
        unknown = torch.full_like(length, torch.nan)
        return DirectionSet(
            method=method,
            categories=(category,),
            offsets=offsets,
            sites=sites,
            vectors=(raw / length[..., None]).where(there[..., None], torch.nan)[None],
            scale=length.where(there, 0.0)[None],
            low=unknown[None],
            high=unknown[None],
            count=((0, 0),),
            provenance=Provenance(model, "", "", "", "none", "float32", "cpu"),
        )


def raw_vectors(
    directions: DirectionSet, category: str, offset: int
) -> dict[Site, Float[Tensor, " d_model"]]:
    """The vectors of a category at one offset, with their lengths, by site; undefined ones not.

    Raises:
        InputError: an unknown category or offset, or one without a defined direction.
    """
    for wanted, known in ((category, directions.categories), (offset, directions.offsets)):
        if wanted not in known:
            raise InputError(f"{wanted!r} is not in this direction set; it holds {list(known)}")
    c, o = directions.categories.index(category), directions.offsets.index(offset)
    there = directions.defined()[c, o].bool().tolist()
    raw = directions.vectors[c, o] * directions.scale[c, o, :, None]
    if not any(there):
        raise InputError(f"no direction of {category!r} at offset {offset} is defined anywhere")
    return {site: raw[s] for s, site in enumerate(directions.sites) if there[s]}


def block_outputs(
    vectors: Mapping[Site, Float[Tensor, " d_model"]],
) -> dict[int, Float[Tensor, " d_model"]]:
    """Vectors by the block at whose output they stand; what stands at none is left out.

    `resid_pre[l]` is the output of block l - 1; `resid_pre[0]`, before any block, is none's.

    Raises:
        InputError: no vector stands at a block's output.
    """
    by_block: dict[int, Float[Tensor, " d_model"]] = {}
    for site, vector in vectors.items():
        layer, point = site.vector_of_stream
        if point == "resid_pre" and layer >= 1:
            by_block[layer - 1] = vector
    if not by_block:
        raise InputError(
            f"none of {[str(s) for s in vectors]} is a block's output; this format holds nothing "
            "else"
        )
    return by_block


@final
@dataclass(frozen=True)
class Format:
    """A neighbour's file of vectors. `site` says in words where its vectors stand.

    `write` is None where a format is only read.
    """

    name: str
    title: str
    suffix: str
    site: str
    read: Callable[[Path], Vectors]
    write: Callable[[Mapping[Site, Float[Tensor, " d_model"]], Path, str], None] | None = None
