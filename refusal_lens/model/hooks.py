"""Edits onto hook points: on which rows and tokens of a pass, and in which order, they act."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.interventions import AlongOne, Part, ResidualMap, check_sites
from refusal_lens.model.backend import Backend, HookFunction
from refusal_lens.sites import Site

# The position of a token that no offset names: one of the shared prefix, or padding.
IGNORED_POSITION: Final = -(2**31)
# Where a part acts in a pass: on every token, on none, or on these.
TokenMask = Bool[Tensor, "batch pos"] | bool


@final
@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one forward pass, as edits see them.

    `rows` are the prompts' places in the caller's list. `place` counts from the end of the prompt:
    -1 is its last token, 0 the first generated one. `decided` says which conditions hold.

    >>> import torch
    >>> tokens = Tokens((0,), torch.tensor([[-2, -1, 0]]), torch.zeros(1, 0, dtype=torch.bool))
    >>> (part,) = rl.Only(rl.Ablate(direction), "prompt").parts()
    >>> tokens.reach(part, torch.tensor([True])).tolist()
    [[True, True, False]]
    """

    rows: tuple[int, ...]
    place: Int64[Tensor, "batch pos"]
    decided: Bool[Tensor, "batch condition"]

    def reach(self, part: Part, holds: Bool[Tensor, " batch"]) -> TokenMask:
        """Mask of the tokens on which a part acts; `holds` says on which rows it is active."""
        prompt = generated = torch.zeros_like(self.place, dtype=torch.bool)
        if part.phase != "generated":
            prompt = self.place < 0
        if part.phase != "generated" and part.offsets is not None:
            prompt = torch.isin(self.place, torch.tensor(part.offsets).long())
        if part.phase != "prompt":
            generated = self.place >= 0
        mask = holds[:, None] & (prompt | generated)
        return bool(mask.all()) if bool(mask.all()) or not bool(mask.any()) else mask


@final
class Stack:
    """Parts that act on different rows, each along one direction: computed together."""

    def __init__(self, parts: Sequence[tuple[int, Part]], backend: Backend) -> None:
        self.numbers = [number for number, _ in parts]
        maps = [part.edit for _, part in parts if isinstance(part.edit, AlongOne)]
        # The last entry stands for the rows that are left alone.
        vectors = [m.direction.vector for m in maps]
        self._r = torch.stack([*vectors, torch.zeros_like(vectors[0])])
        self._r = self._r.to(backend.device, backend.dtype)
        self._removed = torch.tensor([*(float(m.removed) for m in maps), 0.0]).to(self._r)
        self._added = torch.tensor([*(m.added for m in maps), 0.0]).to(self._r)

    def moves(self, holds: Bool[Tensor, "part batch"], reaches: Sequence[TokenMask]) -> "Moves":
        """What each row of a pass is moved by; `reaches` belong to the parts in their order."""
        nobody = torch.full(holds.shape[1:], len(self.numbers))
        which = torch.where(holds.any(0), holds.int().argmax(0), nobody).to(self._r.device)
        where: TokenMask = False
        for reach in reaches:
            where = where | reach
        if isinstance(where, Tensor):
            where = bool(where.all()) or where.to(self._r.device)
        return Moves(self._r[which], self._removed[which], self._added[which], where)


@final
@dataclass(frozen=True, eq=False)
class Moves:
    """x + (added - removed (x . r)) r with numbers and direction per row.

    >>> import torch
    >>> r = torch.tensor([[1.0, 0.0]])
    >>> Moves(r, torch.ones(1), torch.zeros(1), True)(torch.tensor([[[3.0, 4.0]]])).tolist()
    [[[0.0, 4.0]]]
    """

    r: Float[Tensor, "batch d_model"]
    removed: Float[Tensor, " batch"]
    added: Float[Tensor, " batch"]
    where: TokenMask

    def __call__(self, resid: Float[Tensor, "batch pos d_model"]) -> Tensor:
        along = (resid @ self.r[:, :, None]).squeeze(-1)
        by = self.added[:, None] - self.removed[:, None] * along
        if isinstance(self.where, Tensor):
            by = torch.where(self.where, by, torch.zeros_like(by))
        return resid + by[..., None] * self.r[:, None]


def masked(edit: ResidualMap, reach: TokenMask, resid: Tensor) -> Tensor:
    """The residuals, edited where the edit acts and unchanged bit for bit elsewhere.

    >>> import torch
    >>> x = torch.ones(1, 2, model.d_model)
    >>> edited = masked(rl.Ablate(direction), torch.tensor([[True, False]]), x)
    >>> bool((edited[0, 1] == 1).all()), bool((edited[0, 0] == 1).all())
    (True, False)
    """
    if isinstance(reach, bool):
        return edit(resid) if reach else resid
    return torch.where(reach.to(resid.device)[..., None], edit(resid), resid)


def by_site(
    parts: Sequence[tuple[int, Part]], backend: Backend
) -> dict[Site, list[list[tuple[int, Part]]]]:
    """The parts of each site in levels: those of one level act on different rows.

    Levels keep the order of parts that may act on the same row.

    >>> parts = list(enumerate(rl.Ablate(direction, at=(rl.Site(1),)).parts()))
    >>> [str(site) for site in by_site(parts, model.backend)]
    ['resid_pre[1]']

    Raises:
        InputError: a site that the model does not have or that can't be written.
    """
    known = backend.hook_names()
    levels_of: dict[Site, list[list[tuple[int, Part]]]] = {}
    for number, part in parts:
        # A site that is named twice in an erasure is one hook.
        sites = tuple(dict.fromkeys(check_sites(part.edit, backend.n_layers)))
        present = [site for site in sites if site.hook_name in known]
        # Where a block has no MLP, nothing is written that an erasure elsewhere too could miss.
        if len(present) < len(sites) and not (present and part.edit.repeatable):
            missing = next(site for site in sites if site not in present)
            raise InputError(f"{backend.name} has no {missing} in this model; name another site")
        for site in present:
            levels = levels_of.setdefault(site, [])
            first = len(levels)
            while first and not any(_share_rows(part, other) for _, other in levels[first - 1]):
                first -= 1
            if first == len(levels):
                levels.append([])
            levels[first].append((number, part))
    return levels_of


def _share_rows(a: Part, b: Part) -> bool:
    return a.rows is None or b.rows is None or bool(a.rows & b.rows)


@final
class AttentionInput:
    """Lets a map act on `resid_mid` through what attention adds to the block's input.

    A tensor returned at `resid_mid` would reach the MLP alone.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, Tensor] | None = None

    def reader(self, site: Site) -> tuple[str, HookFunction]:
        """Keeps the block's input; to be put on behind every edit of that input."""

        def keep(resid: Tensor, hook: Any) -> None:
            del hook
            self._seen = site.layer, resid

        return Site(site.layer).hook_name, keep

    def writer(self, site: Site, act: HookFunction) -> tuple[str, HookFunction]:
        """Changes what attention writes so that input plus attention is `act` of the sum."""

        def change(written: Tensor, hook: Any) -> Tensor:
            del hook
            assert self._seen is not None and self._seen[0] == site.layer
            mid = self._seen[1] + written
            edited = act(mid)
            assert edited is not None
            return written + (edited - mid)

        return Site(site.layer, "attn_out").hook_name, change
