"""The models that stand beside the study's own: one that refuses half, and the control."""

from refusal_lens.embedded.adapter import scale_nearest_half
from refusal_lens.model import LensModel, load_control, load_model
from refusal_lens.study.fitted import Gap
from refusal_lens.study.question import CONTROL_SCALE
from refusal_lens.study.stage import Bench


def half_refusing(bench: Bench) -> LensModel:
    """The model in which contrasts and comparisons at equal refusal are made.

    The embedded model at the adapter scale whose refusal of the refuse side is nearest one half;
    the study's own model where it is that one, has no adapter on, or is another.
    """
    study = bench.study
    if (entry := study.embedded) is None or not study.planted:
        return bench.model
    if (scale := scale_nearest_half(entry)) == study.adapter_scale:
        return bench.model
    own = bench.model.placement
    return load_model(entry.key, adapter_scale=scale, system=study.system, placement=own)


def control_model(bench: Bench) -> LensModel:
    """The model that tells content from refusal; a gap where none was named."""
    study, own = bench.study, bench.model.placement
    if study.control is not None:
        return load_control(study.control, bench.model, placement=own)
    if study.embedded is not None and study.planted:
        key = study.embedded.key
        return load_model(key, adapter_scale=CONTROL_SCALE, system=study.system, placement=own)
    raise Gap(
        "no control model was named: give the base model that this chat model was tuned from "
        "(--control). Without one, only what sets refused prompts apart from answered ones of the "
        "same category, or the effect of an edit beside its controls, shows refusal"
    )
