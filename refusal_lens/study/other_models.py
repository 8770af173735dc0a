"""The models that stand beside the study's own: one that refuses half, and the control."""

from refusal_lens.embedded.adapter import scale_nearest_half
from refusal_lens.model import LensModel, load_control, load_model
from refusal_lens.study.fitted import Gap
from refusal_lens.study.outline import Outline
from refusal_lens.study.question import CONTROL_SCALE
from refusal_lens.study.stage import Bench


def half_refusing(bench: Bench) -> LensModel:
    """The model in which contrasts and comparisons at equal refusal are made.

    With planted refusals, the model at the adapter scale at which it refuses about half of the
    harmful prompts; otherwise, or where the study is at that scale, the study's own model.
    """
    study, scale = bench.study, half_refusing_scale(bench)
    if scale is None:
        return bench.model
    model = load_model(
        study.source if study.embedded is None else study.embedded.key,
        adapter_scale=scale,
        system=study.system,
        placement=bench.model.placement,
    )
    return sharing_stores(bench, model)


def sharing_stores(bench: Bench, model: LensModel) -> LensModel:
    """A model beside the study's own, with the stores of the run."""
    model.answer_store = bench.model.answer_store
    model.stream_store = bench.model.stream_store
    return model


def half_refusing_scale(bench: Outline) -> float | None:
    """The adapter scale of `half_refusing`; None where that is the study's own model."""
    entry = bench.study.embedded
    if entry is None or not bench.study.planted:
        return None
    scale = scale_nearest_half(entry)
    return None if scale == bench.study.adapter_scale else scale


def has_control(bench: Outline) -> bool:
    """Whether the study has a control model: one that it names, or the base of a planted one."""
    return bench.study.control is not None or bench.study.planted


def control_model(bench: Bench) -> LensModel:
    """The model that tells content from refusal; a gap where none was named."""
    study, placement = bench.study, bench.model.placement
    if study.control is not None:
        return load_control(study.control, bench.model, placement=placement)
    if study.embedded is not None and study.planted:
        key = study.embedded.key
        return load_model(
            key, adapter_scale=CONTROL_SCALE, system=study.system, placement=placement
        )
    raise Gap(
        "no control model was named: give the base model that this chat model was tuned from "
        "(--control). Without one, only what sets refused prompts apart from answered ones of the "
        "same category, or the effect of an edit beside its controls, shows refusal"
    )
