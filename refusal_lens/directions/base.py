"""`Direction` and `DirectionSet`: what every estimator gives and every edit takes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import one, several
from refusal_lens.errors import InputError
from refusal_lens.records import Provenance, Record, load_record, save_record
from refusal_lens.sites import Site

_UNIT_WITHIN: Final = 1e-3
"""How far the length of a stored unit vector may be from 1."""


@final
@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector of the residual stream that points towards refusal.

    `scale` is the length before normalising (the distance between the two class means);
    `low` and `high` are the mean coordinates of the comply and the refuse side on the vector,
    in residual-stream units, so that `high - low == scale` for a difference of means.
    """

    category: str
    site: Site
    offset: int
    vector: Float[Tensor, " d_model"]
    scale: float
    low: float
    high: float
    provenance: Provenance

    def __post_init__(self) -> None:
        where = f"direction {self.category!r}"
        one(self.site, Site, what=f"the site of {where}", write="Site(15)")
        vector = one(self.vector, Tensor, what=f"the vector of {where}", write="a 1-D tensor")
        if vector.dim() != 1 or not vector.is_floating_point():
            raise InputError(
                f"the vector of {where} at {self.site} has shape {tuple(vector.shape)} and dtype "
                f"{vector.dtype}; expected [d_model] floating-point numbers"
            )
        norm = float(vector.float().norm())
        exact = vector.dtype in (torch.float32, torch.float64)
        if not abs(norm - 1.0) < (1e-5 if exact else 1e-2):  # half precision rounds each number
            raise InputError(
                f"{where} at {self.site} must be a unit vector, has norm "
                f"{norm:.4g}; build it with Direction.from_difference"
            )
        if vector.dtype != torch.float32:
            object.__setattr__(self, "vector", vector.float() / norm)
        _check_offset(self.offset, where)
        if not self.scale > 0:
            raise InputError(
                f"{where} at {self.site} has scale {self.scale}; expected the positive length of "
                "the difference of means"
            )

    @classmethod
    def from_difference(
        cls,
        difference: Float[Tensor, " d_model"],
        *,
        category: str,
        site: Site,
        offset: int,
        provenance: Provenance,
        low: float = float("nan"),
    ) -> "Direction":
        """The direction of a raw difference vector (refuse minus comply).

        Raises:
            InputError: the difference is zero or not finite, so that it has no direction.
        """
        difference = difference.float()  # in half precision squares overflow and unit is not 1
        scale = float(difference.norm())
        if not (scale > 0 and bool(torch.isfinite(difference).all())):
            raise InputError(
                f"the difference for {category!r} at {site}, offset {offset}, has no direction "
                f"(length {scale:.4g}); choose another layer or offset"
            )
        return cls(category, site, offset, difference / scale, scale, low, low + scale, provenance)

    def random_like(self, seed: int, *, name: str = "control: random") -> "Direction":
        """An isotropic random direction of the same scale, at the same site: a control for edits.

        Each edit is to move the stream as far along it as along this one. So `scale` is the same,
        for `Add`, and so is the distance of `low` and `high`, for `Clamp` and `Affine`. The two lie
        around the coordinate that the midpoint of this direction's `low` and `high` has on the
        random vector r, m (v . r) of the point m v: with this direction's own numbers every edit
        that sets a coordinate would also move the stream by about m. What the class means hold
        beside v is not known here, and 0 on average over r.
        """
        vector = torch.randn(len(self.vector), generator=torch.Generator().manual_seed(seed))
        drawn = Direction.from_difference(
            vector / vector.norm() * self.scale,
            category=name,
            site=self.site,
            offset=self.offset,
            provenance=replace(self.provenance, seed=seed),
        )
        middle = (self.low + self.high) / 2 * float(self.vector @ drawn.vector)
        half = (self.high - self.low) / 2
        return replace(drawn, low=middle - half, high=middle + half)

    def __repr__(self) -> str:
        return (
            f"Direction({self.category!r}, {self.site}, offset {self.offset}, "
            f"scale {self.scale:.4g}, d_model {len(self.vector)})"
        )

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        rows = {
            "refuse side, mean coordinate": f"{self.high:.4g}",
            "comply side, mean coordinate": f"{self.low:.4g}",
            "distance between the two (scale)": f"{self.scale:.4g}",
            "model": self.provenance.model,
        }
        cells = "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
        return f"<p>{escape(repr(self))}</p><table>{cells}</table>"


@final
@dataclass(frozen=True, eq=False)
class DirectionSet(Record):
    """Directions by category, offset and site. Undefined ones are NaN, with scale 0.

    `count` is the number of prompts by category and label ("refuse", "comply").
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    method: str
    categories: tuple[str, ...]
    offsets: tuple[int, ...]
    sites: tuple[Site, ...]
    vectors: Float[Tensor, "category offset site d_model"]
    scale: Float[Tensor, "category offset site"]
    low: Float[Tensor, "category offset site"]
    high: Float[Tensor, "category offset site"]
    count: tuple[tuple[int, int], ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        several(self.sites, Site, what="site", write="(Site(14), Site(15))")
        axes = {
            "category": self.categories,
            "offset": self.offsets,
            "site": self.sites,
        }
        shape = tuple(map(len, axes.values()))
        for name in ("vectors", "scale", "low", "high"):
            found = tuple(getattr(self, name).shape)
            if found[:3] != shape or len(found) != 3 + (name == "vectors"):
                raise InputError(
                    f"{name} of a direction set has shape {list(found)}; expected "
                    f"{' x '.join(f'{n} {axis}' for n, axis in zip(shape, axes, strict=True))}"
                    f"{' x d_model' if name == 'vectors' else ''}"
                )
        for axis, names in axes.items():
            if twice := [str(x) for x in dict.fromkeys(names) if names.count(x) > 1]:
                raise InputError(f"{axis} {twice[0]!r} stands more than once in a direction set")
        for offset in self.offsets:
            _check_offset(offset, "a direction set")
        if len(self.count) != len(self.categories):
            raise InputError(
                f"a direction set of {len(self.categories)} categories has {len(self.count)} "
                "counts of prompts; expected (refuse, comply) of each category"
            )
        norm = self.vectors.float().norm(dim=-1)
        wrong = (torch.isfinite(norm) & ((norm - 1).abs() > _UNIT_WITHIN)).nonzero().tolist()
        if wrong:
            c, o, s = wrong[0]
            raise InputError(
                f"the vector of {self.categories[c]!r} at {self.sites[s]}, offset "
                f"{self.offsets[o]}, has length {float(norm[c, o, s]):.4g}; a direction set holds "
                "unit vectors, and their lengths before normalising in `scale`"
            )

    def at(self, category: str, layer: int, offset: int = -1) -> Direction:
        """The direction of a category at the input of a block (`resid_pre[layer]`).

        Raises:
            InputError: an unknown category, layer or offset, or a place where the direction is
                undefined.
        """
        return self.at_site(category, Site(layer), offset)

    def at_site(self, category: str, site: Site, offset: int = -1) -> Direction:
        """The direction of a category at a site; raises like `at`."""
        c = _index(self.categories, category, "category")
        o = _index(self.offsets, offset, "offset")
        s = _index(self.sites, site, "site")
        vector = self.vectors[c, o, s]
        if not bool(torch.isfinite(vector).all()):
            raise InputError(
                f"the direction of {category!r} at {site}, offset {offset}, is undefined: both "
                "sides have the same mean there (as at layer 0 on template tokens); "
                "choose a later layer"
            )
        scale, low, high = (float(x[c, o, s]) for x in (self.scale, self.low, self.high))
        return Direction(category, site, offset, vector, scale, low, high, self.provenance)

    def defined(self) -> Float[Tensor, "category offset site"]:
        """1 where there is a direction, 0 where it is undefined."""
        return torch.isfinite(self.vectors).all(-1).float()

    def save(self, stem: Path | str) -> None:
        """Write `<stem>.json` and `<stem>.safetensors`."""
        save_record(self, stem)

    @classmethod
    def load(cls, stem: Path | str) -> "DirectionSet":
        """Read what `save` wrote."""
        return load_record(cls, stem)

    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, token: str | None = None
    ) -> str:
        """Put the set on the Hugging Face hub, with a card that says what it is.

        The repository is made if it is not there. Returns the address of the commit.

        >>> directions.push_to_hub("me/refusal-of-qwen")  # doctest: +SKIP

        Raises:
            InputError: no token, no right to write, a name that is none, or no connection.
        """
        from refusal_lens.directions.hub import push  # takes long to import

        return push(self, repo_id, private=private, token=token)

    @classmethod
    def from_hub(
        cls, repo_id: str, *, revision: str | None = None, token: str | None = None
    ) -> "DirectionSet":
        """Read a set that `push_to_hub` put on the hub; safetensors and JSON, nothing else.

        Raises:
            InputError: no such repository or revision, no set in it, or no connection.
        """
        from refusal_lens.directions.hub import pull

        return pull(repo_id, revision=revision, token=token)

    def __repr__(self) -> str:
        return (
            f"DirectionSet({self.method}: {len(self.categories)} categories, "
            f"{len(self.sites)} sites, offsets {list(self.offsets)}, "
            f"d_model {self.vectors.shape[-1]}, model {self.provenance.model})"
        )

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        o = len(self.offsets) - 1
        rows = "".join(
            f"<tr><td>{escape(c)}</td><td>{n[0]} + {n[1]}</td>"
            f"<td>{float(self.scale[i, o].max()):.3g} at "
            f"{self.sites[int(self.scale[i, o].argmax())]}</td></tr>"
            for i, (c, n) in enumerate(zip(self.categories, self.count, strict=True))
        )
        return (
            f"<p>{escape(repr(self))}</p><table><tr><th>category</th><th>n refuse + comply</th>"
            f"<th>longest difference, offset {self.offsets[o]}</th></tr>{rows}</table>"
        )


def _check_offset(offset: object, where: str) -> None:
    if not isinstance(offset, int) or offset >= 0:
        raise InputError(
            f"offset {offset!r} of {where} must be a negative whole number: -1 is the last token "
            "of the templated prompt"
        )


def several_directions(directions: Iterable[Direction]) -> tuple[Direction, ...]:
    """What was given as `directions`, if it is several `Direction`s.

    Raises:
        InputError: a lone one, or something else, for example a whole `DirectionSet`.
    """
    return several(
        directions,
        Direction,
        what="direction",
        write="[directions.at(category, layer), ...]",
    )


def _index(held: tuple[object, ...], wanted: object, axis: str) -> int:
    if wanted not in held:
        names = [str(x) for x in held]
        raise InputError(f"{axis} {str(wanted)!r} is not in this direction set; it holds {names}")
    return held.index(wanted)
