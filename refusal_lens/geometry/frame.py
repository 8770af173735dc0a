"""Differences by pair, and optional transforms of them: a direction projected out, a control
model's subtracted, whitened."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float64, Int64
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from refusal_lens.directions import MEAN_DIFFERENCE, NOISE_FLOOR, DirectionSet, Estimator
from refusal_lens.errors import InputError
from refusal_lens.geometry.pseudo_values import pseudo_differences
from refusal_lens.linalg import project_out
from refusal_lens.residuals import Residuals
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

    minus: Residuals | None = None
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


Rows = dict[str, Int64[Tensor, "pair 2"]]
"""Rows (refuse, comply) of every pair, by category."""
PairDifferences = list[Float64[Tensor, "_ d_model"]]
"""Refuse minus comply of each pair, a tensor per category."""


def rows_by_category(residuals: Residuals) -> Rows:
    """Rows of the pairs of each category, in the order of the refuse side.

    Raises:
        InputError: residuals of plain texts, or a category without a pair.
    """
    prompts = residuals.labelled
    row = {key: i for i, key in enumerate(residuals.ids)}
    rows: dict[str, list[tuple[int, int]]] = {c: [] for c in prompts.categories}
    for refuse, comply in prompts.pairs():
        rows[refuse.category].append((row[refuse.id], row[comply.id]))
    if lacking := [c for c, pairs in rows.items() if not pairs]:
        raise InputError(
            f"category {lacking[0]!r} has no pairs; geometry by pairs needs prompts whose "
            "refuse side and twin share a `pair`"
        )
    return {c: torch.tensor(pairs) for c, pairs in rows.items()}


def pair_differences(
    residuals: Residuals,
    estimator: Estimator,
    *,
    offset: int,
    frame: Frame = AS_THEY_ARE,
) -> Callable[[Site], PairDifferences]:
    """What gives, at a site, the difference of each pair of each category, in a frame.

    Their mean is the category's direction at its own length: refuse minus comply, where the
    estimator is the mean of that, and jackknife pseudo-values of any other. A category whose
    difference is rounding noise gets zeros: "undefined".

    Raises:
        InputError: a category without pairs; a frame that does not fit the residuals; an estimator
            that fits categories jointly or is not smooth. At a site: it is not here, a residual is
            not finite, or there are too few prompts to whiten.
    """
    rows = rows_by_category(residuals)
    plain = _estimated(residuals, rows, offset, estimator)
    minus = None
    if frame.minus is not None:
        _check_control(residuals, frame.minus, offset)
        minus = _estimated(frame.minus, rows, offset, estimator)
    if frame.removed is not None:
        _check_removed(residuals, frame.removed, offset)

    def at(site: Site) -> PairDifferences:
        differences = plain(site)
        if minus is not None:
            differences = [d - c for d, c in zip(differences, minus(site), strict=True)]
        for category, d in zip(rows, differences, strict=True):
            if not bool(d.isfinite().all()):
                raise InputError(
                    f"a pair difference of {category!r} at {site}, offset {offset}, is not finite: "
                    "a residual is infinite or NaN (float16 overflows); load the model in bfloat16 "
                    "or float32"
                )
        if frame.removed is not None:
            differences = _without(differences, frame.removed, site, offset)
        if frame.whitened:
            transform = _whitening(residuals.at(site, offset).double(), rows)
            differences = [d @ transform for d in differences]
        return differences

    return at


def _check_control(residuals: Residuals, control: Residuals, offset: int) -> None:
    """The control's residuals are of the same prompts and width, at every site at the offset."""
    if _asked(control) != _asked(residuals):
        raise InputError(
            "the control holds other prompts than the model, or in another order; read the "
            "residuals of the same prompts in both"
        )
    for site in residuals.sites:
        width = control.at(site, offset).shape[-1]
        _check_width("the control's residuals", width, residuals)


def _asked(residuals: Residuals) -> list[tuple[Any, ...]]:
    """What was asked, by id: twins drawn with two seeds may have one pair's name."""
    return [(p.id, p.before, p.text) for p in residuals.labelled]


def _check_removed(residuals: Residuals, removed: DirectionSet, offset: int) -> None:
    """One direction of the residuals' width is there at every site at the offset."""
    if len(removed.categories) != 1:
        raise InputError(
            f"the directions to remove are of {len(removed.categories)} categories, "
            f"{list(removed.categories)}; expected a set of one, as fitted on residuals.pooled()"
        )
    lacking = [str(site) for site in residuals.sites if site not in removed.sites]
    if lacking or offset not in removed.offsets:
        where = f"at {lacking[0]}" if lacking else f"at offset {offset}"
        raise InputError(
            f"there is no direction to remove {where}: the set holds "
            f"{[str(s) for s in removed.sites]} at offsets {list(removed.offsets)}; fit it at "
            "every site and the offset of the residuals"
        )
    _check_width("the direction to remove", removed.vectors.shape[-1], residuals)


def _check_width(what: str, width: int, residuals: Residuals) -> None:
    if width != residuals.tensor.shape[-1]:
        raise InputError(
            f"{what} of width {width} and residuals of width {residuals.tensor.shape[-1]} share no "
            "stream; give both of one model, or of models that share it"
        )


def _estimated(
    residuals: Residuals, rows: Rows, offset: int, estimator: Estimator
) -> Callable[[Site], PairDifferences]:
    if (why := estimator.no_geometry) is not None:
        raise InputError(
            f"the estimator {estimator.name!r} {why}; use another one for geometry, as "
            f"{MEAN_DIFFERENCE!r}"
        )
    if estimator.mean_of_pairs:
        return lambda site: [
            twin_differences(residuals.at(site, offset).double(), pairs) for pairs in rows.values()
        ]
    values = [pseudo_differences(residuals, p, offset, estimator) for p in rows.values()]
    return lambda site: [v[:, residuals.sites.index(site)] for v in values]


def _without(
    differences: PairDifferences, removed: DirectionSet, site: Site, offset: int
) -> PairDifferences:
    vector = removed.vectors[0, removed.offsets.index(offset), removed.sites.index(site)]
    if not bool(torch.isfinite(vector).all()):  # undefined: there is nothing to remove
        vector = torch.zeros_like(vector)
    return [project_out(d, vector.double()) for d in differences]


def twin_differences(
    resid: Float64[Tensor, "prompt ... d_model"], pairs: Int64[Tensor, "pair 2"]
) -> Float64[Tensor, "pair ... d_model"]:
    """Refuse minus comply of each pair; zeros where their mean is rounding noise: "undefined".

    Where a residual is not finite they are as they are: that is no rounding noise.
    """
    both = resid[pairs]
    differences = both[:, 0] - both[:, 1]
    rms = both.square().sum(-1).mean((0, 1)).sqrt()
    noise = rms.isfinite() & (differences.mean(0).norm(dim=-1) <= NOISE_FLOOR * rms)
    return torch.where(noise[..., None], 0.0, differences)


def _whitening(
    resid: Float64[Tensor, "prompt d_model"], rows: Rows
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
