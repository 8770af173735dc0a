"""The mean difference on intended labels, beside the one by what the model did."""

from dataclasses import replace
from typing import Final

from refusal_lens.directions import make_estimator
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.study.estimators.entry import REFERENCE, Compared, Fitted, fit_everywhere
from refusal_lens.study.fitted import Gap
from refusal_lens.study.stage import Bench


def _fit(bench: Bench, residuals: Residuals, tick: Progress) -> Fitted:
    """On all fitting prompts, whatever the model did with them."""
    if bench.study.fitted_on == "intended":
        raise Gap("the mean difference of this run is on intended labels already")
    every = bench.train_resid().select(sites=residuals.sites)
    return replace(fit_everywhere(make_estimator(REFERENCE), every, tick), labels="intended")


COMPARED: Final = (Compared("mean_difference_intended", "estimator", _fit, place=10),)
