"""What suffixes are compared on: test pairs answered without one, directions, neutral texts."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final, final

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.compared import controls, tested_prompts
from refusal_lens.study.fitted import POOLED, Gap, direction_at, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.sizes import StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.suffixes import Along, AnswerSettings, Suffix, SuffixBasis, load_suffixes, prepare

BASIS: Final = Key("suffix_basis", "basis", SuffixBasis)
_GIVEN: Final = "suffixes"


@final
@dataclass(frozen=True)
class SuffixSizes(StageSizes):
    """Test pairs over all categories in turn that get every suffix, and tokens of their answers."""

    suffix_pairs: int = size(44, full=99, quick=4)
    suffix_tokens: int = size(20, full=48, quick=16)


def basis(bench: Bench, tick: Progress) -> Records:
    """Verdicts and residuals without a suffix, along the direction that the run edits with."""
    prompts = suffix_prompts(bench)
    if len(prompts) < 4:
        raise Gap(f"`test` holds {len(prompts)} prompts; expected at least 4 to compare suffixes")
    pooled, layer = pooled_set(bench.results), chosen_layer(bench.results)
    main = direction_at(pooled, POOLED, layer)
    along = Along(tuple(_at_each_layer(pooled)), layer, controls(bench, main))
    suffixes = given_suffixes(bench)
    return {BASIS: prepare(bench.model, prompts, along, answering(bench), suffixes, progress=tick)}


def give_suffixes(bench: Bench, suffixes: tuple[Suffix, ...]) -> None:
    """Measure these, in place of the project's own; before a stage asks for them."""
    bench.once(_GIVEN, lambda: suffixes)


def given_suffixes(bench: Outline) -> tuple[Suffix, ...]:
    """The suffixes of this run, by default the project's own."""
    return bench.once(_GIVEN, load_suffixes) if isinstance(bench, Bench) else load_suffixes()


def suffix_prompts(bench: Outline) -> PromptSet:
    """Pairs of `test`; prompts of either side where there are no pairs."""
    return tested_prompts(bench, bench.size(SuffixSizes).suffix_pairs)


def answering(bench: Bench) -> AnswerSettings:
    """How answers are generated, and who reads them."""
    return AnswerSettings(bench.judge, Decoding(bench.size(SuffixSizes).suffix_tokens))


def _at_each_layer(pooled: DirectionSet) -> list[Direction]:
    """The direction at the template's last token, at every layer where it is defined."""
    directions: list[Direction] = []
    for site in pooled.sites:
        with suppress(InputError):  # undefined there, as at layer 0
            directions.append(pooled.at_site(POOLED, site))
    return directions


def _work(bench: Outline) -> Work:
    tokens = bench.size(SuffixSizes).suffix_tokens
    return Work(2 * len(suffix_prompts(bench)), 1.5, tokens / 2)


STAGE: Final = Stage(
    "suffix_basis",
    "prompts without a suffix, and neutral texts of each suffix' length",
    run=basis,
    work=_work,
    writes=(BASIS,),
    needs=("directions", "geometry"),
    after=("contrasts", "selection"),
    uses=(SuffixSizes,),
    plan="suffixes",
    place=420,
)
