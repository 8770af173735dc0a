"""The stages that compare directions: geometry, its control, its structure and its contrasts."""

from collections.abc import Generator, Mapping
from contextlib import suppress
from functools import partial

from refusal_lens.directions import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Evaluation, evaluate
from refusal_lens.geometry import (
    Frame,
    Geometry,
    compare,
    contrast_prompts,
    fit_behaviour_geometry,
    fit_contrasts,
    fit_geometry,
    fit_shared_pool,
    fit_structure,
    fit_within_tests,
    separability,
)
from refusal_lens.geometry.contrasts import BOTH, WITHIN_BENIGN, WITHIN_HARMFUL
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.judges import RefusalJudge
from refusal_lens.model import Decoding, LensModel, load_control, load_model
from refusal_lens.model.forward import Progress
from refusal_lens.prompts.pairing import exchange_labels
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site
from refusal_lens.study.fitted import PLACES
from refusal_lens.study.question import CONTROL_SCALE
from refusal_lens.study.stages import Bench, Gap, Records, half_refusing


def geometry(bench: Bench, tick: Progress) -> Records:
    """Cosines with reliability and intervals, by intended label and by behaviour.

    Also with the pooled direction removed, and whitened where there are prompts enough. The same
    residuals with the labels of random pairs exchanged give the shuffled-label control.
    """
    resid = bench.train_resid(tick)
    read = bench.results.get("behaviour", "train", Evaluation)
    intended = bench.results.get("directions", "pooled", DirectionSet)
    kept = read.as_intended(bench.train)
    enough = [
        c for c in kept.categories if len(kept.only(category=c, label="refuse")) >= LEAST_PAIRS
    ]
    fit = partial(fit_geometry, estimator=bench.study.estimator)
    records: Records = {
        "intended": fit(resid),
        "removed": fit(resid, frame=Frame(removed=intended)),
    }
    if len(enough) > 1:
        records["behaviour"] = fit(resid.only(prompts=kept.only(category=enough)))
    if len(bench.train) - 2 * len(bench.train.categories) > bench.model.d_model:
        records["whitened"] = fit(resid, frame=Frame(whitened=True))
    shuffled = resid.only(prompts=exchange_labels(bench.train, bench.study.seed))
    records["shuffled"] = bench.estimator.pooled(shuffled)
    return records


def control(bench: Bench, tick: Progress) -> Records:
    """The same statistics in the control model, what differs, and what training changed.

    The control of planted refusals is the same model at adapter scale 0; of others, a base model
    that the study names. What changed needs one stream for both: models of the same shape.
    """
    plain = control_model(bench)
    resid = plain.residuals(bench.train, progress=tick)
    studied = bench.results.get("geometry", "intended", Geometry)
    fit = partial(fit_geometry, estimator=bench.study.estimator)
    fitted = fit(resid)
    records: Records = {"directions": bench.fit(resid), "geometry": fitted}
    if fitted.sites == studied.sites:
        records["comparison"] = compare(studied, fitted)
        if plain.d_model == bench.model.d_model:
            records["change"] = fit(bench.train_resid(tick), frame=Frame(minus=resid))
    return records


def structure(bench: Bench, tick: Progress) -> Records:
    """Sign-flip tests over all layers and offsets; what lies behind the matrix; the shared pool."""
    layer, seed = bench.chosen_layer(), bench.study.seed
    at_layer: list[Residuals] = []

    def by_category() -> Generator[Residuals]:
        for category in bench.train.categories:  # one at a time: every offset takes memory
            prompts = bench.train.only(category=category)
            part = bench.model.residuals(prompts, offsets="post", progress=tick)
            at_layer.append(part.select(sites=[Site(layer)]))
            yield part

    kept = bench.post_resid(tick)
    records: Records = {"separability": separability(kept or by_category(), seed=seed)}
    resid = bench.train_resid()
    # Too few categories with a direction at the layer, or too few pairs: the report says so.
    with suppress(InputError):
        there = kept or Residuals.join(at_layer)
        records["structure"] = fit_structure(resid, layer, at_layer=there, seed=seed)
    categories = bench.train.categories
    pool = POOL if POOL in categories else categories[0]
    records["shared_pool"] = fit_shared_pool(resid, pool, sites=(Site(layer),))
    return records


POOL = "safety_core"  # Joad et al. 2026 take the benign side of WildGuardMix, their safety core


def contrasts(bench: Bench, tick: Progress) -> Records:
    """What the model did against what was asked: the four cells, contrasts between them, tests.

    Where refusals are planted, at the adapter scale at which about half of the harmful prompts are
    refused; of another model by the answers to the fitting prompts. The directions of the contrasts
    are what edits of a model that refuses by itself are made of.
    """
    model, study = half_refusing(bench), bench.study
    if model is bench.model and bench.results.has("behaviour", "train"):
        resid = bench.train_resid(tick)
        read = bench.results.get("behaviour", "train", Evaluation)
    else:
        prompts = bench.split("train", study.sizes.contrast_pairs)
        decoding = Decoding(study.sizes.behaviour_tokens)
        said = "none" if model is bench.model else model.name
        read = evaluate(
            model, prompts, RefusalJudge(), condition=said, decoding=decoding, progress=tick
        )
        resid = model.residuals(prompts)
    refused = read.refused()
    records: Records = {"behaviour": read} | _by_behaviour(bench, resid, refused)
    records["within"] = fit_within_tests(resid, refused, seed=study.seed)
    with suppress(InputError):  # too few prompts in too many groups: the report says so
        records["contrasts"] = fit_contrasts(resid, refused)
    with suppress(InputError):
        records["geometry"] = fit_behaviour_geometry(resid, refused)
    return records


_SOURCES = {"behaviour": BOTH, "within": WITHIN_HARMFUL, "over": WITHIN_BENIGN}


def _by_behaviour(bench: Bench, resid: Residuals, refused: Mapping[str, bool]) -> Records:
    """The directions of the contrasts over all categories, and each category's of the first."""
    prompts = resid.labelled
    records: Records = {}
    for source, name in _SOURCES.items():
        if len(chosen := contrast_prompts(prompts, refused, name)):
            _, record = PLACES[source]
            records[record] = bench.estimator.within_categories(resid.only(prompts=chosen))
    if len(chosen := contrast_prompts(prompts, refused, BOTH, least=LEAST_PAIRS)):
        records["by_category"] = bench.fit(resid.only(prompts=chosen))
    return records


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
