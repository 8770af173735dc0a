"""What an edit is: pure maps on residual tensors, and where in model and sequence they act."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final, Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import one, several
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions.conditions import Condition
from refusal_lens.sites import Site

Phase = Literal["prompt", "generated", "all"]
PHASES: Final[tuple[str, ...]] = get_args(Phase)


class Edit(ABC):
    """Something that `LensModel.editing` puts onto hook points. `a + b` acts in that order."""

    @abstractmethod
    def parts(self) -> tuple["Part", ...]:
        """The maps that it is made of, in the order in which they act."""

    def __add__(self, other: "Edit") -> "Composite":
        edits = [e.edits if isinstance(e, Composite) else (e,) for e in (self, other)]
        return Composite(edits[0] + edits[1])


class ResidualMap(Edit):
    """An edit that is one pure map, at one or more sites."""

    @property
    @abstractmethod
    def repeatable(self) -> bool:
        """Whether two sites may be the same vector: of an erasure, which is idempotent."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The d_model for which the map is made."""

    @property
    def directions_used(self) -> tuple[Direction, ...]:
        """The directions that it is made from, if any."""
        return ()

    @abstractmethod
    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The named hook points at which the edit acts, in a model of `n_layers` blocks."""

    @abstractmethod
    def __call__(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The edited residuals; the input is left as it is."""

    def parts(self) -> tuple["Part", ...]:
        """The map itself, at every position of every row.

        >>> [part.everywhere for part in rl.Ablate(direction).parts()]
        [True]
        """
        return (Part(self),)


class AlongOne(ResidualMap):
    """A map that moves a vector along one direction r and leaves what lies across it as it is.

    x + (added - removed (x . r)) r. Rows of a batch that differ only in these two numbers and in
    r are computed together.
    """

    direction: Direction

    def __post_init__(self) -> None:
        one(
            self.direction,
            Direction,
            what=f"the direction of {type(self).__name__}",
            write=f"{type(self).__name__}(directions.at(category, layer))",
        )

    @property
    @abstractmethod
    def removed(self) -> Literal[0, 1]:
        """The share of the coordinate x . r that is removed: 1 or 0."""

    @property
    @abstractmethod
    def added(self) -> float:
        """What is added along r, signed, in stream units: the new coordinate, or a shift."""

    @property
    def still(self) -> bool:
        """Whether it moves nothing."""
        return not self.removed and self.added == 0.0

    @property
    def width(self) -> int:
        """That of the direction."""
        return len(self.direction.vector)

    @property
    def directions_used(self) -> tuple[Direction, ...]:
        """The one direction."""
        return (self.direction,)

    def __call__(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        if not self.removed:
            return resid + (self.added * self.direction.vector).to(resid)
        r = self.direction.vector.to(resid)
        return resid + (self.added - resid @ r)[..., None] * r


@final
@dataclass(frozen=True, eq=False)
class Part:
    """One map with the tokens on which it acts.

    `offsets`, where given, are the only prompt tokens it sees (-1 is the prompt's last); `phase`
    says whether it acts on the prompt, on the generated tokens, or on all. `rows`, where given,
    are the only prompts, as places in a list of `n_rows`. All `conditions` must hold.
    """

    edit: ResidualMap
    phase: Phase = "all"
    offsets: tuple[int, ...] | None = None
    conditions: tuple[Condition, ...] = ()
    rows: frozenset[int] | None = None
    n_rows: int | None = None

    @property
    def everywhere(self) -> bool:
        """Whether it acts on every token of every row."""
        free = self.offsets is None and self.rows is None and not self.conditions
        return free and self.phase == "all"

    def within(self, phase: Phase, offsets: tuple[int, ...] | None) -> "Part":
        """The same part restricted further.

        >>> (part,) = rl.Ablate(direction).parts()
        >>> part.within("prompt", (-1,)).offsets
        (-1,)

        Raises:
            InputError: nothing is left on which it acts.
        """
        if "all" not in (phase, self.phase) and phase != self.phase:
            raise InputError(
                f"{self.edit!r} is restricted to the phases {self.phase!r} and {phase!r} at once "
                "and would never act; leave one out"
            )
        joint = self.offsets if offsets is None else offsets
        if offsets is not None and self.offsets is not None:
            joint = tuple(o for o in offsets if o in self.offsets)
        narrow: Phase = self.phase if phase == "all" else phase
        if joint is not None and narrow == "generated":
            raise InputError(
                f"{self.edit!r} is restricted to offsets, which name prompt tokens, and to the "
                "phase 'generated'; use 'prompt', or 'all' for these and the generated tokens"
            )
        if joint == () and narrow == "prompt":
            raise InputError(f"{self.edit!r} is restricted to no offset and would never act")
        return replace(self, phase=narrow, offsets=joint)

    def may_meet(self, other: "Part") -> bool:
        """Whether both could act on one token of one row, conditions left aside.

        >>> (part,) = rl.Ablate(direction).parts()
        >>> part.within("prompt", None).may_meet(part.within("generated", None))
        False
        """
        if self.rows is not None and other.rows is not None and not self.rows & other.rows:
            return False
        if "generated" in (self.phase, other.phase):
            return {self.phase, other.phase} != {"generated", "prompt"}
        prompt = (
            self.offsets is None or other.offsets is None or set(self.offsets) & {*other.offsets}
        )
        return bool(prompt) or (self.phase == other.phase == "all")


@final
@dataclass(frozen=True, eq=False)
class Composite(Edit):
    """Edits that act one after the other at each hook point, in the order given.

    Whatever the order, `resid_post[l]` comes before `resid_pre[l + 1]`: they are one vector, and
    the model passes the first hook point first.
    """

    edits: tuple[Edit, ...]

    def __post_init__(self) -> None:
        several(self.edits, Edit, what="edit", write="Composite((a, b)), or a + b")
        if not self.edits:
            raise InputError("a Composite of no edits does nothing; give at least one")

    def parts(self) -> tuple[Part, ...]:
        """The parts of each edit in turn.

        >>> len((rl.Ablate(direction) + rl.Add(direction, strength=1.0)).parts())
        2
        """
        return tuple(part for edit in self.edits for part in edit.parts())

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.edits))


def check_sites(edit: ResidualMap, n_layers: int) -> tuple[Site, ...]:
    """The sites of an edit, checked against the model.

    >>> [str(site) for site in check_sites(rl.Ablate(direction), n_layers=1)]
    ['resid_pre[0]', 'attn_out[0]', 'mlp_out[0]']

    Raises:
        InputError: a layer that the model does not have; `resid_mid`, where a write reaches only
            the MLP, of an edit that is no erasure; or an edit that would act twice on one vector
            and is no erasure (`resid_post[l]` and `resid_pre[l + 1]` are the same vector).
    """
    what = f"site of {type(edit).__name__}"
    sites = several(edit.sites(n_layers), Site, what=what, write="Site(15), in `at`")
    seen: dict[tuple[int, str], Site] = {}
    for site in sites:
        if site.layer >= n_layers:
            raise InputError(f"{site} is beyond this model: its layers are 0 to {n_layers - 1}")
        if not site.writable and not edit.repeatable:
            raise InputError(
                f"{site} can't be written: a tensor returned there reaches only the MLP; "
                f"write attn_out[{site.layer}] instead"
            )
        twin = seen.setdefault(site.vector_of_stream, site)
        if twin != site and not edit.repeatable:
            raise InputError(f"{twin} and {site} are one vector; {edit!r} would act on it twice")
    if len(set(sites)) < len(sites) and not edit.repeatable:
        raise InputError(f"{edit!r} names a site twice and would act on it twice")
    return sites


def double_actions(parts: Sequence[Part], n_layers: int) -> list[tuple[int, int]]:
    """Pairs of parts that, where both act on a token, act twice on one vector.

    They are of one kind, no erasures, and either name the vector differently (`resid_post[l]`
    and `resid_pre[l + 1]`) or are the same map. Two different directions at one site are meant.

    >>> once, again = (part for _ in range(2) for part in rl.Add(direction, strength=1.0).parts())
    >>> double_actions([once, again], n_layers=3), double_actions([once], n_layers=3)
    ([(0, 1)], [])
    """
    acting = [
        (i, part, {s.vector_of_stream: s for s in part.edit.sites(n_layers)})
        for i, part in enumerate(parts)
        if not part.edit.repeatable
    ]
    return [
        (i, j)
        for (i, a, at), (j, b, bt) in combinations(acting, 2)
        if type(a.edit) is type(b.edit) and a.may_meet(b) and _meet_twice(a.edit, b.edit, at, bt)
    ]


def refuse_double(a: Part, b: Part) -> InputError:
    """The error for a pair of `double_actions`.

    >>> (part,) = rl.Add(direction, strength=1.0).parts()
    >>> type(refuse_double(part, part)).__name__
    'InputError'
    """
    return InputError(
        f"{a.edit!r} and {b.edit!r} would act twice on one vector (resid_post[l] and "
        "resid_pre[l + 1] are one); give one edit with the strength that is meant"
    )


def _meet_twice(
    a: ResidualMap,
    b: ResidualMap,
    at: dict[tuple[int, str], Site],
    bt: dict[tuple[int, str], Site],
) -> bool:
    shared = at.keys() & bt.keys()
    return any(at[v] != bt[v] for v in shared) or (bool(shared) and _same_map(a, b))


def _same_map(a: ResidualMap, b: ResidualMap) -> bool:
    """Whether two maps of one kind go along the same direction."""
    if isinstance(a, AlongOne) and isinstance(b, AlongOne):
        return torch.equal(a.direction.vector, b.direction.vector)
    return a is b
