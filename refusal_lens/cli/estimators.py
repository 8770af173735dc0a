"""`refusal-lens compare-estimators`: ways of finding directions side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import bars
from refusal_lens.cli.study_options import words_of

out = Console()
err = Console(stderr=True)


def compare_estimators(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="A run folder; that of the default study if none."),
    ] = None,
    estimators: Annotated[
        str | None,
        typer.Option(help="Names, comma-separated; all but the slow ones by default."),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Compare ways of finding directions in a finished run, and write its report again.

    Each is fitted on the run's prompts at its chosen layer, and measured on others: reliability,
    cosine to the mean difference, held-out separation, refusal removed and added, cost, transfer
    to categories left out; three controls beside them. Stopped at any moment, the same command
    goes on from there. An unknown name lists what there is.

    Examples:

      refusal-lens compare-estimators

      refusal-lens compare-estimators runs/mine --estimators median_difference,linear_discriminant
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.report.page import write_report
    from refusal_lens.study import Study, run_comparison
    from refusal_lens.study.stages.estimator_comparison import COMPARISON
    from refusal_lens.tables.estimators import summary_table

    run = Path(Study().default_folder()) if run is None else run
    names = None if estimators is None else words_of(estimators, "--estimators")
    placement = placement_of(device, dtype, batch_size, device_map)
    with bars(out, err) as shown:
        results = run_comparison(run, shown, placement, estimators=names)
    comparison = results.find(COMPARISON)
    if comparison is not None:
        out.print(to_rich(summary_table(comparison)))
    out.print(f"report: {escape(str(write_report(results)))}", highlight=False, soft_wrap=True)
