"""The report's figures of attribution: what writes refusal, what causes it, at which depth."""

from typing import Final

from refusal_lens import plots
from refusal_lens.attribution import (
    Attribution,
    AttributionPatch,
    ComponentMatrix,
    Decomposition,
    DepthProfile,
    HeadPath,
    HeadSources,
    KnockOut,
    NeuronShares,
    PatchAgreement,
    PatchMap,
    SourceRegions,
    TokenMap,
)
from refusal_lens.geometry import MatrixCorrelation
from refusal_lens.judges import ScoreTrust
from refusal_lens.plots.attribution.depth import promoted_table
from refusal_lens.plots.attribution.patches import agreement_table
from refusal_lens.plots.attribution.paths import regions_table, seen_in
from refusal_lens.plots.attribution.writers import serving_table
from refusal_lens.plots.text import visible
from refusal_lens.report.part import Figure, Part
from refusal_lens.report.run import R, Run

_STAGES: Final = ("attribution", "patching", "patching_full", "depth", "depth_full")
_NAMES: Final = (
    ("writers", "attribution"),
    ("heads", "attribution"),
    ("component_matrix", "attribution"),
    ("serving", "attribution"),
    ("patches", "patching"),
    ("blocks", "patching"),
    ("estimates", "patching"),
    ("patch_agreement", "patching"),
    ("knock_outs", "knock_out"),
    ("head_paths", "paths"),
    ("head_sources", "paths"),
    ("head_regions", "paths"),
    ("mlp_neurons", "paths"),
    ("depth", "depth"),
    ("promoted", "depth"),
)
_NOT_BY_TOKEN: Final = "this model's heads are no sums over the tokens that they read"
_NO_NEURONS: Final = "this model's MLPs are no sums over neurons, or there are fewer than two pairs"
_FINER: Final = "_full"
_ASKED: Final = "asked_"  # before the name of a map: the prompt that it shows


def attribution_parts(run: Run) -> dict[str, Part]:
    """Figures, tables and notes, by name; `attribution_none` says that nothing was asked for."""
    if not any(run.results.digest(stage) for stage in _STAGES):
        command = f"refusal-lens attribute {run.results.folder.name}"
        none = f"Attribution was not asked for in this run; `{command}` measures it."
        return {"attribution_none": none}
    found: dict[str, Part] = {
        "attribution_none": "",
        "written_gap": "",
        "head_paths_seen": "",
        **_written(run),
        **_patched(run),
        **_knocked_out(run),
        **_followed(run),
        **_deep(run),
        **_answered(run),
        "unscored": _unscored(run),
    }
    missing = {name: run.why(_gap_of(run, stage)) for name, stage in _NAMES if name not in found}
    return found | missing


def _written(run: Run) -> dict[str, Part]:
    whole = run.get("attribution", "decomposition", Decomposition)
    if whole is None:
        return {}
    own = _attributions(whole)
    control = run.get("attribution_control", "decomposition", Decomposition)
    controls = {} if control is None else {a.category: a for a in _attributions(control)}
    shown = f"{len(own)} categories, at {own[0].target.site}"
    found: dict[str, Part] = {
        "writers": Figure(
            plots.plot_writers(own, controls, titles=run.titles),
            f"The parts that write most of a direction, with a menu of {shown}",
        ),
        "heads": Figure(
            plots.plot_heads(own, controls, titles=run.titles, names=run.names),
            f"What each head and MLP writes, layer by head, with a menu of {shown}",
        ),
    }
    if control is None:
        found["written_gap"] = run.why("attribution_control")
    matrix = run.get("attribution", "matrix", ComponentMatrix)
    if matrix is None:
        note = run.lacking("attribution", "it takes two or more categories with a direction")
        return found | dict.fromkeys(("component_matrix", "serving"), note)
    correlation = run.get("attribution", "correlation", MatrixCorrelation)
    found["component_matrix"] = Figure(
        plots.plot_component_matrix(matrix, controls, titles=run.titles, names=run.names),
        f"Shares of the strongest parts in each of {len(matrix.categories)} categories",
    )
    found["serving"] = serving_table(matrix, correlation, titles=run.titles)
    return found


def _patched(run: Run) -> dict[str, Part]:
    stage = _finest(run, "patching")
    fast = run.get(stage, "fast", AttributionPatch)
    real = run.get(stage, "patches", PatchMap)
    told = run.get(stage, "agreement", PatchAgreement)
    if fast is None or real is None or told is None:
        return {}
    n = f"{len(real.pairs)} pairs"
    return {
        "patches": Figure(
            plots.plot_patches(real, titles=run.titles),
            f"Recovery by layer and position beside its placebo, mean of {n}",
        ),
        "blocks": Figure(
            plots.plot_blocks(real, titles=run.titles),
            f"Recovery by layer for attention and MLP beside their placebo, mean of {n}",
        ),
        "estimates": Figure(
            plots.plot_estimates(fast, titles=run.titles),
            f"Estimated recovery by head, mean of {n}",
        ),
        "patch_agreement": agreement_table(told, real, titles=run.titles),
    }


def _knocked_out(run: Run) -> dict[str, Part]:
    stages = [s for cut in ("", "_zero", "_resample") for s in _numbered(run, f"knock_out{cut}")]
    curves = [
        k
        for stage in (*stages, "knock_out_pooled")
        if (k := run.get(stage, "curve", KnockOut)) is not None
    ]
    if not curves:
        return {}
    figure = plots.plot_knock_outs(curves, titles=run.titles)
    label = f"Projection and refusal score as up to {curves[0].cuts.counts[-1]} writers go out"
    return {"knock_outs": Figure(figure, label)}


def _followed(run: Run) -> dict[str, Part]:
    """Ways of the strongest heads, the words they read, and the neurons of the strongest MLPs."""
    stages = list(dict.fromkeys(_finest(run, stage) for stage in _numbered(run, "paths")))
    paths, seen = dict[str, list[HeadPath]](), ""
    neurons: list[NeuronShares] = []
    sources: list[tuple[HeadSources, HeadSources, SourceRegions]] = []
    for stage in stages:
        own = _series(run, stage, "path", HeadPath)
        regions = run.get(stage, "regions", SourceRegions)
        read = [run.get(stage, name, HeadSources) for name in ("sources", "sources_twin")]
        if own:
            category = own[0].target.category
            paths[category] = own
            seen = seen or f"{_title(run, category).capitalize()}: {seen_in(own, regions)}"
        if regions is not None and read[0] is not None and read[1] is not None:
            sources.append((read[0], read[1], regions))
        neurons += _series(run, stage, "neurons", NeuronShares)
    n = f"a menu of {len(paths)} categories" if len(paths) > 1 else "one category"
    found: dict[str, Part] = {}
    if paths:
        found["head_paths"] = Figure(
            plots.plot_paths(paths, titles=run.titles),
            f"What each strongest head changes, directly and through later parts; {n}",
        )
        found["head_paths_seen"] = seen
        found["head_sources"] = run.lacking(stages[0], _NOT_BY_TOKEN)
        found["head_regions"] = run.lacking(stages[0], _NOT_BY_TOKEN)
        found["mlp_neurons"] = run.lacking(stages[0], _NO_NEURONS)
    if sources:
        found["head_sources"] = Figure(
            plots.plot_sources(sources, titles=run.titles),
            f"Words of one prompt and of its twin that the strongest heads read; {n}",
        )
        found["head_regions"] = regions_table([r for *_, r in sources], titles=run.titles)
    if neurons:
        found["mlp_neurons"] = Figure(
            plots.plot_neurons(neurons, titles=run.titles),
            f"The neurons that write most in the strongest MLP; {n}",
        )
    return found


def _series(run: Run, stage: str, stem: str, cls: type[R]) -> list[R]:
    """Numbered records of a stage, from 0 on."""
    found: list[R] = []
    while (record := run.get(stage, f"{stem}_{len(found)}", cls)) is not None:
        found.append(record)
    return found


def _deep(run: Run) -> dict[str, Part]:
    profiles = _series(run, _finest(run, "depth"), "profile", DepthProfile)
    if not profiles:
        return {}
    return {
        "depth": Figure(
            plots.plot_depth(profiles, titles=run.titles),
            f"Probe, logit lens, steering and writing by layer; a menu of {len(profiles)} "
            "categories",
        ),
        "promoted": promoted_table(profiles, titles=run.titles),
    }


def _answered(run: Run) -> dict[str, Part]:
    """A figure for each prompt that was read, under its stage's name, with the prompt."""
    found: dict[str, Part] = {}
    for stage in _numbered(run, "answer_map"):
        if maps := _series(run, stage, "map", TokenMap):
            label = f"Tokens of one prompt and its answer by layer, along {len(maps)} directions"
            found[stage] = Figure(plots.plot_answer_maps(maps, titles=run.titles), label)
            found[f"{_ASKED}{stage}"] = visible(maps[0].prompt)
    return found or {"answer_map_0": run.why(_gap_of(run, "answer_map"))}


def _unscored(run: Run) -> str:
    """Which categories have no first-token score, and what reads them instead."""
    trust = run.get("score", "trust", ScoreTrust)
    modes = {} if trust is None else trust.mode
    left_out = [f"{_title(run, c)} ({mode})" for c, mode in modes.items() if mode != "first token"]
    return (
        ""
        if not left_out
        else f"No first token stands for a read answer in: {', '.join(left_out)}; in brackets, "
        "what does. Where openings of four tokens do, patches and knock-outs read how likely they "
        "are; a category of generation only has neither, and none of these a profile by depth."
    )


def _title(run: Run, category: str) -> str:
    return visible(run.titles.get(category, category))


def _attributions(found: Decomposition) -> list[Attribution]:
    return [found.attribution(t.category) for t in found.targets]


def _finest(run: Run, stage: str) -> str:
    """The whole maps where they were measured."""
    finer = stage + _FINER
    return finer if run.results.digest(finer) and not run.results.gap(finer) else stage


def _numbered(run: Run, stem: str) -> list[str]:
    """Stages of each category that are there, in order."""
    found = [f"{stem}_{i}" for i in range(len(run.question.get("categories") or run.titles))]
    return [s for s in found if run.results.digest(s) or run.results.digest(s + _FINER)]


def _gap_of(run: Run, stage: str) -> str:
    """The stage that says why something is missing."""
    if stage not in ("knock_out", "answer_map", "paths"):
        return _finest(run, stage)
    found = _numbered(run, stage)
    if not found:
        return stage
    return found[0] if run.results.digest(found[0]) else found[0] + _FINER
