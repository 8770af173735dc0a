"""Pair differences as they are, or in another frame: a direction removed, a control's subtracted,
whitened."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from refusal_lens.directions import DirectionSet
from refusal_lens.directions.mean_difference import NOISE_FLOOR
from refusal_lens.errors import InputError
from refusal_lens.linalg import project_out
from refusal_lens.prompts import PromptSet, labelled
from refusal_lens.residuals import ResidualCache
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """What is done to the pair differences before they are compared, in this order.

    `minus`: the same pairs' differences in a control model that shares the residual stream (for
    example adapter scale 0) are subtracted: what is left is what training changed.
    `removed`: a direction set of one category (for example the pooled one), projected out at each
    site. `whitened`: differences are measured in units of the spread of single prompts around the
    mean of their side, all categories pooled, with Ledoit-Wolf shrinkage.
    """

    minus: ResidualCache | None = None
    removed: DirectionSet | None = None
    whitened: bool = False

    def __str__(self) -> str:
        parts: list[str] = []
        if self.minus is not None:
            parts.append(f"minus {self.minus.provenance.model}")
        if self.removed is not None:
            parts.append(f"without the {self.removed.categories[0]} direction")
        if self.whitened:
            parts.append("whitened")
        return ", ".join(parts) or "as they are"


AS_THEY_ARE = Frame()


def pair_rows(prompts: PromptSet, ids: tuple[str, ...]) -> dict[str, Int64[Tensor, "pair 2"]]:
    """Rows (refuse, comply) of every pair, by category, in the order of the refuse side.

    Raises:
        InputError: a prompt that is not among `ids`, or a category without a pair.
    """
    rows = {key: row for row, key in enumerate(ids)}
    if missing := [p.id for p in labelled(prompts) if p.id not in rows]:
        raise InputError(f"prompt {missing[0]!r} was not cached; cache the residuals of it first")
    found: dict[str, Int64[Tensor, "pair 2"]] = {}
    for category in prompts.categories:
        pairs = pair_sides(prompts, category)
        if not pairs:
            raise InputError(
                f"category {category!r} has no pairs; geometry by pairs needs prompts whose "
                "refuse side and twin share a `pair`"
            )
        found[category] = torch.tensor([(rows[a], rows[b]) for a, b in pairs.values()])
    return found


def pair_sides(prompts: PromptSet, category: str) -> dict[str, tuple[str, str]]:
    """Ids of the refuse side and its twin of each whole pair of a category, by pair."""
    own = prompts.only(category=category)
    twin = {p.pair: p.id for p in own if p.label == "comply" and p.pair is not None}
    refuse = [p for p in own if p.label == "refuse" and p.pair in twin]
    return {p.pair: (p.id, twin[p.pair]) for p in refuse if p.pair is not None}


def pair_differences(
    cache: ResidualCache,
    rows: dict[str, Int64[Tensor, "pair 2"]],
    site: Site,
    offset: int,
    frame: Frame = AS_THEY_ARE,
) -> list[Float64[Tensor, "_ d_model"]]:
    """Refuse minus comply of each pair of each category, in a frame.

    A category whose mean difference is rounding noise gets zeros: "undefined".

    Raises:
        InputError: the control cached other prompts, there is no direction to remove at the site,
            or there are too few prompts to whiten.
    """
    resid = cache.read(site, offset).double()
    found = [twin_differences(resid, pairs) for pairs in rows.values()]
    if frame.minus is not None:
        if frame.minus.ids != cache.ids:
            raise InputError(
                "the control cached other prompts than the model, or in another order; cache the "
                "same prompts in both"
            )
        other = frame.minus.read(site, offset).double()
        found = [
            d - twin_differences(other, pairs)
            for d, pairs in zip(found, rows.values(), strict=True)
        ]
    if frame.removed is not None:
        removed = frame.removed
        vector = removed.vectors[0, removed.offsets.index(offset), removed.sites.index(site)]
        if not bool(torch.isfinite(vector).all()):  # undefined: there is nothing to remove
            vector = torch.zeros_like(vector)
        found = [project_out(d, vector.double()) for d in found]
    if frame.whitened:
        transform = _whitening(resid, rows)
        found = [d @ transform for d in found]
    return found


def twin_differences(
    resid: Float64[Tensor, "prompt ... d_model"], pairs: Int64[Tensor, "pair 2"]
) -> Float64[Tensor, "pair ... d_model"]:
    """Refuse minus comply of each pair; zeros where their mean is rounding noise: "undefined"."""
    both = resid[pairs]
    differences = both[:, 0] - both[:, 1]
    rms = both.square().sum(-1).mean((0, 1)).sqrt()
    noise = differences.mean(0).norm(dim=-1) <= NOISE_FLOOR * rms
    return torch.where(noise[..., None], 0.0, differences)


def _whitening(
    resid: Float64[Tensor, "prompt d_model"], rows: dict[str, Int64[Tensor, "pair 2"]]
) -> Float64[Tensor, "d_model d_model"]:
    """Inverse root of the covariance of prompts around the mean of their side."""
    sides = [resid[side] for pairs in rows.values() for side in pairs.T]
    spread = torch.cat([x - x.mean(0) for x in sides])
    freedom, width = len(spread) - len(sides), spread.shape[1]
    if freedom <= width:
        raise InputError(
            f"whitening {width} dimensions needs more than {width} degrees of freedom, found "
            f"{freedom} ({len(spread)} prompts in {len(sides)} sides); give more prompts"
        )
    if not bool(spread.any()):  # the same token everywhere, as at layer 0: nothing to scale
        return torch.eye(width, dtype=torch.float64)
    covariance, _ = ledoit_wolf(spread.numpy(), assume_centered=True)
    values, vectors = torch.linalg.eigh(torch.from_numpy(covariance))
    return vectors / values.sqrt() @ vectors.T
