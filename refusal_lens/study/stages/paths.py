"""The strongest heads and MLPs followed to the direction and back to the words they read."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Final, final

from refusal_lens.attribution import (
    Component,
    HeadPath,
    HeadSources,
    NeuronShares,
    Pair,
    SourceRegions,
    head_paths,
    head_sources,
    mlp_neurons,
    pairs_of,
    source_regions,
)
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.progress import Progress
from refusal_lens.prompts import LABELS, Label, Prompt
from refusal_lens.study.attributed import (
    FULL,
    category_prompts,
    measured,
    planned,
    twins_only,
    written,
)
from refusal_lens.study.fitted import Gap
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Outline, PerCategory, Records, Stage, Work

PATH: Final = Key("paths", "path", HeadPath)
SOURCES: Final = Key("paths", "sources", HeadSources)
SOURCES_TWIN: Final = Key("paths", "sources_twin", HeadSources)
REGIONS: Final = Key("paths", "regions", SourceRegions)
NEURONS: Final = Key("paths", "neurons", NeuronShares)


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


_TRAIL: Final = {"": Trail(), FULL: Trail.full()}
_PART: Final = 4  # passes for a pair's paths, a prompt's sources or its neurons: small batches


def paths(bench: Bench, tick: Progress, *, category: str, trail: Trail) -> Records:
    """A category's strongest heads followed to its direction and back to the words they read.

    Sources and neurons are left out where the model has none: attention with sinks, experts.
    """
    direction, attribution = written(bench, category)
    writers = attribution.writers()
    heads = [c for c in writers if c.kind == "head"][: trail.heads]
    mlps = [c for c in writers if c.kind == "MLP"][: trail.mlps]
    pairs = path_pairs(bench, category, trail)
    seed = bench.study.seed
    followed = head_paths(bench.model, pairs, heads, direction, seed=seed, progress=tick)
    records: Records = {PATH.at(i): path for i, path in enumerate(followed)}
    with suppress(InputError):
        records |= _sources(bench, pairs, heads, direction, tick)
    prompts = category_prompts(bench, category)
    for i, mlp in enumerate(mlps):
        with suppress(InputError):
            records[NEURONS.at(i)] = mlp_neurons(
                bench.model, prompts, direction, mlp.layer, seed=seed, progress=tick
            )
    return records


def path_pairs(bench: Bench, category: str, trail: Trail) -> tuple[Pair, ...]:
    """A category's test pairs, of equal token length where there are two or more."""
    test = twins_only(bench.prompts.only(split="test", category=category))
    with suppress(InputError):
        pairs = pairs_of(bench.model, test, most=trail.pairs)
        if len(pairs) > 1:
            return pairs
    try:
        return pairs_of(bench.model, test, most=trail.pairs, equal_length=False)
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
    sides: dict[Label, list[HeadSources]] = {"refuse": [], "comply": []}
    for pair in pairs:
        for label, sources in sides.items():
            sources.append(head_sources(bench.model, _side(bench, pair, label), direction))
            tick(1)
    refuse, comply = sides.values()
    chat = bench.model.chat
    template = (len(chat.prefix_ids), chat.n_post)
    category = pairs[0].category
    regions = source_regions(refuse, comply, heads, category=category, template=template)
    return {SOURCES: refuse[0], SOURCES_TWIN: comply[0], REGIONS: regions}


def _side(bench: Bench, pair: Pair, label: Label) -> Prompt:
    test = bench.prompts.only(split="test", category=pair.category)
    sides = next(both for both in test.pairs() if both[0].pair == pair.name)
    return sides[LABELS.index(label)]


def _stage(i: int, category: str, suffix: str) -> Stage:
    trail = _TRAIL[suffix]

    def work(bench: Outline) -> Work:
        pairs = planned(lambda: path_pairs(measured(bench), category, trail))
        prompts = category_prompts(bench, category)
        tasks = [
            *product(("paths", *(f"{side} sources" for side in LABELS)), pairs),
            *product(range(trail.mlps), prompts),
        ]
        return Work.over(tasks, _PART)

    return Stage(
        f"paths_{i}{suffix}",
        f"its strongest heads and MLP followed: {category}",
        run=partial(paths, category=category, trail=trail),
        work=work,
        writes=(PATH, SOURCES, SOURCES_TWIN, NEURONS, REGIONS),
        needs=("attribution", "directions"),
        after=("selection",),
        parameters=asdict(trail),
        plan="attribution",
        family="paths",
        category=category,
        asked_for=lambda full, shown: suffix == FULL if full else shown and not suffix,
        place=360,
    )


STAGES: Final = tuple(PerCategory(partial(_stage, suffix=suffix)) for suffix in _TRAIL)
