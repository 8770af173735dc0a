"""Jackknife pseudo-values of an estimator: what each pair is worth to a category's difference.

An estimator gives, of n pairs, a difference v (its unit vector at its own length), and v_i without
pair i. The pseudo-values

    d_i = v + (n - 1) (mean_j v_j - v_i)

have mean v, and sum_i |d_i - v|^2 / (n (n - 1)) is the jackknife's variance of v (Quenouille 1956,
Tukey 1958; centred on v instead of on the bias-corrected v). For a mean of pair differences they
are the pair differences themselves. So everything that is computed from pair differences, with its
corrections and intervals, holds for any estimator that is smooth in its pairs, to first order; it
does not for one that jumps from one pair to the next, as a coordinate-wise median does.
"""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from refusal_lens.directions import Estimator
from refusal_lens.errors import InputError
from refusal_lens.residuals import Residuals


def pseudo_differences(
    residuals: Residuals, pairs: Int64[Tensor, "pair 2"], offset: int, estimator: Estimator
) -> Float64[Tensor, "pair site d_model"]:
    """Pseudo-values of one category at every site, from n + 1 fits; zeros where it is undefined.

    NaN where a residual is not finite.

    Raises:
        InputError: fewer than three pairs.
    """
    if len(pairs) < 3:
        raise InputError(f"a jackknife needs at least 3 pairs per category, found {len(pairs)}")
    prompts = residuals.labelled
    units = [prompts.prompts[int(refuse)].unit for refuse, _ in pairs]
    chosen = residuals.select(offsets=(offset,)).only(
        ids=[residuals.ids[int(row)] for row in pairs.flatten()]
    )
    whole = _difference(chosen, estimator)
    left = torch.stack(
        [
            _difference(
                chosen.only(ids=[p.id for p in chosen.labelled if p.unit != unit]), estimator
            )
            for unit in units
        ]
    )
    values = whole + (len(pairs) - 1) * (left.mean(0) - left)
    finite = chosen.tensor[:, 0].isfinite().all(-1).all(0)
    undefined = whole.isnan().any(-1) | left.isnan().any(-1).any(0)
    return torch.where((undefined & finite)[..., None], 0.0, values)


def _difference(residuals: Residuals, estimator: Estimator) -> Float64[Tensor, "site d_model"]:
    fitted = estimator(residuals)
    return fitted.vectors[0, 0].double() * fitted.scale[0, 0, :, None].double()
