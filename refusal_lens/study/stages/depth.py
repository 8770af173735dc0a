"""By layer: a probe, the logit lens, steering, and what is written."""

from dataclasses import asdict
from functools import partial
from typing import Final

from refusal_lens.attribution import (
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
from refusal_lens.study.attributed import REACH, Reach, held_out
from refusal_lens.study.fitted import Gap, category_set, direction_at
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.scored import scored_categories, trust_of
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.attribution import DECOMPOSITION
from refusal_lens.study.stages.layers import CURVE

LENS: Final = Key("depth", "lens", LensProfile)
PROBE: Final = Key("depth", "probe", ProbeProfile)
PROFILE: Final = Key("depth", "profile", DepthProfile)


def depth(bench: Bench, tick: Progress, *, reach: Reach) -> Records:
    """By layer: a probe, the logit lens, steering, and what is written; one profile a category."""
    decomposition = bench.results.get(DECOMPOSITION)
    targets = {t.category for t in decomposition.targets}
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
        layers=_probed(bench, reach),
        seed=bench.study.seed,
        progress=tick,
    )
    curve = bench.results.find(CURVE)
    records: Records = {LENS: lens, PROBE: probe}
    directions = category_set(bench.results)
    for i, category in enumerate(categories):
        direction = direction_at(directions, category, chosen_layer(bench.results))
        records[PROFILE.at(i)] = depth_profile(
            category,
            probe=probe,
            lens=lens,
            attribution=decomposition.attribution(category),
            promoted=promoted_tokens(bench.model, direction, seed=bench.study.seed),
            steering=curve,
        )
    return records


def _stage(suffix: str, reach: Reach) -> Stage:
    return Stage(
        f"depth{suffix}",
        "probe, logit lens, steering and writing by layer",
        run=partial(depth, reach=reach),
        work=lambda b: Work(len(held_out(b, reach)) + len(_probed(b, reach)), 3),
        writes=(PROFILE, LENS, PROBE),
        needs=("attribution", "directions", "score"),
        after=("layers", "selection"),
        parameters=asdict(reach),
        plan="attribution",
        family="depth",
        asked_for=lambda full, shown: full == reach.whole,
        place=370,
    )


def _probed(bench: Outline, reach: Reach) -> tuple[int, ...]:
    return bench.study.layers_of(bench.shape.n_layers, reach.probe_layers)


STAGES: Final = tuple(_stage(suffix, reach) for suffix, reach in REACH.items())
