"""What goes when the strongest writers are replaced."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Final

from refusal_lens.attribution import Cuts, Decomposition, KnockOut, decompose, knock_out
from refusal_lens.attribution.knock_out import REPLACEMENTS
from refusal_lens.progress import Progress
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.study.attributed import category_prompts, measured, planned, written
from refusal_lens.study.fitted import FitSizes, Gap, direction_at, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.scored import scored_categories, scores_of
from refusal_lens.study.stage import Bench, Outline, PerCategory, Records, Stage, Work

KNOCK_OUT: Final = Key("knock_out", "curve", KnockOut)
POOLED_DECOMPOSITION: Final = Key("knock_out", "decomposition", Decomposition)

POOLED_PAIRS: Final = 3  # of each category, where writers of the pooled direction go out
CUTS: Final = {"": "mean"} | {f"_{r}": r for r in REPLACEMENTS if r != "mean"}


def knocked_out(bench: Bench, tick: Progress, *, category: str, replacement: str) -> Records:
    """One category's strongest writers replaced one after another, on prompts of `test`."""
    direction, attribution = written(bench, category)
    prompts = category_prompts(bench, category)
    score = scores_of(bench, [category])[category]
    cuts = Cuts(replacement=replacement, seed=bench.study.seed)
    progress = partial(_half, tick, len(prompts))
    curve = knock_out(
        bench.model, prompts, direction, attribution, score, cuts=cuts, progress=progress
    )
    return {KNOCK_OUT: curve}


def knocked_out_pooled(bench: Bench, tick: Progress) -> Records:
    """The strongest writers of the direction pooled over categories, in all scored ones."""
    pooled = pooled_set(bench.results)
    direction = direction_at(pooled, pooled.categories[0], chosen_layer(bench.results))
    renamed = PromptSet(tuple(replace(p, category=direction.category) for p in bench.train))
    decomposition = decompose(bench.model, renamed, [direction], progress=tick)
    prompts = pooled_prompts(bench)
    curve = knock_out(
        bench.model,
        prompts,
        direction,
        decomposition.attribution(direction.category),
        scores_of(bench, prompts.categories)[prompts.categories[0]],
        cuts=Cuts(seed=bench.study.seed),
        progress=partial(_half, tick, len(prompts)),
    )
    return {POOLED_DECOMPOSITION: decomposition, KNOCK_OUT: curve}


def pooled_prompts(bench: Bench) -> PromptSet:
    """A few test pairs of each category whose first token can be trusted."""
    categories = scored_categories(bench)
    if not categories:
        raise Gap("in no category does the first token tell refusals from answers")
    return bench.split("test", POOLED_PAIRS).only(category=categories)


def _runs(prompts: Sequence[Prompt], cuts: Cuts) -> list[tuple[int, int, Prompt]]:
    """What a knock-out runs: the refuse side at each count, in its own order and in random ones."""
    return [*product(range(1 + cuts.draws), cuts.counts, prompts[: len(prompts) // 2])]


def _half(tick: Progress, n_prompts: int, n: int) -> None:
    """Passes over the refuse-side half of paired prompts, counted in prompts."""
    tick(n * n_prompts // 2)


def _stage(i: int, category: str, suffix: str) -> Stage:
    replacement = CUTS[suffix]
    return Stage(
        f"knock_out{suffix}_{i}",
        f"its strongest writers replaced ({replacement}): {category}",
        run=partial(knocked_out, category=category, replacement=replacement),
        work=lambda b: Work.over(_runs(category_prompts(b, category).prompts, Cuts()), 2),
        writes=(KNOCK_OUT,),
        needs=("attribution", "directions", "score"),
        after=("selection",),
        plan="attribution",
        family="knock_out",
        category=category,
        asked_for=lambda full, shown: full or (shown and not suffix),
        place=340,
    )


def _work_pooled(bench: Outline) -> Work:
    prompts = planned(lambda: pooled_prompts(measured(bench)).prompts)
    return Work.over(bench.train) + Work.over(_runs(prompts, Cuts()))


POOLED_STAGE: Final = Stage(
    "knock_out_pooled",
    "the pooled direction's strongest writers replaced (mean)",
    run=knocked_out_pooled,
    work=_work_pooled,
    writes=(POOLED_DECOMPOSITION, KNOCK_OUT),
    needs=("directions", "score"),
    after=("selection",),
    uses=(FitSizes,),
    plan="attribution",
    family="knock_out",
    asked_for=lambda full, shown: full,
    place=350,
)
STAGES: Final = (
    *(PerCategory(partial(_stage, suffix=suffix)) for suffix in CUTS),
    POOLED_STAGE,
)
