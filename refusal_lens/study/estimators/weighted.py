"""The mean difference weighted by confidence: Refusal Steering's WRMD, by validated scores."""

from dataclasses import replace
from typing import Final

from refusal_lens.directions import weighted_estimator
from refusal_lens.evaluation.scoring import refusal_scores, scored
from refusal_lens.judges import score_confidences
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.study.estimators.entry import Compared, Fitted, fit_everywhere
from refusal_lens.study.fitted import Gap
from refusal_lens.study.stage import Bench
from refusal_lens.study.stages.score import TRUST


def _fit(bench: Bench, residuals: Residuals, tick: Progress) -> Fitted:
    """Confidence is the refusal score of the unedited prompt, where the score was validated."""
    trust = bench.results.find(TRUST)
    kept = residuals.labelled if trust is None else scored(residuals.labelled, trust)
    if trust is None or not len(kept):
        raise Gap("no category has a score that can be trusted, and so no confidence")
    confidence = score_confidences(kept, refusal_scores(bench.model, kept, trust), trust)

    sample = residuals.only(prompts=kept)
    fitted = fit_everywhere(weighted_estimator(confidence), sample, tick)
    return replace(fitted, labels="refusal score")


COMPARED: Final = (Compared("weighted_ridge_mean_difference", "estimator", _fit, place=110),)
