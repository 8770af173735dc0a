"""`refusal-lens compare-estimators`: ways of finding directions side by side."""

from typing import Annotated

import typer
from rich.console import Console

from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import bars
from refusal_lens.cli.run_options import DefaultRun, print_path, run_folder
from refusal_lens.cli.study_options import words_of

out = Console()
err = Console(stderr=True)


def compare_estimators(
    run: DefaultRun = None,
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
    from refusal_lens.study import run_comparison
    from refusal_lens.study.stages.estimator_comparison import COMPARISON
    from refusal_lens.tables.estimators import estimator_summary_table

    run = run_folder(run)
    names = None if estimators is None else words_of(estimators, "--estimators")
    placement = placement_of(device, dtype, batch_size, device_map)
    with bars(out, err) as shown:
        results = run_comparison(run, shown, placement, estimators=names)
    comparison = results.find(COMPARISON)
    if comparison is not None:
        out.print(to_rich(estimator_summary_table(comparison)))
    print_path(out, "report", write_report(results))
