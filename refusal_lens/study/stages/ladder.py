"""How much refusal is left as ever more directions are ablated: a stage for each set of them."""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final, final

from refusal_lens.defence import Ladder, LadderMaterial, LadderReading, measure_ladder, read_ladder
from refusal_lens.defence.deflation import SETS, Place, ladder_directions
from refusal_lens.defence.measure import DRAWS, ladder_conditions
from refusal_lens.defence.place import layer_of_selection
from refusal_lens.errors import InputError
from refusal_lens.geometry import contrast_prompts
from refusal_lens.geometry.contrasts import BOTH
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import LABELS, PromptSet
from refusal_lens.sites import Site
from refusal_lens.study.compared import compared_pairs, compared_prompts
from refusal_lens.study.fitted import FitSizes, Gap
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.sizes import ALL, StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.score import TRUST
from refusal_lens.study.stages.selection import SELECTION

FAMILY: Final = "ladder"
LADDER: Final = Key(FAMILY, "ladder", Ladder)
READING: Final = Key(FAMILY, "reading", LadderReading)


@final
@dataclass(frozen=True)
class LadderSizes(StageSizes):
    """Test pairs whose answers are read on every rung, their tokens, and the rungs; prompts of each
    side that every direction is fitted on, over all categories in turn."""

    ladder_pairs: int = size(33, full=99, quick=4)
    ladder_tokens: int = size(20, full=48, quick=12)
    ladder_fit_prompts: int = size(132, full=ALL, quick=66)
    ladder_rungs: tuple[int, ...] = size((1, 2, 3), full=(1, 2, 3, 4, 5, 6, 8), quick=(1, 2))


def climb(bench: Bench, tick: Progress, *, directions: str) -> Records:
    """Fit the directions, ablate spans of the first 1 to k of them, and read what is refused."""
    sizes = bench.size(LadderSizes)
    selection = bench.results.find(SELECTION)
    layer = chosen_layer(bench.results) if selection is None else layer_of_selection(selection)
    try:
        fitted = ladder_directions(
            bench.model,
            fitting_prompts(bench),
            Place(Site(layer)),
            max(sizes.ladder_rungs),
            directions=directions,
            progress=tick,
        )
    except InputError as error:
        raise Gap(str(error)) from None
    rungs = tuple(k for k in sizes.ladder_rungs if k <= len(fitted)) or (len(fitted),)
    material = LadderMaterial(
        pairs=compared_pairs(bench, sizes.ladder_pairs),
        judge=bench.judge,
        decoding=Decoding(sizes.ladder_tokens),
        trust=bench.results.find(TRUST),
        dimensions=rungs,
        directions=directions,
    )
    ladder = measure_ladder(bench.model, fitted, material, seed=bench.study.seed, progress=tick)
    return {LADDER: ladder, READING: read_ladder(ladder, seed=bench.study.seed)}


def fitting_prompts(bench: Bench) -> PromptSet:
    """Fitting prompts, labelled by the two sides that the run's directions are of.

    Raises:
        Gap: too few prompts were refused, or too few answered.
    """
    most, prompts = bench.size(LadderSizes).ladder_fit_prompts, bench.train
    if bench.study.fitted_on == "behaviour":
        prompts = contrast_prompts(prompts, bench.results.get(BEHAVIOUR).refused(), BOTH)
    if not len(prompts):
        raise Gap("too few prompts were refused, or too few were answered, to fit by behaviour")
    sides = (bench.spread(prompts, label, most) for label in LABELS)
    return PromptSet(tuple(p for side in sides for p in side))


def stage_name(directions: str) -> str:
    """The stage of a set of directions."""
    return f"{FAMILY}_{directions}"


def _work(bench: Outline, *, directions: str) -> Work:
    sizes = bench.size(LadderSizes)
    fits = max(sizes.ladder_rungs) if directions == SETS[0] else 1
    fitted = min(len(bench.train), 2 * sizes.ladder_fit_prompts)
    pairs = compared_prompts(bench, sizes.ladder_pairs)
    cells = [*product(ladder_conditions(sizes.ladder_rungs), pairs)]
    answers = Work.over(cells, 1, sizes.ladder_tokens)
    return Work.over([*product(range(fits), range(fitted))]) + answers + Work.over(cells)


def _stage(directions: str) -> Stage:
    return Stage(
        stage_name(directions),
        f"refusal as directions are ablated one after the other: {directions}",
        run=partial(climb, directions=directions),
        work=partial(_work, directions=directions),
        writes=(LADDER, READING),
        needs=("behaviour", "directions", "geometry"),
        after=("contrasts", "selection", "score"),
        uses=(FitSizes, LadderSizes),
        parameters={"draws": DRAWS},
        plan="defence",
        family=FAMILY,
        place=600,
    )


STAGES: Final = tuple(_stage(one) for one in SETS)
