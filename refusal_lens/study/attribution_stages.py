"""The stages of attribution: what writes refusal, what causes it, and at which depth.

They are no part of the study's own plan: `refusal_lens.study.attribute` runs them in its folder.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, final

from refusal_lens.attribution import (
    AttributionPatch,
    Decomposition,
    Pair,
    PatchSite,
    Score,
    attribution_patch,
    component_matrix,
    decompose,
    depth_profile,
    head_sites,
    logit_lens,
    opening_score_of,
    pairs_of,
    patch,
    patch_agreement,
    probe_layers,
    promoted_tokens,
    refusal_metric,
    shared_offsets,
    stream_sites,
    token_maps,
    writer_sites,
)
from refusal_lens.attribution.components import Anatomy
from refusal_lens.errors import InputError
from refusal_lens.geometry import Geometry, matrix_correlation
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import Decoding, allow_transfer
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.pairing import is_drawn
from refusal_lens.selection import LayerCurve
from refusal_lens.study.fitted import category_set, direction_at
from refusal_lens.study.geometry_stages import control_model
from refusal_lens.study.stages import Bench, Gap, Records, own_directions

ANSWER_TOKENS: Final = 24


@final
@dataclass(frozen=True)
class Reach:
    """How much is patched and probed: pairs a category, layers, and whole prompts or their ends.

    `whole` patches each head, too, and every token of the prompts.
    """

    patch_pairs: int = 8
    stream_layers: int = 3
    probe_pairs: int = 10
    probe_layers: int = 10
    whole: bool = False

    @classmethod
    def full(cls) -> "Reach":
        """The whole maps."""
        return cls(16, 1_000_000, 1_000_000, 1_000_000, whole=True)


def attribution(bench: Bench, tick: Progress) -> Records:
    """Every part's share in each category's direction at the chosen layer, and across them."""
    directions = own_directions(bench, bench.chosen_layer())
    found = decompose(bench.model, bench.train, directions, progress=tick)
    records: Records = {"decomposition": found}
    # One category only, or too few of them to permute: the report says so.
    with suppress(InputError):
        matrix = component_matrix([found.attribution(d.category) for d in directions])
        records["matrix"] = matrix
        geometry = bench.results.get("geometry", "intended", Geometry)
        rows = [geometry.categories.index(c) for c in matrix.categories]
        naive = geometry.naive[geometry.sites.index(directions[0].site)][rows][:, rows]
        seed = bench.study.seed
        records["correlation"] = matrix_correlation(matrix.similarity, naive, seed=seed)
    return records


def attribution_control(bench: Bench, tick: Progress) -> Records:
    """The control model's parts along the same directions: what the prompts' texts alone do."""
    plain, model = control_model(bench), bench.model
    if (plain.d_model, plain.n_layers) != (model.d_model, model.n_layers):
        raise Gap("the control model has another width or depth: it has no such directions")
    directions = own_directions(bench, bench.chosen_layer())
    with allow_transfer():  # what the control writes along the study's directions is the question
        return {"decomposition": decompose(plain, bench.train, directions, progress=tick)}


def patching(bench: Bench, tick: Progress, *, reach: Reach) -> Records:
    """Patches between refuse-side prompts and their twins, real ones and first-order estimates."""
    pairs, model = patch_pairs(bench, reach), bench.model
    offsets = patch_offsets(bench, reach)
    metric = scores_of(bench, [p.category for p in pairs])
    heads = head_sites(Anatomy(model.backend), range(model.n_layers))
    others = patch_sites(bench, reach)
    sites = (*heads, *others) if not reach.whole else others
    fast = attribution_patch(model, pairs, sites, metric, offsets=offsets, progress=tick)
    real = patch(model, pairs, others, metric, offsets=offsets, progress=tick)
    return {
        "fast": fast,
        "patches": real,
        "agreement": patch_agreement(_at(fast, others), real),
    }


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
        bench.model, prompts, refusal_metric(_trust(bench), categories), progress=tick
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


def answer_maps(bench: Bench, tick: Progress, *, category: str) -> Records:
    """One refuse-side prompt and the model's answer, token by layer, along every direction."""
    found = category_set(bench.results)
    asked = bench.prompts.only(split="test", label="refuse", category=category)
    prompt = asked.prompts[0]
    (answer,) = bench.model.generate_ids(PromptSet((prompt,)), Decoding(ANSWER_TOKENS))
    order = (category, *(c for c in found.categories if c != category))
    maps = token_maps(bench.model, prompt, found, order, answer=answer)
    tick(1)
    return {f"map_{i}": m for i, m in enumerate(maps)}


def scored_categories(bench: Bench) -> tuple[str, ...]:
    """Categories of the test prompts in which the first token stands for a verdict."""
    if not bench.results.has("score", "trust"):
        return ()
    trusted = _trust(bench).trusted()
    return tuple(c for c in bench.prompts.only(split="test").categories if c in trusted)


def patched_categories(bench: Bench) -> tuple[str, ...]:
    """Categories of the test prompts in which the first token or openings stand for a verdict."""
    if not bench.results.has("score", "trust"):
        return ()
    mode = _trust(bench).mode
    kept = ("first token", "opening")
    return tuple(c for c in bench.prompts.only(split="test").categories if mode.get(c) in kept)


def scores_of(bench: Bench, categories: Sequence[str]) -> dict[str, Score]:
    """Each category's score: the first token's or its own openings'.

    Raises:
        Gap: a category of which only generation can say whether it was refused.
    """
    trust = _trust(bench)
    opened = [c for c in dict.fromkeys(categories) if trust.mode.get(c) == "opening"]
    rest = [c for c in dict.fromkeys(categories) if c not in opened]
    found: dict[str, Score] = {c: opening_score_of(trust, c) for c in opened}
    try:
        return found | dict.fromkeys(rest, refusal_metric(trust, rest))
    except InputError as error:
        raise Gap(str(error)) from None


def twins_only(prompts: PromptSet) -> PromptSet:
    """The prompts, none of whose pairs was drawn at random.

    Raises:
        Gap: one was.
    """
    if any(is_drawn(p) for p in prompts):
        raise Gap(
            "patching puts one prompt's activations into its twin, and pairs of these prompts were "
            "drawn at random; give each refuse-side prompt a benign twin (`pair`)"
        )
    return prompts


def patch_pairs(bench: Bench, reach: Reach) -> tuple[Pair, ...]:
    """Test pairs of equal token length; where there is none, pairs that share only their end."""
    categories = patched_categories(bench)
    if not categories:
        raise Gap(
            "in no category does the first token, or an opening, tell refusals from answers: "
            "patching reads them"
        )
    test = twins_only(bench.prompts.only(split="test", category=categories))
    with suppress(InputError):
        return pairs_of(bench.model, test, most=reach.patch_pairs)
    try:
        return pairs_of(bench.model, test, most=reach.patch_pairs, equal_length=False)
    except InputError as error:
        raise Gap(str(error)) from None


def patch_offsets(bench: Bench, reach: Reach) -> tuple[int, ...]:
    """The template's end, or all that pairs of equal length share."""
    pairs = patch_pairs(bench, reach)
    if reach.whole and all(p.equal_length for p in pairs):
        return shared_offsets(bench.model, pairs)
    return bench.model.chat.offsets


def patch_sites(bench: Bench, reach: Reach) -> tuple[PatchSite, ...]:
    """What is really patched: blocks at all offsets, the stream at each; with `whole` heads too."""
    model = bench.model
    layers = bench.study.layers_of(model.n_layers, reach.stream_layers)
    known = model.backend.hook_names()  # a block of a state space alone has no MLP
    sites = (
        *(s for s in writer_sites(range(model.n_layers)) if s.hook_name in known),
        *stream_sites(layers, patch_offsets(bench, reach)),
    )
    return (
        (*head_sites(Anatomy(model.backend), range(model.n_layers)), *sites)
        if reach.whole
        else sites
    )


def held_out(bench: Bench, reach: Reach) -> PromptSet:
    """The test prompts that probes, lens and knock-outs read."""
    return bench.split("test", reach.probe_pairs)


def _at(fast: AttributionPatch, sites: tuple[PatchSite, ...]) -> AttributionPatch:
    """The estimates at these sites only."""
    columns = [fast.sites.index(s) for s in sites]
    return replace(fast, sites=sites, estimate=fast.estimate[:, columns])


def _trust(bench: Bench) -> ScoreTrust:
    return bench.results.get("score", "trust", ScoreTrust)
