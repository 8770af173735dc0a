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
from refusal_lens.cli.placement_options import BatchSize, Device, Dtype, placement_of
from refusal_lens.cli.progress import bars

if TYPE_CHECKING:  # the packages behind them take seconds to import
    from refusal_lens.interventions import Edit
    from refusal_lens.judges import Judge
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
    placement = placement_of(device, dtype, batch_size)
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
    batch_size: BatchSize = None,
) -> None:
    """Answer one prompt as the model is, and with a direction ablated everywhere.

    Example: refusal-lens ablate --category advice "Which shares should I buy?"
    """
    from refusal_lens.interventions import Ablate
    from refusal_lens.study.finished import direction_of

    results = _results(run)
    d = direction_of(results, category, layer)
    placement = placement_of(device, dtype, batch_size)
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
    batch_size: BatchSize = None,
) -> None:
    """Print refusal and over-refusal under every edit of a run, and what they come to.

    By scores where they can be trusted, as the run holds them; with --full, or another --judge
    than the study's, from generated answers throughout, which the report then shows, too; the plan
    with its estimate comes first. The key of an endpoint is read from the environment variable
    REFUSAL_LENS_JUDGE_KEY.

    Examples:

      refusal-lens evaluate runs/qwen-coder-0.5b-seed0 --full

      refusal-lens evaluate RUN --judge llm --endpoint http://127.0.0.1:8000/v1 --endpoint-model M
    """
    from refusal_lens.judges import make_judge
    from refusal_lens.study import Results, Study

    results = Results.open(run)
    asked = Study.of(results.manifest.get("question"))
    given = settings_of(endpoint, endpoint_model, judge_setting)
    name, settings = chosen_judge(asked, judge, given)
    if full or name != asked.judge or not results.has("trade_off", "grid"):
        placement = placement_of(device, dtype, batch_size)
        _evaluated(run, make_judge(name, settings, placement=placement), placement)
    else:
        _scored(results)


def _evaluated(run: Path, judge: "Judge", placement: "Placement") -> None:
    from refusal_lens.cli import evaluation_tables as tables
    from refusal_lens.evaluation import Answers, Grid
    from refusal_lens.judges import JudgeAgreement
    from refusal_lens.report.page import write_report
    from refusal_lens.study import run_full_evaluation
    from refusal_lens.study.stages.full_grid import GRID
    from refusal_lens.study.stages.full_rates import RATES

    out = Console()
    with bars(out, Console(stderr=True)) as followed:
        results = run_full_evaluation(run, followed, placement, judge=judge)
    if results.has(RATES, "evaluation"):
        shown = results.get(RATES, "evaluation", Answers)
        out.print(tables.rates_table(shown))
        out.print(tables.verdicts_table({name: shown.counts(name) for name in shown.conditions}))
    if results.has(GRID, "grid"):
        _told_of_grid(out, results, GRID)
    if results.has(GRID, "screening"):
        found = results.get(GRID, "screening", JudgeAgreement)
        model = results.get(GRID, "grid", Grid).provenance.model
        out.print(tables.agreement_line(found, model), markup=False)
    out.print(f"report: {write_report(results)}", markup=False, highlight=False)


def _scored(results: "Results") -> None:
    from refusal_lens.cli import evaluation_tables as tables
    from refusal_lens.evaluation import Grid
    from refusal_lens.judges import JudgeAgreement
    from refusal_lens.study.verdicts import held_verdicts

    out = Console()
    _told_of_grid(out, results, "trade_off")
    if results.has("agreement", "screening"):
        found = results.get("agreement", "screening", JudgeAgreement)
        model = results.get("trade_off", "grid", Grid).provenance.model
        out.print(tables.agreement_line(found, model), markup=False)
    held = held_verdicts(lambda s, n, k: results.get(s, n, k) if results.has(s, n) else None)
    out.print(tables.verdicts_table(held))


def _told_of_grid(out: Console, results: "Results", stage: str) -> None:
    from refusal_lens.cli import evaluation_tables as tables
    from refusal_lens.evaluation import Grid, Matched

    out.print(tables.grid_table(results.get(stage, "grid", Grid)))
    if results.has(stage, "matched"):
        out.print(tables.matched_line(results.get(stage, "matched", Matched)), markup=False)


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
    from refusal_lens.cli.evaluation_tables import compared_table
    from refusal_lens.evaluation import compare
    from refusal_lens.model import Decoding
    from refusal_lens.study import Study
    from refusal_lens.study.finished import model_of

    model = model_of(results, placement)
    judge = Study.of(results.manifest.get("question")).make_judge(placement)
    answers = compare(model, prompt, edits, Decoding(tokens), judge=judge)
    Console().print(compared_table(answers))
