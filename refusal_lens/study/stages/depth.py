"""By layer: a probe, the logit lens, steering, and what is written."""

from dataclasses import asdict
from functools import partial
from typing import Final

from refusal_lens.attribution import (
    Decomposition,
    DepthProfile,
    depth_profile,
    logit_lens,
    probe_layers,
    promoted_tokens,
    refusal_metric,
)
from refusal_lens.attribution.logit_lens import LensProfile
from refusal_lens.attribution.probe import ProbeProfile
from refusal_lens.progress import Progress
from refusal_lens.selection import LayerCurve
from refusal_lens.study.attributed import REACH, Reach, held_out
from refusal_lens.study.fitted import Gap, category_set, direction_at
from refusal_lens.study.scored import scored_categories, trust_of
from refusal_lens.study.stage import Bench, Records, Stage


def depth(bench: Bench, tick: Progress, *, reach: Reach) -> Records:
    """By layer: a probe, the logit lens, steering, and what is written; one profile a category."""
    found = bench.results.get("attribution", "decomposition", Decomposition)
    targets = {t.category for t in found.targets}
    categories = [c for c in scored_categories(bench) if c in targets]
    if len(categories) < 2:
        raise Gap(
            f"a probe is tested on a category that it was not fitted on; only {len(categories)} "
            "has a direction and a first-token score that can be trusted"
        )
    prompts = held_out(bench, reach).only(category=categories)
    lens = logit_lens(
        bench.model, prompts, refusal_metric(trust_of(bench), categories), progress=tick
    )
    probe = probe_layers(
        bench.model,
        prompts,
        layers=bench.study.layers_of(bench.model.n_layers, reach.probe_layers),
        seed=bench.study.seed,
        progress=tick,
    )
    curve: LayerCurve | None = None
    if bench.results.has("layers", "curve"):
        curve = bench.results.get("layers", "curve", LayerCurve)
    records: Records = {"lens": lens, "probe": probe}
    directions = category_set(bench.results)
    for i, category in enumerate(categories):
        direction = direction_at(directions, category, bench.chosen_layer())
        records[f"profile_{i}"] = depth_profile(
            category,
            probe=probe,
            lens=lens,
            attribution=found.attribution(category),
            promoted=promoted_tokens(bench.model, direction, seed=bench.study.seed),
            steering=curve,
        )
    return records


def _n_probed(bench: Bench, reach: Reach) -> int:
    return len(bench.study.layers_of(bench.model.n_layers, reach.probe_layers))


def _depth(suffix: str, reach: Reach) -> Stage:
    return Stage(
        f"depth{suffix}",
        "probe, logit lens, steering and writing by layer",
        ("attribution", "directions", "score"),
        (DepthProfile, LensProfile, ProbeProfile),
        partial(depth, reach=reach),
        lambda b: len(held_out(b, reach)) + _n_probed(b, reach),
        lambda b: 3,
        after=("layers", "selection"),
        sizes=asdict(reach),
    )


STAGES: Final = tuple(_depth(suffix, reach) for suffix, reach in REACH.items())
