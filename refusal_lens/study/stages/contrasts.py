"""What the model did against what was asked, and directions by it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, final

from refusal_lens.errors import InputError
from refusal_lens.evaluation import UNEDITED, Answers, evaluate
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
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import Residuals
from refusal_lens.study.fitted import CATEGORIES_OF, POOLED_OF, FitSizes
from refusal_lens.study.key import Key
from refusal_lens.study.other_models import half_refusing, half_refusing_scale
from refusal_lens.study.sizes import ALL, StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, VerdictsOf, Work
from refusal_lens.study.stages.behaviour import BEHAVIOUR, BehaviourSizes

CONTRAST_ANSWERS: Final = Key("contrasts", "behaviour", Answers)
WITHIN: Final = Key("contrasts", "within", WithinTests)
CONTRASTS: Final = Key("contrasts", "contrasts", BehaviourContrasts)
BEHAVIOUR_GEOMETRY: Final = Key("contrasts", "geometry", BehaviourContrasts)


@final
@dataclass(frozen=True)
class ContrastSizes(StageSizes):
    """Pairs of each category that are read at another adapter scale than the study's."""

    contrast_pairs: int = size(20, full=ALL, quick=8)


_SOURCES: Final = {"behaviour": BOTH, "within": WITHIN_HARMFUL, "over": WITHIN_BENIGN}


def contrasts(bench: Bench, tick: Progress) -> Records:
    """What the model did against what was asked: the four cells, contrasts between them, tests.

    Where refusals are planted, at the adapter scale at which about half of the harmful prompts are
    refused; of another model by the answers to the fitting prompts. The directions of the contrasts
    are what edits of a model that refuses by itself are made of.
    """
    model, study = half_refusing(bench), bench.study
    if model is bench.model and bench.results.has(BEHAVIOUR):
        resid = bench.train_resid()
        read = bench.results.get(BEHAVIOUR)
        tick(1)
    else:
        prompts = _answered_anew(bench)
        decoding = Decoding(bench.size(BehaviourSizes).behaviour_tokens)
        condition = UNEDITED if model is bench.model else model.name
        read = evaluate(
            model, prompts, bench.judge, condition=condition, decoding=decoding, progress=tick
        )
        resid = model.residuals(prompts)
    refused = read.refused()
    records: Records = {CONTRAST_ANSWERS: read} | _by_behaviour(bench, resid, refused)
    records[WITHIN] = fit_within_tests(resid, refused, seed=study.seed)
    with suppress(InputError):  # too few prompts in too many groups: the report says so
        records[CONTRASTS] = fit_contrasts(resid, refused)
    with suppress(InputError):
        records[BEHAVIOUR_GEOMETRY] = fit_behaviour_geometry(resid, refused)
    return records


def _by_behaviour(bench: Bench, resid: Residuals, refused: Mapping[str, bool]) -> Records:
    """The directions of the contrasts over all categories, and each category's of the first."""
    prompts = resid.labelled
    records: Records = {}
    for source, name in _SOURCES.items():
        if len(chosen := contrast_prompts(prompts, refused, name)):
            records[POOLED_OF[source]] = bench.estimator.within_categories(
                resid.only(prompts=chosen)
            )
    if len(chosen := contrast_prompts(prompts, refused, BOTH, least=LEAST_PAIRS)):
        records[CATEGORIES_OF["behaviour"]] = bench.fit(resid.only(prompts=chosen))
    return records


def _answered_anew(bench: Outline) -> PromptSet:
    """The prompts that are answered at another adapter scale."""
    return bench.split("train", bench.size(ContrastSizes).contrast_pairs)


def _work(bench: Outline) -> Work:
    passes, tokens = 2, bench.size(BehaviourSizes).behaviour_tokens
    if half_refusing_scale(bench) is None:
        return Work(1, passes, tokens)  # the answers to the fitting prompts are there already
    return Work.over(_answered_anew(bench), passes, tokens)


STAGE: Final = Stage(
    "contrasts",
    "what the model did against what was asked, and directions by it",
    run=contrasts,
    work=_work,
    writes=(
        CONTRAST_ANSWERS,
        WITHIN,
        CONTRASTS,
        BEHAVIOUR_GEOMETRY,
        *(POOLED_OF[source] for source in _SOURCES),
        CATEGORIES_OF["behaviour"],
    ),
    after=("behaviour", "geometry"),
    uses=(FitSizes, BehaviourSizes, ContrastSizes),
    place=50,
    verdicts=(VerdictsOf("contrasts", CONTRAST_ANSWERS),),
)
