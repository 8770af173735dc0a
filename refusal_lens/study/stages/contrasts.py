"""What the model did against what was asked, and directions by it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from refusal_lens.directions import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers, evaluate
from refusal_lens.geometry import (
    BehaviourContrasts,
    WithinTests,
    contrast_prompts,
    fit_behaviour_geometry,
    fit_contrasts,
    fit_within_tests,
)
from refusal_lens.geometry.contrasts import BOTH, WITHIN_BENIGN, WITHIN_HARMFUL
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.study.fitted import PLACES
from refusal_lens.study.other_models import half_refusing
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage

_SOURCES: Final = {"behaviour": BOTH, "within": WITHIN_HARMFUL, "over": WITHIN_BENIGN}


def contrasts(bench: Bench, tick: Progress) -> Records:
    """What the model did against what was asked: the four cells, contrasts between them, tests.

    Where refusals are planted, at the adapter scale at which about half of the harmful prompts are
    refused; of another model by the answers to the fitting prompts. The directions of the contrasts
    are what edits of a model that refuses by itself are made of.
    """
    model, study = half_refusing(bench), bench.study
    if model is bench.model and bench.results.has("behaviour", "train"):
        resid = bench.train_resid(tick)
        read = bench.results.get("behaviour", "train", Answers)
    else:
        prompts = bench.split("train", study.sizes.contrast_pairs)
        decoding = Decoding(study.sizes.behaviour_tokens)
        said = "none" if model is bench.model else model.name
        read = evaluate(
            model, prompts, bench.judge, condition=said, decoding=decoding, progress=tick
        )
        resid = model.residuals(prompts)
    refused = read.refused()
    records: Records = {"behaviour": read} | _by_behaviour(bench, resid, refused)
    records["within"] = fit_within_tests(resid, refused, seed=study.seed)
    with suppress(InputError):  # too few prompts in too many groups: the report says so
        records["contrasts"] = fit_contrasts(resid, refused)
    with suppress(InputError):
        records["geometry"] = fit_behaviour_geometry(resid, refused)
    return records


def _by_behaviour(bench: Bench, resid: Residuals, refused: Mapping[str, bool]) -> Records:
    """The directions of the contrasts over all categories, and each category's of the first."""
    prompts = resid.labelled
    records: Records = {}
    for source, name in _SOURCES.items():
        if len(chosen := contrast_prompts(prompts, refused, name)):
            _, record = PLACES[source]
            records[record] = bench.estimator.within_categories(resid.only(prompts=chosen))
    if len(chosen := contrast_prompts(prompts, refused, BOTH, least=LEAST_PAIRS)):
        records["by_category"] = bench.fit(resid.only(prompts=chosen))
    return records


def _n_contrasts(bench: Bench) -> int:
    if not bench.study.planted:
        return 1  # the answers to the fitting prompts are there already
    return len(bench.split("train", bench.study.sizes.contrast_pairs))


STAGE: Final = Stage(
    "contrasts",
    "what the model did against what was asked, and directions by it",
    (),
    (Answers, BehaviourContrasts, WithinTests, DirectionSet),
    contrasts,
    _n_contrasts,
    lambda b: 2 + TOKEN * b.study.sizes.behaviour_tokens,
    after=("behaviour", "geometry"),
)
