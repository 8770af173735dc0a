"""Whether a score without generation agrees with what was read, language by language."""

from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.evaluation import fit_score
from refusal_lens.judges import ScoreTrust
from refusal_lens.languages import halves
from refusal_lens.progress import Progress
from refusal_lens.study.fitted import Gap
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.language_answers import ANSWERS, LanguageSizes

TRUST: Final = Key("language_score", "trust", ScoreTrust)


def score(bench: Bench, tick: Progress) -> Records:
    """Refusal tokens and openings from half of the pairs, tried on the other half."""
    prompts, read = bench.size(LanguageSizes).prompts, bench.results.get(ANSWERS)
    fitting, held_out = halves(prompts)
    parts = [read.only(ids=half.ids) for half in (fitting, held_out)]
    try:
        trust = fit_score(bench.model, fitting, parts[0], held_out, parts[1])
    except InputError as error:
        raise Gap(str(error)) from None
    tick(len(prompts))
    return {TRUST: trust}


def _work(bench: Outline) -> Work:
    return Work.over(bench.size(LanguageSizes).prompts, 4)


STAGE: Final = Stage(
    "language_score",
    "where a score can be trusted, by language",
    run=score,
    work=_work,
    writes=(TRUST,),
    needs=("language_answers",),
    uses=(LanguageSizes,),
    plan="languages",
    place=530,
)
