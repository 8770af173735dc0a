"""How a model refuses: direction x refusal style, and the control of planted ones."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Final

from refusal_lens.directions import Direction
from refusal_lens.evaluation import (
    UNEDITED,
    MannerMatrix,
    Steered,
    Taught,
    answer_steered,
    find_styles,
    in_styles,
    manner_matrix,
)
from refusal_lens.geometry.control_adapters import shipped_planted
from refusal_lens.interventions import Add
from refusal_lens.model import Decoding, LensModel, load_model
from refusal_lens.progress import Progress
from refusal_lens.prompts import LABELS, Label, PromptSet
from refusal_lens.prompts.files import load_categories
from refusal_lens.resources import data_path
from refusal_lens.sites import Site
from refusal_lens.study.compared import STEERED_AT, ReadSizes, compared_prompts
from refusal_lens.study.fitted import Gap, at_layer
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.other_models import sharing_stores
from refusal_lens.study.stage import (
    Bench,
    Outline,
    Records,
    Stage,
    VerdictsOf,
    Work,
    category_directions,
)
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.contrasts import ContrastSizes
from refusal_lens.study.stages.structure import STRUCTURE

STEERED: Final = Key("manners", "steered", Steered)
CONTROL_STEERED: Final = Key("manners", "control_steered", Steered)
MANNERS: Final[dict[Label, Key[MannerMatrix]]] = {
    side: Key("manners", side, MannerMatrix) for side in LABELS
}
CONTROL_MANNERS: Final[dict[Label, Key[MannerMatrix]]] = {
    side: Key("manners", f"control_{side}", MannerMatrix) for side in LABELS
}


def manners(bench: Bench, tick: Progress) -> Records:
    """How the model refuses when each category's direction is added, on either side's prompts.

    Where refusals are planted, by the styles that were, with a control: an adapter that was taught
    the same topics with the styles moved over the categories, steered with its own directions on
    the same prompts. Where the style follows the direction it moves with what was taught; where it
    follows the topic of the direction, it stays. Another model's styles are found first, from the
    openings of its own refusals of the fitting prompts.
    """
    pairs = _pairs(bench)
    if not len(pairs):
        raise Gap("`test` holds no whole pair; give each refuse-side prompt its benign twin")
    layer = chosen_layer(bench.results)
    read = _steered(bench, bench.model, category_directions(bench, layer), pairs, tick)
    if not is_planted(bench):
        if (behaviour := bench.results.find(BEHAVIOUR)) is not None:
            read = replace(read, answers=in_styles(read.answers, find_styles(behaviour)))
        return _matrices(bench, read, None, _clusters(bench), control=False)
    usual = _usual()
    moved = {c: usual[donor] for c, donor in _donors().items()}
    records = _matrices(bench, read, Taught(usual, moved), _clusters(bench), control=False)
    model = _deranged(bench)
    fitting = bench.split("train", bench.size(ContrastSizes).contrast_pairs)
    data = bench.fitting_data(model, fitting, sites=(Site(layer),), offsets=(-1,))
    directions = at_layer(bench.fit(data), layer)
    read = _steered(bench, model, directions, pairs, tick)
    return records | _matrices(bench, read, Taught(moved, usual), {}, control=True)


def is_planted(bench: Outline) -> bool:
    """Whether the refusal styles were planted, and no other control was asked for."""
    return bench.study.planted and bench.study.control is None


def _steered(
    bench: Bench,
    model: LensModel,
    directions: list[Direction],
    pairs: PromptSet,
    tick: Progress,
) -> Steered:
    added = [Add(d, strength=STEERED_AT) for d in directions]
    decoding = Decoding(bench.size(ReadSizes).manner_tokens)
    return answer_steered(model, pairs, added, bench.judge, decoding=decoding, progress=tick)


def _matrices(
    bench: Bench,
    read: Steered,
    taught: Taught | None,
    clusters: Mapping[str, int],
    *,
    control: bool,
) -> Records:
    matrices = CONTROL_MANNERS if control else MANNERS
    records: Records = {(CONTROL_STEERED if control else STEERED): read}
    for side in LABELS:
        records[matrices[side]] = manner_matrix(
            read, side, clusters=clusters, taught=taught, seed=bench.study.seed
        )
    return records


def _deranged(bench: Bench) -> LensModel:
    entry = bench.study.embedded
    assert entry is not None
    assert entry.planting is not None
    model = load_model(
        entry.key,
        adapter=data_path(entry.planting.controls, entry.planting.deranged),
        system=bench.study.system,
        placement=bench.model.placement,
    )
    return sharing_stores(bench, model)


def _usual() -> dict[str, str]:
    """Category -> the manner that the planted model was taught."""
    return {key: category.manner for key, category in load_categories().items()}


def _donors() -> dict[str, str]:
    """Category -> the category whose manner the deranged adapter was taught for it."""
    planted = shipped_planted()
    return dict(zip(planted.categories, planted.manner_of, strict=True))


def _clusters(bench: Bench) -> Mapping[str, int]:
    structure = bench.results.find(STRUCTURE)
    return {} if structure is None else dict(zip(structure.mapped, structure.clusters, strict=True))


def _pairs(bench: Outline) -> PromptSet:
    """The test pairs that are answered under each direction."""
    return compared_prompts(bench, bench.size(ReadSizes).manner_pairs)


def _work(bench: Outline) -> Work:
    models = ("studied", "deranged") if is_planted(bench) else ("studied",)
    tasks = product(models, (UNEDITED, *bench.prompts.categories), _pairs(bench))
    return Work.over([*tasks], 2, bench.size(ReadSizes).manner_tokens)


STAGE: Final = Stage(
    "manners",
    "how it refuses under each direction",
    run=manners,
    work=_work,
    writes=(STEERED, *MANNERS.values(), CONTROL_STEERED, *CONTROL_MANNERS.values()),
    needs=("directions", "geometry"),
    after=("contrasts", "selection", "structure"),
    uses=(ReadSizes, ContrastSizes),
    place=130,
    verdicts=(
        VerdictsOf("manners, under each direction", STEERED),
        VerdictsOf("manners, the control", CONTROL_STEERED),
    ),
)
