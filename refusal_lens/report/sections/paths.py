"""Ways of the strongest heads, the words they read, and neurons."""

from typing import Final

from refusal_lens import plots
from refusal_lens.attribution import HeadPath, HeadSources, NeuronShares, SourceRegions
from refusal_lens.report.attributed import (
    finest,
    gap_of,
    numbered,
    series,
    title_of,
    was_attributed,
)
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.paths import NEURONS, PATH, REGIONS, SOURCES, SOURCES_TWIN
from refusal_lens.tables.paths import regions_table, seen_in

_NOT_BY_TOKEN: Final = "this model's heads are no sums over the tokens that they read"
_NO_NEURONS: Final = "this model's MLPs are no sums over neurons, or there are fewer than two pairs"
_NAMES: Final = ("head_paths", "head_sources", "head_regions", "mlp_neurons")


def _parts(run: Run) -> Parts:
    stages = list(dict.fromkeys(finest(run, stage) for stage in numbered(run, "paths")))
    paths, seen = dict[str, list[HeadPath]](), ""
    neurons: list[NeuronShares] = []
    sources: list[tuple[HeadSources, HeadSources, SourceRegions]] = []
    for stage in stages:
        head_paths = series(run, PATH.of(stage))
        regions = run.get(REGIONS.of(stage))
        read = [run.get(key.of(stage)) for key in (SOURCES, SOURCES_TWIN)]
        if head_paths:
            category = head_paths[0].target.category
            paths[category] = head_paths
            seen = seen or f"{title_of(run, category).capitalize()}: {seen_in(head_paths, regions)}"
        if regions is not None and read[0] is not None and read[1] is not None:
            sources.append((read[0], read[1], regions))
        neurons += series(run, NEURONS.of(stage))
    n = f"a menu of {len(paths)} categories" if len(paths) > 1 else "one category"
    missing = dict.fromkeys(_NAMES, run.why(gap_of(run, "paths")))
    parts: Parts = {"head_paths_seen": "", **missing}
    if paths:
        parts["head_paths"] = Figure(
            plots.plot_paths(paths, titles=run.titles),
            f"What each strongest head changes, directly and through later parts; {n}",
        )
        parts["head_paths_seen"] = seen
        parts["head_sources"] = run.lacking(stages[0], _NOT_BY_TOKEN)
        parts["head_regions"] = run.lacking(stages[0], _NOT_BY_TOKEN)
        parts["mlp_neurons"] = run.lacking(stages[0], _NO_NEURONS)
    if sources:
        parts["head_sources"] = Figure(
            plots.plot_sources(sources, titles=run.titles),
            f"Words of one prompt and of its twin that the strongest heads read; {n}",
        )
        parts["head_regions"] = regions_table([r for *_, r in sources], titles=run.titles)
    if neurons:
        parts["mlp_neurons"] = Figure(
            plots.plot_neurons(neurons, titles=run.titles),
            f"The neurons that write most in the strongest MLP; {n}",
        )
    return parts


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Paths of heads, words that they read",
            "test",
            "in the hover",
            "t interval over pairs",
            "a random vector of equal length; the benign twins",
        ),
        (
            "Neurons",
            "test",
            "in the hover",
            "t interval over pairs",
            "the largest neuron under random signs",
        ),
    )


SECTION: Final = Section(
    id="paths",
    title="Paths of the strongest heads",
    group="parts",
    place=40,
    parts=_parts,
    methods=_methods,
    shown=was_attributed,
)
