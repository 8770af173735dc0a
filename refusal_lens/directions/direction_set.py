"""`DirectionSet`: directions by category, offset and site, as every estimator gives them."""

from dataclasses import dataclass
from html import escape
from math import isnan
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import several
from refusal_lens.directions.direction import Direction, check_offset
from refusal_lens.errors import InputError
from refusal_lens.records import Provenance, Record
from refusal_lens.sites import Site

_UNIT_WITHIN: Final = 1e-3
"""How far the length of a stored unit vector may be from 1."""


@final
@dataclass(frozen=True, eq=False)
class DirectionSet(Record):
    """Directions by category, offset and site. Undefined ones are NaN, with scale 0, or NaN where
    a residual was not finite.

    `vectors` are of unit length, positive towards refusal; `scale` is the length of the difference,
    `low` and `high` the coordinates along the vector of the comply side's and the refuse side's
    mean, all in residual-stream units. `count` is the number of prompts by category and label
    ("refuse", "comply").

    >>> directions.categories, directions.vectors.shape
    (('advice', 'humanizing', 'unsupported'), torch.Size([3, 13, 3, 32]))
    >>> directions.save("mine/directions")
    >>> rl.DirectionSet.load("mine/directions").method == directions.method
    True
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
            actual = tuple(getattr(self, name).shape)
            if actual[:3] != shape or len(actual) != 3 + (name == "vectors"):
                raise InputError(
                    f"{name} of a direction set has shape {list(actual)}; expected "
                    f"{' x '.join(f'{n} {axis}' for n, axis in zip(shape, axes, strict=True))}"
                    f"{' x d_model' if name == 'vectors' else ''}"
                )
        for axis, names in axes.items():
            if twice := [str(x) for x in dict.fromkeys(names) if names.count(x) > 1]:
                raise InputError(f"{axis} {twice[0]!r} stands more than once in a direction set")
        for offset in self.offsets:
            check_offset(offset, "a direction set")
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

        >>> directions.at("advice", layer=2)
        Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

        Raises:
            InputError: an unknown category, layer or offset, or a place where the direction is
                undefined.
        """
        return self.at_site(category, Site(layer), offset)

    def at_site(self, category: str, site: Site, offset: int = -1) -> Direction:
        """The direction of a category at a site; raises like `at`.

        >>> directions.at_site("advice", rl.Site(2), offset=-2).offset
        -2
        """
        c = _index(self.categories, category, "category")
        o = _index(self.offsets, offset, "offset")
        s = _index(self.sites, site, "site")
        vector = self.vectors[c, o, s]
        if not bool(torch.isfinite(vector).all()):
            raise InputError(
                f"the direction of {category!r} at {site}, offset {offset}, is undefined: "
                + _why_undefined(self.count[c], float(self.scale[c, o, s]))
            )
        scale, low, high = (float(x[c, o, s]) for x in (self.scale, self.low, self.high))
        return Direction(category, site, offset, vector, scale, low, high, self.provenance)

    def __getitem__(self, key: str | tuple[str, int]) -> Direction:
        """`directions["advice", 21]` is `directions.at("advice", 21)`; raises like it.

        The layer may be left out of a set that has a single one.

        >>> directions["advice", 2]
        Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)
        >>> directions["advice"]
        Traceback (most recent call last):
        refusal_lens.errors.InputError: ... name one, as in directions['advice', 0]
        """
        if not isinstance(key, str):
            if not _is_pair(key):
                raise InputError(
                    f"directions[{key!r}]: expected a category and a layer, as in directions"
                    f"[{self.categories[0]!r}, {self.sites[0].layer}]; another offset is named by "
                    "directions.at(category, layer, offset)"
                )
            return self.at(*key)
        first, *others = self.sites
        if others:
            raise InputError(
                f"this direction set has {len(self.sites)} layers; name one, as in "
                f"directions[{key!r}, {first.layer}]"
            )
        return self.at_site(key, first)

    def cosine(self, layer: int, offset: int = -1) -> Float[Tensor, "category category"]:
        """Cosines of every two categories at one layer, as the vectors are; NaN where undefined.

        Sampling error pulls such a cosine towards 0, the more so the fewer prompts there are.
        `fit_geometry` corrects it and gives intervals.

        >>> directions.cosine(layer=2).shape
        torch.Size([3, 3])

        Raises:
            InputError: an unknown layer or offset.
        """
        s = _index(self.sites, Site(layer), "site")
        vectors = self.vectors[:, _index(self.offsets, offset, "offset"), s].double()
        return (vectors @ vectors.T).float()

    def defined(self) -> Float[Tensor, "category offset site"]:
        """1 where there is a direction, 0 where it is undefined.

        >>> directions.defined()[0, -1]  # at layer 0 the last token is the same for all prompts
        tensor([0., 1., 1.])
        """
        return torch.isfinite(self.vectors).all(-1).float()

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

        >>> rl.DirectionSet.from_hub("me/refusal-of-qwen")  # doctest: +SKIP

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
        o, scale = len(self.offsets) - 1, self.scale.nan_to_num(0.0)
        rows = "".join(
            f"<tr><td>{escape(c)}</td><td>{n[0]} + {n[1]}</td>"
            f"<td>{float(scale[i, o].max()):.3g} at "
            f"{self.sites[int(scale[i, o].argmax())]}</td></tr>"
            for i, (c, n) in enumerate(zip(self.categories, self.count, strict=True))
        )
        return (
            f"<p>{escape(repr(self))}</p><table><tr><th>category</th><th>n refuse + comply</th>"
            f"<th>longest difference, offset {self.offsets[o]}</th></tr>{rows}</table>"
        )


def _is_pair(key: object) -> bool:
    return isinstance(key, tuple) and len(key) == 2


def _why_undefined(count: tuple[int, int], scale: float) -> str:
    refuse, comply = count
    if bool(refuse) != bool(comply):
        return (
            f"it was fitted on {refuse} refuse-side and {comply} comply-side prompts; "
            "give prompts of both sides"
        )
    if isnan(scale):
        return (
            "a residual there is not finite (float16 overflows); load the model in bfloat16 or "
            "float32, or choose another layer"
        )
    return (
        "the sides' means are equal there, as at layer 0 on template tokens (choose a later "
        "layer); or it was fitted jointly with categories whose differences are linearly "
        "dependent, as where one is given twice or there are more than dimensions (leave some "
        "out), or that have a residual that is not finite (load the model in bfloat16 or "
        "float32); or a file left it out"
    )


def _index(entries: tuple[object, ...], wanted: object, axis: str) -> int:
    if wanted not in entries:
        names = [str(x) for x in entries]
        raise InputError(f"{axis} {str(wanted)!r} is not in this direction set; it holds {names}")
    return entries.index(wanted)
