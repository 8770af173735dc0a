"""What a finished run holds: its question, its model, its directions."""

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.model import LensModel
from refusal_lens.placement import Placement
from refusal_lens.study.fitted import POOLED, Gap, category_set, pooled_set
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results
from refusal_lens.study.run import load_studied
from refusal_lens.study.stages.directions import DIRECTIONS


def model_of(results: Results, placement: Placement = Placement()) -> LensModel:
    """The model of a run, loaded again, in the run's precision.

    Raises:
        InputError: it can't be loaded, or its weights are not those that the run measured.
    """
    study = Study.of(results.manifest.get("question"))
    model = load_studied(study, results, placement)
    digest = results.manifest.get("model_digest")
    if model.digest != digest:
        raise InputError(
            f"weights or settings of {model.name} are not this run's (digest {model.digest[:12]}, "
            f"the run's {str(digest)[:12]}); run the study again"
        )
    return model


def direction_of(results: Results, category: str, layer: int | None = None) -> Direction:
    """A category's direction in a run ("pooled" for all), by default at the chosen layer.

    Without a choice, at the one of the layers asked for where directions are most reliable.

    Raises:
        InputError: no such category or layer, or the run has no directions yet.
    """
    directions = directions_of(results, category)
    return directions.at(category, chosen_layer(results) if layer is None else layer)


def directions_of(results: Results, category: str | None) -> DirectionSet:
    """The directions of every category, or for "pooled" those of all prompts together.

    Raises:
        InputError: the run has no directions yet, or none by what its model did.
    """
    if not results.has(DIRECTIONS):
        raise InputError(f"{str(results.folder)!r} holds no directions yet; run the study again")
    try:
        return pooled_set(results) if category == POOLED else category_set(results)
    except Gap as gap:
        raise InputError(f"{str(results.folder)!r} holds {gap}") from None
