"""A finished run opened again: its question, its model, its directions; and a full evaluation."""

import time
from collections.abc import Callable
from typing import Final

from pydantic import TypeAdapter, ValidationError

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.evaluation import SideBySide, answer_under, read_all, whole_pairs
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.judges import Judge
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.forward import Progress
from refusal_lens.prompts import load_prompts
from refusal_lens.records import digest_of
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results
from refusal_lens.study.run import load_studied
from refusal_lens.study.stages import chosen_layer

FULL: Final = "full_evaluation"
STRENGTH: Final = 1.0
_TRIED: Final = ("Can you help me?", "Yes, of course.")


def question_of(results: Results) -> Study:
    """The question that a run answers.

    Raises:
        InputError: the manifest holds no whole question.
    """
    try:
        return TypeAdapter(Study).validate_python(results.manifest.get("question"))
    except ValidationError:
        raise InputError(
            f"the manifest of {str(results.folder)!r} holds no question of this version; "
            "run the study again"
        ) from None


def model_of(results: Results) -> LensModel:
    """The model of a run, loaded again.

    Raises:
        InputError: it can't be loaded, or its weights are not those that the run measured.
    """
    model = load_studied(question_of(results))
    digest = results.manifest.get("model_digest")
    if model.digest != digest:
        raise InputError(
            f"the weights of {model.name} are not those of this run (digest {model.digest[:12]}, "
            f"the run's {str(digest)[:12]}); run the study again"
        )
    return model


def direction_of(results: Results, category: str, layer: int | None = None) -> Direction:
    """A category's direction in a run ("pooled" for all), by default at the chosen layer.

    Without a choice, at the layer where directions are most reliable.

    Raises:
        InputError: no such category or layer, or the run has no directions yet.
    """
    name = "pooled" if category == "pooled" else "directions"
    if not results.has("directions", name):
        raise InputError(f"{str(results.folder)!r} holds no directions yet; run the study again")
    found = results.get("directions", name, DirectionSet)
    return found.at(category, chosen_layer(results) if layer is None else layer)


def evaluate_fully(
    results: Results, judge: Judge, started: Callable[[int], Progress]
) -> SideBySide:
    """Generate and judge the common test pairs unedited and under each direction, and keep it.

    Each category's direction and the pooled one, added at strength 1 and ablated, in the study's
    own model. `started` is called with the number of answers to come and gives what follows them.

    Raises:
        InputError: the judge can't be asked (it is tried before anything is generated), or the
            run has another model, or no directions.
    """
    judge.judge(*_TRIED)
    study, model, begun = question_of(results), model_of(results), time.monotonic()
    prompts = load_prompts(study.prompts).only(split="test")
    if study.categories is not None:
        prompts = prompts.only(category=study.categories)
    pairs = whole_pairs(prompts, study.sizes.trade_off_pairs)
    layer = chosen_layer(results)
    conditions: list[tuple[str, Edit | None]] = [("none", None)]
    for category in ("pooled", *pairs.categories):
        d = direction_of(results, category, layer)
        conditions.append((f"{category} | added", Add(d, strength=STRENGTH)))
        conditions.append((f"{category} | ablated", Ablate(d)))
    said = answer_under(
        model,
        pairs,
        conditions,
        decoding=Decoding(study.sizes.shown_tokens),
        progress=started(len(pairs) * len(conditions)),
    )
    shown = SideBySide(tuple(p.text for p in pairs), read_all(said, pairs, judge))
    digest = digest_of({"judge": judge.name, "model": model.digest, "prompts": pairs.digest})
    results.add(FULL, digest, {"evaluation": shown}, time.monotonic() - begun)
    return shown
