"""Commands that read finished runs: report, directions, geometry, findings. Arguments only."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from refusal_lens.cli.run_options import print_path

out = Console()

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder made by `study`.")]


def report(run: RunFolder) -> None:
    """Write RUN/report.html again from the records of a run.

    Example: refusal-lens report runs/qwen-coder-0.5b-seed0
    """
    from refusal_lens.report.page import write_report
    from refusal_lens.study import Results

    path = write_report(Results.open(run))
    print_path(out, "report", path)


def directions(
    run: RunFolder,
    layer: Annotated[
        int | None, typer.Option(help="Layer (block input); the chosen one by default.")
    ] = None,
) -> None:
    """Print the directions of a run at one layer: length, reliability, n.

    Example: refusal-lens directions runs/qwen-coder-0.5b-seed0 --layer 15
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.study import Results
    from refusal_lens.tables.geometry import lengths_table

    out.print(to_rich(lengths_table(Results.open(run), layer)))


def geometry(
    run: RunFolder,
    layer: Annotated[
        int | None, typer.Option(help="Layer (block input); the chosen one by default.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="CSV of every layer; RUN/geometry.csv by default.")
    ] = None,
) -> None:
    """Print the cosines of a run at one layer with what they are judged by; write all as CSV.

    "not 0": the interval leaves out 0, so the two are not orthogonal. "not 1": they differ in
    direction; "open" says that the data leave the question open.

    Example: refusal-lens geometry runs/qwen-coder-0.5b-seed0 --layer 15
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.study import Results
    from refusal_lens.study.layer import chosen_layer
    from refusal_lens.tables.geometry import GeometryTables

    results = Results.open(run)
    tables = GeometryTables.of(results)
    shown = chosen_layer(results) if layer is None else layer
    out.print(to_rich(tables.of_pairs(shown)), to_rich(tables.of_categories(shown)))
    path = tables.write_csv(run / "geometry.csv" if csv is None else csv)
    print_path(out, "every layer", path)


def findings(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, in order.")],
    into: Annotated[
        Path | None, typer.Option(help="A Markdown page with the two marks to write between.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="The claims of the papers alone.")] = False,
) -> None:
    """Write what runs found as a table in Markdown: a claim per row, a run per column.

    Example: refusal-lens findings runs/qwen-coder-0.5b-seed0 --into data/models/qwen-coder-0.5b.md
    """
    from refusal_lens.report.findings import findings as findings_of
    from refusal_lens.report.findings import write_findings
    from refusal_lens.report.run import Run
    from refusal_lens.study import Results

    opened = [Run(Results.open(run)) for run in runs]
    if into is None:
        out.print(findings_of(opened, short=short), markup=False, highlight=False, soft_wrap=True)
        return
    write_findings(opened, into, short=short)
    print_path(out, "written", into)
