"""The attribution stages about single parts: paths, sources and neurons; and what goes when cut."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, final

from refusal_lens.attribution import (
    Attribution,
    Component,
    Cuts,
    Decomposition,
    HeadSources,
    Pair,
    decompose,
    head_paths,
    head_sources,
    knock_out,
    mlp_neurons,
    pairs_of,
    source_regions,
)
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.progress import Progress
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.study.attribution_stages import (
    Reach,
    held_out,
    scored_categories,
    scores_of,
    twins_only,
)
from refusal_lens.study.fitted import category_set, direction_at, pooled_set
from refusal_lens.study.stages import Bench, Gap, Records

POOLED: Final = "pooled"
POOLED_PAIRS: Final = 3  # of each category, where writers of the pooled direction go out


@final
@dataclass(frozen=True)
class Trail:
    """How many of a category's strongest heads and MLPs are followed, on how many test pairs."""

    heads: int = 3
    pairs: int = 6
    mlps: int = 1

    @classmethod
    def full(cls) -> "Trail":
        """More of each."""
        return cls(8, 16, 4)


def paths(bench: Bench, tick: Progress, *, category: str, trail: Trail) -> Records:
    """A category's strongest heads followed to its direction and back to the words they read.

    Sources and neurons are left out where the model has none: attention with sinks, experts.
    """
    direction, found = _own(bench, category)
    writers = found.writers()
    heads = [c for c in writers if c.kind == "head"][: trail.heads]
    mlps = [c for c in writers if c.kind == "MLP"][: trail.mlps]
    pairs = path_pairs(bench, category, trail)
    seed = bench.study.seed
    followed = head_paths(bench.model, pairs, heads, direction, seed=seed, progress=tick)
    records: Records = {f"path_{i}": path for i, path in enumerate(followed)}
    with suppress(InputError):
        records |= _sources(bench, pairs, heads, direction, tick)
    prompts = own_prompts(bench, category)
    for i, mlp in enumerate(mlps):
        with suppress(InputError):
            records[f"neurons_{i}"] = mlp_neurons(
                bench.model, prompts, direction, mlp.layer, seed=seed, progress=tick
            )
    return records


def knocked_out(bench: Bench, tick: Progress, *, category: str, replacement: str) -> Records:
    """One category's strongest writers replaced one after another, on prompts of `test`."""
    direction, found = _own(bench, category)
    prompts = own_prompts(bench, category)
    score = scores_of(bench, [category])[category]
    cuts = Cuts(replacement=replacement, seed=bench.study.seed)
    progress = partial(_half, tick, len(prompts))
    curve = knock_out(bench.model, prompts, direction, found, score, cuts=cuts, progress=progress)
    return {"curve": curve}


def knocked_out_pooled(bench: Bench, tick: Progress) -> Records:
    """The strongest writers of the direction pooled over categories, in all scored ones."""
    pooled = pooled_set(bench.results)
    direction = direction_at(pooled, pooled.categories[0], bench.chosen_layer())
    renamed = PromptSet(tuple(replace(p, category=direction.category) for p in bench.train))
    found = decompose(bench.model, renamed, [direction], progress=tick)
    prompts = pooled_prompts(bench)
    curve = knock_out(
        bench.model,
        prompts,
        direction,
        found.attribution(direction.category),
        scores_of(bench, prompts.categories)[prompts.categories[0]],
        cuts=Cuts(seed=bench.study.seed),
        progress=partial(_half, tick, len(prompts)),
    )
    return {"decomposition": found, "curve": curve}


def path_pairs(bench: Bench, category: str, trail: Trail) -> tuple[Pair, ...]:
    """A category's test pairs, of equal token length where there are two or more."""
    test = twins_only(bench.prompts.only(split="test", category=category))
    with suppress(InputError):
        found = pairs_of(bench.model, test, most=trail.pairs)
        if len(found) > 1:
            return found
    try:
        return pairs_of(bench.model, test, most=trail.pairs, equal_length=False)
    except InputError as error:
        raise Gap(str(error)) from None


def own_prompts(bench: Bench, category: str) -> PromptSet:
    """The test prompts of a category that knock-outs and neurons read."""
    return held_out(bench, Reach()).only(category=category)


def pooled_prompts(bench: Bench) -> PromptSet:
    """A few test pairs of each category whose first token can be trusted."""
    categories = scored_categories(bench)
    if not categories:
        raise Gap("in no category does the first token tell refusals from answers")
    return bench.split("test", POOLED_PAIRS).only(category=categories)


def _own(bench: Bench, category: str) -> tuple[Direction, Attribution]:
    """A category's direction at the chosen layer, and what every part writes along it."""
    directions = category_set(bench.results)
    found = bench.results.get("attribution", "decomposition", Decomposition)
    direction = direction_at(directions, category, bench.chosen_layer())
    try:
        return direction, found.attribution(category)
    except InputError as error:
        raise Gap(str(error)) from None


def _sources(
    bench: Bench,
    pairs: Sequence[Pair],
    heads: Sequence[Component],
    direction: Direction,
    tick: Progress,
) -> Records:
    """The first pair's tokens, and all pairs' regions, as the heads read them."""
    sides: dict[str, list[HeadSources]] = {"refuse": [], "comply": []}
    for pair in pairs:
        for label, own in sides.items():
            own.append(head_sources(bench.model, _side(bench, pair, label), direction))
            tick(1)
    refuse, comply = sides.values()
    chat = bench.model.chat
    template = (len(chat.prefix_ids), chat.n_post)
    category = pairs[0].category
    regions = source_regions(refuse, comply, heads, category=category, template=template)
    return {"sources": refuse[0], "sources_twin": comply[0], "regions": regions}


def _side(bench: Bench, pair: Pair, label: str) -> Prompt:
    test = bench.prompts.only(split="test", category=pair.category)
    return next(p for p in test if p.label == label and (p.pair or p.id) == pair.name)


def _half(tick: Progress, n_prompts: int, n: int) -> None:
    """Passes over the refuse-side half of paired prompts, counted in prompts."""
    tick(n * n_prompts // 2)
