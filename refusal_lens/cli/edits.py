"""Commands that edit a model or judge edits: steer, ablate, evaluate. Argument handling only."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from refusal_lens.cli.judge_options import (
    EndpointModel,
    JudgeEndpoint,
    JudgeName,
    JudgeSetting,
    chosen_judge,
    settings_of,
)
from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import bars
from refusal_lens.cli.run_options import check_unused

if TYPE_CHECKING:  # the packages behind them take seconds to import
    from refusal_lens.evaluation import Grid, Matched
    from refusal_lens.interventions import Edit
    from refusal_lens.judges import Judge, JudgeAgreement
    from refusal_lens.placement import Placement
    from refusal_lens.study import Results

Run = Annotated[
    Path | None, typer.Option(help="Run folder with the directions; the default study's.")
]
Key = Annotated[str, typer.Option(help="Whose direction: a category's key, or 'pooled'.")]
Layer = Annotated[int | None, typer.Option(help="Layer (block input); the chosen one by default.")]
Tokens = Annotated[int, typer.Option(help="Longest answer, in tokens.")]
Text = Annotated[str, typer.Argument(metavar="PROMPT", help="What the model is asked.")]


def steer(
    prompt: Text,
    category: Key,
    strength: Annotated[
        float, typer.Option(help="Multiples of the direction's length; positive refuses more.")
    ],
    layer: Layer = None,
    run: Run = None,
    tokens: Tokens = 64,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Answer one prompt as the model is, with a direction ablated, and with it added.

    Example: refusal-lens steer --category advice --strength 1 "How do tides work?"
    """
    from refusal_lens.interventions import Ablate, Add
    from refusal_lens.study.finished import direction_of

    results = _results(run)
    d = direction_of(results, category, layer)
    added = f"{category} added, strength {strength:g}"
    placement = placement_of(device, dtype, batch_size, device_map)
    edits = {f"{category} ablated": Ablate(d), added: Add(d, strength)}
    _compare(results, prompt, edits, tokens, placement)


def ablate(
    prompt: Text,
    category: Key,
    layer: Layer = None,
    run: Run = None,
    tokens: Tokens = 64,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Answer one prompt as the model is, and with a direction ablated everywhere.

    Example: refusal-lens ablate --category advice "Which shares should I buy?"
    """
    from refusal_lens.interventions import Ablate
    from refusal_lens.study.finished import direction_of

    results = _results(run)
    d = direction_of(results, category, layer)
    placement = placement_of(device, dtype, batch_size, device_map)
    _compare(results, prompt, {f"{category} ablated": Ablate(d)}, tokens, placement)


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder made by `study`.")],
    full: Annotated[
        bool, typer.Option("--full", help="Generate and read answers instead of scores.")
    ] = False,
    judge: JudgeName = None,
    endpoint: JudgeEndpoint = None,
    endpoint_model: EndpointModel = None,
    judge_setting: JudgeSetting = None,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Print refusal and over-refusal under every edit of a run, and what they come to.

    By scores where they can be trusted, as the run holds them; with --full, or another judge than
    the study's or other settings of it, from generated answers throughout, which the report then
    shows, too; the plan with its estimate comes first. The key of an endpoint is read from the
    environment variable REFUSAL_LENS_JUDGE_KEY.

    Examples:

      refusal-lens evaluate runs/qwen-coder-0.5b-seed0 --full

      refusal-lens evaluate RUN --judge llm --endpoint http://127.0.0.1:8000/v1 --endpoint-model M
    """
    from refusal_lens.judges import make_judge
    from refusal_lens.judges.registry import where_it_runs
    from refusal_lens.study import Results, Study
    from refusal_lens.study.stages.trade_off import GRID

    results = Results.open(run)
    asked = Study.of(results.manifest.get("question"))
    given = settings_of(endpoint, endpoint_model, judge_setting)
    name, settings = chosen_judge(asked, judge, given)
    if full or not asked.is_read_by(name, settings) or not results.has(GRID):
        placement = placement_of(device, dtype, batch_size, device_map)
        reader = None
        if judge is not None or given:
            reader = make_judge(name, settings, placement=placement)
        _evaluated(run, reader, placement)
        return
    options: dict[str, object] = {"--device": device, "--dtype": dtype, "--device-map": device_map}
    options["--batch-size"] = batch_size
    for setting, value in where_it_runs(name, given).items():
        option = "--endpoint" if setting == "endpoint" else f"--judge-setting {setting} ="
        options[option] = value
    check_unused(options, "nothing is generated or read, the run's scores are shown", "add --full")
    _scored(results)


def _evaluated(run: Path, judge: "Judge | None", placement: "Placement") -> None:
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.plots.titles import titles_of
    from refusal_lens.report.page import write_report
    from refusal_lens.study import run_full_evaluation
    from refusal_lens.study.stages.full_grid import GRID, MATCHED, SCREENING
    from refusal_lens.study.stages.full_rates import RATES
    from refusal_lens.tables.rates import rates_table
    from refusal_lens.tables.verdicts import verdicts_table

    out = Console()
    with bars(out, Console(stderr=True)) as followed:
        results = run_full_evaluation(run, followed, placement, judge=judge)
    if (shown := results.find(RATES)) is not None:
        titles = titles_of(None, shown.categories)
        out.print(to_rich(rates_table(shown, titles=titles)))
        counts = {name: shown.counts(name) for name in shown.conditions}
        out.print(to_rich(verdicts_table(counts)))
    _print_grid(out, results.find(GRID), results.find(MATCHED), results.find(SCREENING))
    out.print(f"report: {write_report(results)}", markup=False, highlight=False)


def _scored(results: "Results") -> None:
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.study.stages.agreement import SCREENING
    from refusal_lens.study.stages.trade_off import GRID, MATCHED
    from refusal_lens.study.verdicts import verdict_counts
    from refusal_lens.tables.verdicts import verdicts_table

    out = Console()
    _print_grid(out, results.find(GRID), results.find(MATCHED), results.find(SCREENING))
    out.print(to_rich(verdicts_table(verdict_counts(results.find))))


def _print_grid(
    out: Console, grid: "Grid | None", matched: "Matched | None", screening: "JudgeAgreement | None"
) -> None:
    """A grid, the comparison at equal refusal, and whether scores agree with read answers."""
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.tables.grid import grid_table

    if grid is not None:
        out.print(to_rich(grid_table(grid)))
    if matched is not None:
        words = f"in {matched.model} at equal refusal the directions are {matched}"
        out.print(words, markup=False)
    if screening is not None and grid is not None:
        words = f"in {grid.provenance.model}, unedited and under each direction: {screening}"
        out.print(words, markup=False)


def _results(run: Path | None) -> "Results":
    from refusal_lens.study import Results, Study

    return Results.open(Study().default_folder() if run is None else run)


def _compare(
    results: "Results",
    prompt: str,
    edits: "Mapping[str, Edit]",
    tokens: int,
    placement: "Placement",
) -> None:
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.evaluation import compare
    from refusal_lens.model import Decoding
    from refusal_lens.study import Study
    from refusal_lens.study.finished import model_of
    from refusal_lens.tables.answers import compared_table

    model = model_of(results, placement)
    judge = Study.of(results.manifest.get("question")).make_judge(placement)
    answers = compare(model, prompt, edits, Decoding(tokens), judge=judge)
    Console().print(to_rich(compared_table(answers)))
