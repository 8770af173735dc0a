"""The mean corrected cosine of several categories, with its interval.

With k categories the mean is over k (k - 1) / 2 cosines. A pair's influence on it is the mean of
its influences on the cosines of its own category (geometry/jackknife.py); their squares sum to the
variance.
"""

from collections.abc import Sequence

import torch

from refusal_lens.errors import InputError
from refusal_lens.geometry.cosines import Geometry
from refusal_lens.geometry.jackknife import t_quantile
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
        InputError: fewer than two categories, or one, or a layer, that the geometry does not hold.
    """
    names = geometry.categories if categories is None else tuple(categories)
    lacking = [c for c in names if c not in geometry.categories]
    if lacking or len(set(names)) < 2 or Site(layer) not in geometry.sites:
        raise InputError(
            f"a mean cosine of {list(names)} at layer {layer}; expected two or more of "
            f"{list(geometry.categories)} and a layer of {[str(s) for s in geometry.sites]}"
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
    df = n[chosen].sum().double() - len(chosen)
    half = float(t_quantile(df) * (influence / count).square().sum().sqrt())
    other = None if control is None else mean_cosine(control, layer, names).value
    total, method = int(n[chosen].sum()), f"mean of {count:.0f} corrected cosines, jackknife"
    if value != value or half != half:
        return Estimate(None, None, None, total, method, other)
    return Estimate(value, value - half, value + half, total, method, other)
