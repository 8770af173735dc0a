"""In which languages a model refuses: answers to the same pairs in each of them."""

from dataclasses import dataclass
from functools import cache
from typing import Final, final

from refusal_lens.datasets import load_languages
from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.languages import by_language, check_any_language
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.key import Key
from refusal_lens.study.sizes import ALL, StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work

ANSWERS: Final = Key("language_answers", "answers", Answers)


@final
@dataclass(frozen=True)
class LanguageSizes(StageSizes):
    """Which parallel prompts are read: the built-in ones, or those of a folder of PolyRefuse's and
    their split; the languages, all of them if none is named; pairs of each, and tokens of an
    answer. `language_digest` is what the prompts were: others make the stages stale."""

    languages: tuple[str, ...] = size(())
    language_folder: str = size("")
    language_split: str = size("train")
    language_pairs: int = size(ALL, quick=6)
    language_tokens: int = size(24, full=48, quick=8)
    language_digest: str = size("")

    @property
    def decoding(self) -> Decoding:
        """How answers are generated."""
        return Decoding(self.language_tokens)

    @property
    def prompts(self) -> PromptSet:
        """The parallel prompts, their language as category; raises like `load_languages`."""
        chosen = self.languages, self.language_folder, self.language_split, self.language_pairs
        return _prompts(*chosen)


@cache
def _prompts(languages: tuple[str, ...], folder: str, split: str, n_pairs: int) -> PromptSet:
    return by_language(
        load_languages(folder or None, languages=languages or None, split=split, n_pairs=n_pairs)
    )


def answers(bench: Bench, tick: Progress) -> Records:
    """The unedited model's answers, read by a judge that may read any language."""
    sizes = bench.size(LanguageSizes)
    check_any_language(bench.judge)
    prompts = sizes.prompts
    unread = answer_under(
        bench.model, prompts, [(UNEDITED, None)], decoding=sizes.decoding, progress=tick
    )
    return {ANSWERS: unread.judge(bench.judge)}


def _work(bench: Outline) -> Work:
    sizes = bench.size(LanguageSizes)
    return Work.over(sizes.prompts, 2, sizes.language_tokens)


STAGE: Final = Stage(
    "language_answers",
    "in which languages it refuses",
    run=answers,
    work=_work,
    writes=(ANSWERS,),
    uses=(LanguageSizes,),
    plan="languages",
    place=500,
)
