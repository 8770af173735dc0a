"""What the model did against what was asked, and directions by it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import DirectionSet, fit_mean_difference, fit_within_categories
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
from refusal_lens.model import Decoding, LensModel
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import ResidualStats
from refusal_lens.study.cached import cached, last_token_stats
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
        prompts, resid = bench.train, bench.train_resid(tick)
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
    records: Records = {"behaviour": read} | _by_behaviour(model, prompts, resid, refused)
    with cached(model, prompts, resid) as cache:
        records["within"] = fit_within_tests(cache, prompts, refused, seed=study.seed)
        with suppress(InputError):  # too few prompts in too many groups: the report says so
            records["contrasts"] = fit_contrasts(cache, prompts, refused)
        with suppress(InputError):
            records["geometry"] = fit_behaviour_geometry(cache, prompts, refused)
    return records


def _by_behaviour(
    model: LensModel,
    prompts: PromptSet,
    resid: Float[Tensor, "prompt offset site d_model"],
    refused: Mapping[str, bool],
) -> Records:
    """The directions of the contrasts over all categories, and each category's of the first."""
    row = {key: i for i, key in enumerate(prompts.ids)}
    records: Records = {}

    def stats(chosen: PromptSet) -> ResidualStats:
        return last_token_stats(model, chosen, resid[[row[key] for key in chosen.ids]])

    for source, name in _SOURCES.items():
        if len(chosen := contrast_prompts(prompts, refused, name)):
            _, record = PLACES[source]
            records[record] = fit_within_categories(stats(chosen))
    if len(chosen := contrast_prompts(prompts, refused, BOTH, least=LEAST_PAIRS)):
        records["by_category"] = fit_mean_difference(stats(chosen))
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
