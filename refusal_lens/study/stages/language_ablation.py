"""What ablating one language's direction does to the refusals of another."""

from dataclasses import dataclass
from itertools import product
from typing import Final, final

from refusal_lens.evaluation import UNEDITED, Answers
from refusal_lens.languages import (
    AblationTransfer,
    ablation_answers,
    ablation_transfer,
    check_any_language,
    fold_directions,
    refused_prompts,
)
from refusal_lens.languages.ablation import BESIDE
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.sites import Site
from refusal_lens.study.fitted import Gap
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.sizes import ALL, StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.language_answers import ANSWERS, LanguageSizes
from refusal_lens.study.stages.language_geometry import language_residuals

ABLATION: Final = Key("language_ablation", "ablation", AblationTransfer)
ABLATED: Final = Key("language_ablation", "answers", Answers)


@final
@dataclass(frozen=True)
class LanguageAblationSizes(StageSizes):
    """Refused prompts of each language that are answered with each direction ablated."""

    language_ablated: int = size(8, full=ALL, quick=2)
    language_ablation_tokens: int = size(16, full=48, quick=8)


def ablation(bench: Bench, tick: Progress) -> Records:
    """Answers of what the unedited model refused, under each language's direction ablated."""
    sizes = bench.size(LanguageAblationSizes)
    check_any_language(bench.judge)
    prompts = bench.size(LanguageSizes).prompts
    refused = refused_prompts(prompts, bench.results.get(ANSWERS), sizes.language_ablated)
    if not len(refused):
        raise Gap("no refuse-side prompt was refused in any language")
    layer = chosen_layer(bench.results)
    directions = fold_directions(language_residuals(bench), Site(layer), seed=bench.study.seed)
    decoding = Decoding(sizes.language_ablation_tokens)
    unread = ablation_answers(bench.model, refused, directions, decoding=decoding, progress=tick)
    read = unread.judge(bench.judge)
    return {
        ABLATED: read.without_words(),
        ABLATION: ablation_transfer(read, prompts, layer),
    }


def _work(bench: Outline) -> Work:
    """As many as there are at most: how many were refused is not known before."""
    languages = bench.size(LanguageSizes).prompts.categories
    sizes = bench.size(LanguageAblationSizes)
    pairs = len(bench.size(LanguageSizes).prompts) // (2 * len(languages))
    asked = len(languages) * min(sizes.language_ablated, pairs)
    tasks = [*product((UNEDITED, *languages, *BESIDE), range(asked))]
    return Work.over(tasks, 2, sizes.language_ablation_tokens)


STAGE: Final = Stage(
    "language_ablation",
    "one language's direction ablated in another's prompts",
    run=ablation,
    work=_work,
    writes=(ABLATION, ABLATED),
    needs=("language_answers", "geometry"),
    after=("selection", "language_geometry"),
    uses=(LanguageSizes, LanguageAblationSizes),
    plan="languages",
    place=520,
)
