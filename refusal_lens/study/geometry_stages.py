"""The stages that compare directions: geometry, its control, its structure and its contrasts."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import DirectionSet, fit_mean_difference, fit_within_categories
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Evaluation, evaluate
from refusal_lens.geometry import (
    Frame,
    Geometry,
    PairReadings,
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
from refusal_lens.geometry.frame import twin_differences
from refusal_lens.judges import RefusalJudge
from refusal_lens.model import Decoding, LensModel, load_control, load_model
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.residuals import ResidualCache, ResidualStats, stats_of, twins
from refusal_lens.sites import Site, block_inputs
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
    with _cached(bench.model, bench.train, resid) as cache:
        records: Records = {
            "intended": fit_geometry(cache, bench.train),
            "removed": fit_geometry(cache, bench.train, frame=Frame(removed=intended)),
        }
        if len(enough) > 1:
            records["behaviour"] = fit_geometry(cache, kept.only(category=enough))
        if len(bench.train) - 2 * len(bench.train.categories) > bench.model.d_model:
            records["whitened"] = fit_geometry(cache, bench.train, frame=Frame(whitened=True))
    shuffled = exchange_labels(bench.train, bench.study.seed)
    records["shuffled"] = fit_mean_difference(_stats(bench.model, shuffled, resid).pooled())
    return records


def control(bench: Bench, tick: Progress) -> Records:
    """The same statistics in the control model, what differs, and what training changed.

    The control of planted refusals is the same model at adapter scale 0; of others, a base model
    that the study names. What changed needs one stream for both: models of the same shape.
    """
    plain = control_model(bench)
    resid = plain.residuals(bench.train, progress=tick)
    own = bench.results.get("geometry", "intended", Geometry)
    with _cached(plain, bench.train, resid) as cache:
        found = fit_geometry(cache, bench.train)
        records: Records = {
            "directions": fit_mean_difference(_stats(plain, bench.train, resid)),
            "geometry": found,
        }
        if found.sites == own.sites:
            records["comparison"] = compare(own, found)
        if plain.d_model == bench.model.d_model and found.sites == own.sites:
            with _cached(bench.model, bench.train, bench.train_resid(tick)) as trained:
                frame = Frame(minus=cache)
                records["change"] = fit_geometry(trained, bench.train, frame=frame)
    return records


def structure(bench: Bench, tick: Progress) -> Records:
    """Sign-flip tests over all layers and offsets; what lies behind the matrix; the shared pool."""
    model, layer = bench.model, bench.chosen_layer()
    sites, offsets = block_inputs(model.n_layers), model.chat.offsets
    by_site: dict[str, Tensor] = {}
    by_offset: dict[str, Tensor] = {}

    def by_category() -> Generator[tuple[str, Tensor]]:
        for category in bench.train.categories:  # one at a time: every offset takes memory
            own = bench.train.only(category=category)
            resid = _post(bench, own, tick)
            differences = twin_differences(resid.double(), twins(own))
            by_site[category] = differences[:, offsets.index(-1)].clone()
            by_offset[category] = differences[:, :, layer].clone()
            yield category, differences

    provenance = model.provenance(bench.train)
    tests = separability(
        by_category(), sites=sites, offsets=offsets, provenance=provenance, seed=bench.study.seed
    )
    records: Records = {"separability": tests}
    # Too few categories with a direction at the layer, or too few pairs: the report says so.
    with suppress(InputError):
        readings = PairReadings(sites, -1, layer, offsets, by_site, by_offset)
        records["structure"] = fit_structure(readings, provenance=provenance, seed=bench.study.seed)
    resid = bench.train_resid()[:, :, [layer]]
    with _cached(model, bench.train, resid, (Site(layer),)) as cache:
        pool = bench.train.categories[0] if POOL not in bench.train.categories else POOL
        records["shared_pool"] = fit_shared_pool(cache, bench.train, pool)
    return records


def _post(
    bench: Bench, own: PromptSet, tick: Progress
) -> Float[Tensor, "prompt offset site d_model"]:
    """Some of the fitting prompts' residuals at every offset of the template."""
    kept = bench.post_resid(tick)
    if kept is None:
        return bench.model.residuals(own, offsets="post", progress=tick)
    row = {key: i for i, key in enumerate(bench.train.ids)}
    return kept[[row[key] for key in own.ids]]


POOL = "safety_core"  # Joad et al. 2026 take the benign side of WildGuardMix, their safety core


def contrasts(bench: Bench, tick: Progress) -> Records:
    """What the model did against what was asked: the four cells, contrasts between them, tests.

    Where refusals are planted, at the adapter scale at which about half of the harmful prompts are
    refused; of another model by the answers to the fitting prompts. The directions of the contrasts
    are what edits of a model that refuses by itself are made of.
    """
    model, study = half_refusing(bench), bench.study
    if model is bench.model and bench.results.has("behaviour", "train"):
        prompts, resid = bench.train, bench.train_resid(tick)
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
    records: Records = {"behaviour": read} | _by_behaviour(model, prompts, resid, refused)
    with _cached(model, prompts, resid) as cache:
        records["within"] = fit_within_tests(cache, prompts, refused, seed=study.seed)
        with suppress(InputError):  # too few prompts in too many groups: the report says so
            records["contrasts"] = fit_contrasts(cache, prompts, refused)
        with suppress(InputError):
            records["geometry"] = fit_behaviour_geometry(cache, prompts, refused)
    return records


_SOURCES = {"behaviour": BOTH, "within": WITHIN_HARMFUL, "over": WITHIN_BENIGN}


def _by_behaviour(
    model: LensModel,
    prompts: PromptSet,
    resid: Float[Tensor, "prompt offset site d_model"],
    refused: Mapping[str, bool],
) -> Records:
    """The directions of the contrasts over all categories, and each category's of the first."""
    row = {key: i for i, key in enumerate(prompts.ids)}
    records: Records = {}

    def stats(chosen: PromptSet) -> ResidualStats:
        return _stats(model, chosen, resid[[row[key] for key in chosen.ids]])

    for source, name in _SOURCES.items():
        if len(chosen := contrast_prompts(prompts, refused, name)):
            _, record = PLACES[source]
            records[record] = fit_within_categories(stats(chosen))
    if len(chosen := contrast_prompts(prompts, refused, BOTH, least=LEAST_PAIRS)):
        records["by_category"] = fit_mean_difference(stats(chosen))
    return records


def exchange_labels(prompts: PromptSet, seed: int) -> PromptSet:
    """The same prompts, the labels of each pair exchanged with probability one half.

    An unpaired prompt counts by itself.
    """
    generator = torch.Generator().manual_seed(seed)
    units = [(p.category, p.pair or p.id) for p in prompts]
    flip = {
        unit: bool(torch.randint(0, 2, (1,), generator=generator)) for unit in dict.fromkeys(units)
    }
    other: dict[Label, Label] = {"refuse": "comply", "comply": "refuse"}
    return PromptSet(
        tuple(
            replace(p, label=other[p.label]) if flip[unit] else p
            for p, unit in zip(prompts, units, strict=True)
        )
    )


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


@contextmanager
def _cached(
    model: LensModel,
    prompts: PromptSet,
    resid: Float[Tensor, "prompt offset site d_model"],
    sites: tuple[Site, ...] | None = None,
) -> Generator[ResidualCache]:
    """Residuals of the last token, by default at every block's input, while they are needed."""
    with TemporaryDirectory() as folder:
        yield ResidualCache.write(
            folder,
            resid,
            ids=prompts.ids,
            sites=block_inputs(model.n_layers) if sites is None else sites,
            offsets=(-1,),
            provenance=model.provenance(prompts),
        )


def _stats(
    model: LensModel, prompts: PromptSet, resid: Float[Tensor, "prompt offset site d_model"]
) -> ResidualStats:
    return stats_of(
        resid,
        prompts,
        sites=block_inputs(model.n_layers),
        offsets=(-1,),
        provenance=model.provenance(prompts),
    )
