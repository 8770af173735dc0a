"""The estimators of residuals alone, as `refusal_lens.directions` lists them."""

from typing import Final

from refusal_lens.directions import ESTIMATORS, Estimator
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.study.estimators.entry import REFERENCE, Compared, Fitted, fit_everywhere
from refusal_lens.study.stage import Bench


def _of(estimator: Estimator) -> Compared:
    def fit(bench: Bench, residuals: Residuals, tick: Progress) -> Fitted:
        del bench
        return fit_everywhere(estimator, residuals, tick)

    place = 0 if estimator.name == REFERENCE else 100
    return Compared(estimator.name, "estimator", fit, place=place)


COMPARED: Final = tuple(_of(ESTIMATORS[name]) for name in sorted(ESTIMATORS))
