"""What a direction lacks where there is none: finite residuals, a difference, independence."""

import pytest
import torch
from support.paired_residuals import prompts_of, residuals_of, some_residuals

from refusal_lens.directions import make_estimator
from refusal_lens.directions.whitened_orthonormal import fit_whitened_orthonormal
from refusal_lens.errors import InputError
from refusal_lens.geometry import fit_geometry, separability
from refusal_lens.residuals import Residuals


def broken(value: float) -> Residuals:
    """One number of one refuse-side prompt of "red" is not finite."""
    resid = some_residuals().clone()
    resid[0, 0, 0] = value
    return residuals_of(resid, prompts_of(10))


@pytest.mark.parametrize("value", [torch.inf, torch.nan], ids=["inf", "nan"])
@pytest.mark.parametrize("name", ["mean_difference", "median_difference", "logistic_probe"])
def test_a_residual_that_is_not_finite_is_named(name: str, value: float) -> None:
    estimator, residuals = make_estimator(name), broken(value)
    fitted = estimator(residuals)
    with pytest.raises(InputError, match="a residual there is not finite .float16 overflows"):
        fitted.at("red", 1)
    assert fitted.at("blue", 1).scale > 0
    assert fitted.scale[0].isnan().all()
    assert "nan" not in fitted._repr_html_()  # pyright: ignore[reportPrivateUsage]
    for one in (estimator.within_categories(residuals), estimator.pooled(residuals)):
        with pytest.raises(InputError, match="a residual there is not finite"):
            one.at("pooled", 1)


@pytest.mark.parametrize("value", [torch.inf, torch.nan], ids=["inf", "nan"])
@pytest.mark.parametrize("name", ["mean_difference", "median_difference"])
def test_geometry_refuses_a_residual_that_is_not_finite(name: str, value: float) -> None:
    with pytest.raises(InputError, match="difference of 'red' at resid_pre.1.*is not finite"):
        fit_geometry(broken(value), estimator=name)


@pytest.mark.parametrize("value", [torch.inf, torch.nan], ids=["inf", "nan"])
def test_sign_flips_refuse_a_residual_that_is_not_finite(value: float) -> None:
    with pytest.raises(InputError, match="'red'.*all finite"):
        separability(broken(value))


def test_dependent_differences_are_named_beside_equal_means() -> None:
    """A category given twice under two names: both are defined by themselves, not jointly."""
    resid = some_residuals(10).clone()
    resid[20:40] = resid[:20]
    residuals = residuals_of(resid, prompts_of(10))
    assert make_estimator("mean_difference")(residuals).defined().all()
    with pytest.raises(InputError, match="linearly dependent"):
        fit_whitened_orthonormal(residuals).at("red", 1)
