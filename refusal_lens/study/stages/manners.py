"""How a model refuses: direction x refusal style, and the control of planted ones."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from refusal_lens.directions import Direction
from refusal_lens.evaluation import (
    Answers,
    MannerMatrix,
    Steered,
    Taught,
    answer_steered,
    find_styles,
    in_styles,
    manner_matrix,
    whole_pairs,
)
from refusal_lens.geometry import Structure
from refusal_lens.geometry.planted import shipped_planted
from refusal_lens.interventions import Add
from refusal_lens.model import Decoding, LensModel, load_model
from refusal_lens.progress import Progress
from refusal_lens.prompts import LABELS, PromptSet
from refusal_lens.prompts.files import load_categories
from refusal_lens.resources import data_path
from refusal_lens.sites import Site
from refusal_lens.study.compared import STEERED_AT, n_test_pairs
from refusal_lens.study.fitted import Gap, at_layer
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage, own_directions

CONTROL: Final = "control_"


def manners(bench: Bench, tick: Progress) -> Records:
    """How the model refuses when each category's direction is added, on either side's prompts.

    Where refusals are planted, by the styles that were, with a control: an adapter that was taught
    the same topics with the styles moved over the categories, steered with its own directions on
    the same prompts. Where the style follows the direction it moves with what was taught; where it
    follows the topic of the direction, it stays. Another model's styles are found first, from the
    openings of its own refusals of the fitting prompts.
    """
    pairs = whole_pairs(bench.prompts.only(split="test"), bench.study.sizes.manner_pairs)
    if not len(pairs):
        raise Gap("`test` holds no whole pair; give each refuse-side prompt its benign twin")
    layer = bench.chosen_layer()
    read = _steered(bench, bench.model, own_directions(bench, layer), pairs, tick)
    if not is_planted(bench):
        if bench.results.has("behaviour", "train"):
            styles = find_styles(bench.results.get("behaviour", "train", Answers))
            read = replace(read, answers=in_styles(read.answers, styles))
        return _matrices(bench, read, None, _clusters(bench))
    usual = _usual()
    moved = {c: usual[donor] for c, donor in _donors().items()}
    records = _matrices(bench, read, Taught(usual, moved), _clusters(bench))
    model = _deranged(bench)
    fitting = bench.split("train", bench.study.sizes.contrast_pairs)
    data = bench.fitting_data(model, fitting, sites=(Site(layer),), offsets=(-1,))
    own = at_layer(bench.fit(data), layer)
    read = _steered(bench, model, own, pairs, tick)
    found = _matrices(bench, read, Taught(moved, usual), {})
    return records | {f"{CONTROL}{name}": record for name, record in found.items()}


def is_planted(bench: Bench) -> bool:
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
    decoding = Decoding(bench.study.sizes.manner_tokens)
    return answer_steered(model, pairs, added, bench.judge, decoding=decoding, progress=tick)


def _matrices(
    bench: Bench, read: Steered, taught: Taught | None, clusters: Mapping[str, int]
) -> Records:
    records: Records = {"steered": read}
    for side in LABELS:
        records[side] = manner_matrix(
            read, side, clusters=clusters, taught=taught, seed=bench.study.seed
        )
    return records


def _deranged(bench: Bench) -> LensModel:
    entry = bench.study.embedded
    assert entry is not None
    assert entry.planting is not None
    return load_model(
        entry.key,
        adapter=data_path(entry.planting.controls, entry.planting.deranged),
        system=bench.study.system,
        placement=bench.model.placement,
    )


def _usual() -> dict[str, str]:
    """Category -> the manner that the planted model was taught."""
    return {key: category.manner for key, category in load_categories().items()}


def _donors() -> dict[str, str]:
    """Category -> the category whose manner the deranged adapter was taught for it."""
    found = shipped_planted()
    return dict(zip(found.categories, found.manner_of, strict=True))


def _clusters(bench: Bench) -> Mapping[str, int]:
    if not bench.results.has("structure", "structure"):
        return {}
    found = bench.results.get("structure", "structure", Structure)
    return dict(zip(found.mapped, found.clusters, strict=True))


def _n_manners(bench: Bench) -> int:
    prompts = n_test_pairs(bench, bench.study.sizes.manner_pairs)
    models = 2 if is_planted(bench) else 1
    return models * prompts * (1 + len(bench.prompts.categories))


STAGE: Final = Stage(
    "manners",
    "how it refuses under each direction",
    ("directions", "geometry"),
    (Steered, MannerMatrix),
    manners,
    _n_manners,
    lambda b: 2 + TOKEN * b.study.sizes.manner_tokens,
    after=("contrasts", "selection", "structure"),
)
