"""Commands that edit a model or judge edits: steer, ablate, evaluate. Argument handling only."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

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
    judge: Annotated[
        str, typer.Option(help="Who reads answers: refusal, phrase, substring, llm, ...")
    ] = "refusal",
    endpoint: Annotated[
        str | None, typer.Option(help="Address of the llm judge, http://HOST:PORT/v1.")
    ] = None,
    endpoint_model: Annotated[str, typer.Option(help="Its model's name there.")] = "judge",
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
) -> None:
    """Print refusal and over-refusal under every edit of a run, and what they come to.

    By scores where they can be trusted, as the run holds them; with --full, or another --judge,
    from generated answers throughout, which the report then shows, too; the plan with its estimate
    comes first. The key of an endpoint is read from the environment variable
    REFUSAL_LENS_JUDGE_KEY.

    Examples:

      refusal-lens evaluate runs/qwen-coder-0.5b-seed0 --full

      refusal-lens evaluate RUN --judge llm --endpoint http://127.0.0.1:8000/v1 --endpoint-model M
    """
    from refusal_lens.errors import InputError
    from refusal_lens.judges import Endpoint, JudgeSettings, make_judge
    from refusal_lens.study import Results

    results = Results.open(run)
    if endpoint is not None and not judge.startswith("llm"):
        raise InputError(f"--endpoint belongs to --judge llm; the judge is {judge!r}")
    if full or judge != "refusal" or not results.has("trade_off", "grid"):
        where = None if endpoint is None else Endpoint(endpoint, endpoint_model)
        placement = placement_of(device, dtype, batch_size)
        # The precision is that of the model that answers; a local judge keeps its own.
        settings = JudgeSettings(endpoint=where, placement=replace(placement, dtype="auto"))
        _evaluated(run, make_judge(judge, settings), placement)
    else:
        _scored(results)


def _evaluated(run: Path, judge: "Judge", placement: "Placement") -> None:
    from refusal_lens.cli import evaluation_tables as tables
    from refusal_lens.evaluation import Grid, SideBySide
    from refusal_lens.judges import Agreement
    from refusal_lens.report.page import write_report
    from refusal_lens.study import run_full_evaluation
    from refusal_lens.study.stages.full_grid import GRID
    from refusal_lens.study.stages.full_rates import RATES

    out = Console()
    with bars(out, Console(stderr=True)) as followed:
        results = run_full_evaluation(run, judge, followed, placement)
    if results.has(RATES, "evaluation"):
        shown = results.get(RATES, "evaluation", SideBySide)
        out.print(tables.rates_table(shown))
        out.print(tables.verdicts_table({e.condition: e.counts() for e in shown.conditions}))
    if results.has(GRID, "grid"):
        _told_of_grid(out, results, GRID)
    if results.has(GRID, "screening"):
        found = results.get(GRID, "screening", Agreement)
        model = results.get(GRID, "grid", Grid).provenance.model
        out.print(tables.agreement_line(found, model), markup=False)
    out.print(f"report: {write_report(results)}", markup=False, highlight=False)


def _scored(results: "Results") -> None:
    from refusal_lens.cli import evaluation_tables as tables
    from refusal_lens.evaluation import Grid
    from refusal_lens.judges import Agreement
    from refusal_lens.study.verdicts import held_verdicts

    out = Console()
    _told_of_grid(out, results, "trade_off")
    if results.has("agreement", "screening"):
        found = results.get("agreement", "screening", Agreement)
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
    from refusal_lens.model import Decoding
    from refusal_lens.study.finished import model_of

    found = model_of(results, placement).compare(prompt, edits, Decoding(tokens))
    Console().print(compared_table(found))
