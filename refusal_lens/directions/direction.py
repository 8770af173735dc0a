"""`Direction`: a unit vector of the residual stream with its scale, which every edit takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import one, several
from refusal_lens.directions.calibration import Calibration
from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import Provenance
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector of the residual stream that points towards refusal.

    `scale` is the length before normalising (the distance between the two class means);
    `low` and `high` are the mean coordinates of the comply and the refuse side on the vector,
    in residual-stream units, so that `high - low == scale` for a difference of means.

    >>> direction
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)
    >>> float(direction.vector.norm())
    1.00
    >>> abs(direction.high - direction.low - direction.scale) < 1e-4
    True
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
        norm = float(vector.detach().float().norm())  # a vector that is learned has a gradient
        exact = vector.dtype in (torch.float32, torch.float64)
        if not abs(norm - 1.0) < (1e-5 if exact else 1e-2):  # half precision rounds each number
            raise InputError(
                f"{where} at {self.site} must be a unit vector, has norm "
                f"{norm:.4g}; build it with Direction.from_difference"
            )
        if vector.dtype != torch.float32:
            object.__setattr__(self, "vector", vector.float() / norm)
        check_offset(self.offset, where)
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

        >>> doubled = 2.0 * direction.scale * direction.vector
        >>> where = {"category": "mine", "site": direction.site, "offset": -1}
        >>> made = rl.Direction.from_difference(doubled, **where, provenance=direction.provenance)
        >>> made.scale / direction.scale
        2.00

        Raises:
            InputError: the difference is zero or not finite, so that it has no direction.
        """
        difference = difference.float()  # in half precision squares overflow and unit is not 1
        scale = float(difference.norm())
        if not bool(torch.isfinite(difference).all()):
            raise InputError(
                f"the difference for {category!r} at {site}, offset {offset}, is not finite "
                "(float16 overflows); load the model in bfloat16 or float32, or take another layer"
            )
        if not scale > 0:
            raise InputError(
                f"the difference for {category!r} at {site}, offset {offset}, has no direction "
                f"(length {scale:.4g}); choose another layer or offset"
            )
        return cls(category, site, offset, difference / scale, scale, low, low + scale, provenance)

    def random_like(self, seed: int, *, name: str = "control: random") -> "Direction":
        """An isotropic random direction of the same scale, at the same site: a control for edits.

        With v this vector, r the random one and m the midpoint of `low` and `high`: r has the same
        `scale` (what `Add` adds) and the same `high - low` (what `Clamp` and `Affine` move between
        the sides), around m (v . r), the coordinate on r of the class means' midpoint as far as
        this direction knows it; what that midpoint has apart from v is 0 on average over r. With
        v's own `low` and `high` instead, an edit that sets a coordinate would push the stream by m
        along r, often many times the scale, and would be no control.

        >>> control = direction.random_like(seed=0)
        >>> abs(control.scale / direction.scale - 1) < 1e-5, control.category
        (True, 'control: random')
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

    def calibrate(
        self,
        model: "Calibrating",
        prompts: PromptSet | Sequence[str | Prompt],
        *,
        kl: float = 1.0,
        quantile: float = 0.95,
        limit: float = 64.0,
    ) -> Calibration:
        """The strength of addition that does a stated damage to benign prompts in a model.

        The s, the first met on the way up from .125 or down from there, at which the `quantile`
        over `prompts` of KL(unedited || edited) of the next token, under `Add(self, strength=s)`,
        is `kl` nats. See `LensModel.calibrate`.

        >>> calibration = direction.calibrate(model, prompts.only(label="comply"), kl=0.01)
        >>> edit = rl.Add(direction, strength=calibration.strength)
        >>> calibration.kl.value
        0.01

        Raises:
            InputError: as `LensModel.calibrate`; or something else than a model.
        """
        where = one(model, Calibrating, what="the model", write="direction.calibrate(model, ...)")
        return where.calibrate(self, prompts, kl=kl, quantile=quantile, limit=limit)

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


@runtime_checkable
class Calibrating(Protocol):
    """A model that finds the strength of an addition for a damage budget: `LensModel`."""

    def calibrate(
        self,
        direction: Direction,
        prompts: PromptSet | Sequence[str | Prompt],
        *,
        kl: float,
        quantile: float,
        limit: float,
    ) -> Calibration:
        """See `Direction.calibrate`."""
        ...


def several_directions(directions: Iterable[Direction]) -> tuple[Direction, ...]:
    """What was given as `directions`, if it is several `Direction`s.

    >>> len(several_directions([direction, directions["humanizing", 2]]))
    2

    Raises:
        InputError: a lone one, or something else, for example a whole `DirectionSet`.
    """
    return several(
        directions,
        Direction,
        what="direction",
        write="[directions.at(category, layer), ...]",
    )


def check_offset(offset: object, where: str) -> None:
    """Reject an offset that is not counted from the end.

    Raises:
        InputError: it is no negative whole number.
    """
    if not isinstance(offset, int) or offset >= 0:
        raise InputError(
            f"offset {offset!r} of {where} must be a negative whole number: -1 is the last token "
            "of the templated prompt"
        )
