"""The mean corrected cosine of several categories, with its interval.

With k categories the mean is over k (k - 1) / 2 cosines. A pair's influence on it is the mean of
its influences on the cosines of its own category (geometry/jackknife.py); their squares sum to the
variance.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.cosines import Geometry, not_the_same_pairs
from refusal_lens.intervals import t_quantile
from refusal_lens.records import Estimate
from refusal_lens.sites import Site


def mean_cosine(
    geometry: Geometry,
    layer: int,
    categories: Sequence[str] | None = None,
    control: Geometry | None = None,
) -> Estimate:
    """Mean corrected cosine between `categories` (all by default) at a block's input; n pairs.

    Undefined where one of its cosines is. `control` is the geometry of a control model.

    >>> geometry = rl.fit_geometry(model.residuals(prompts))
    >>> mean_cosine(geometry, layer=2).n
    18

    Raises:
        InputError: fewer than two categories, one of them twice, or a category or layer that the
            geometry does not hold.
    """
    names = geometry.categories if categories is None else tuple(categories)
    value, influence, n = _mean(geometry, layer, names)
    other = None if control is None else mean_cosine(control, layer, names).value
    count = len(names) * (len(names) - 1) // 2
    method = f"mean of {count} corrected cosines, jackknife"
    return _estimate(value, influence, (n, len(names)), method, other)


def mean_cosine_difference(of: Geometry, minus: Geometry, layer: int) -> Estimate:
    """Mean corrected cosine over all pairs of categories in one geometry minus that in another.

    By the same pairs of prompts, so what they have in common cancels; n pairs, control 0.

    >>> geometry = rl.fit_geometry(model.residuals(prompts))
    >>> mean_cosine_difference(geometry, geometry, layer=2).n
    18

    Raises:
        InputError: the two were not fitted on the same pairs, or do not hold the layer.
    """
    if differing := not_the_same_pairs(of, minus):
        raise InputError(
            f"{of!r} and {minus!r} rest on different pairs (they differ in {differing}); fit both "
            "on the same prompts"
        )
    a, ours, n = _mean(of, layer, of.categories)
    b, theirs, _ = _mean(minus, layer, of.categories)
    method = "difference of mean corrected cosines, paired jackknife; control: no difference"
    return _estimate(a - b, ours - theirs, (n, len(of.categories)), method, 0.0)


def _mean(
    geometry: Geometry, layer: int, names: Sequence[str]
) -> tuple[float, Float64[Tensor, " pair"], int]:
    """The mean, each pair's influence on it, and the number of pairs."""
    lacking = [c for c in names if c not in geometry.categories]
    distinct = len(set(names))
    if lacking or not 1 < distinct == len(names) or Site(layer) not in geometry.sites:
        raise InputError(
            f"a mean cosine of {list(names)} at layer {layer}; expected two or more of "
            f"{list(geometry.categories)}, each once, and a layer of "
            f"{[str(s) for s in geometry.sites]}"
        )
    s = geometry.sites.index(Site(layer))
    chosen = torch.tensor([geometry.categories.index(c) for c in names])
    n = torch.tensor(geometry.n)
    owner = torch.repeat_interleave(torch.arange(len(n)), n)
    rows = torch.isin(owner, chosen)
    matrix = geometry.corrected[s][chosen][:, chosen].double()
    off = ~torch.eye(len(chosen), dtype=torch.bool)
    value = float(matrix[off].mean())
    # A pair has no influence on its own category's cosine with itself, which is 1.
    others = owner[rows, None] != chosen
    influence = geometry.influence[s][rows][:, chosen].double().where(others, 0.0).sum(1)
    count = len(chosen) * (len(chosen) - 1) / 2
    return value, influence / count, int(n[chosen].sum())


def _estimate(
    value: float,
    influence: Float64[Tensor, " pair"],
    n: tuple[int, int],
    method: str,
    control: float | None,
) -> Estimate:
    """With the jackknife's interval; `n` counts pairs and categories."""
    df = torch.tensor(float(n[0] - n[1]), dtype=torch.float64)
    half = float(t_quantile(df) * influence.square().sum().sqrt())
    if value != value or half != half:
        return Estimate(None, None, None, n[0], method, control)
    return Estimate(value, value - half, value + half, n[0], method, control)
