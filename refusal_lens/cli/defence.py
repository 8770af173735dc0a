"""`refusal-lens defence`: how much refusal is left as ever more directions are ablated."""

from typing import Annotated

import typer
from rich.console import Console

from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import bars
from refusal_lens.cli.run_options import DefaultRun, print_path, run_folder
from refusal_lens.cli.study_options import words_of

out = Console()
err = Console(stderr=True)


def defence(
    run: DefaultRun = None,
    directions: Annotated[
        str,
        typer.Option(help="Which are ablated, comma-separated: deflation, som, whitened."),
    ] = "deflation",
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Ablate 1 to k refusal directions in a finished run, and write its report again.

    Refusal of harmful and benign prompts, nonsense and damage with the span of the first
    directions ablated at every layer, beside random spans of the same dimension; refusal at
    matched over-refusal and at matched damage. By deflation each direction is the mean difference
    that is left while those before it are ablated. Stopped at any moment, the same command goes on
    from there.

    Examples:

      refusal-lens defence

      refusal-lens defence runs/mine --directions deflation,som
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.report.page import write_report
    from refusal_lens.study import run_defence
    from refusal_lens.study.stages.ladder import READING, stage_name
    from refusal_lens.tables.ladder import ladder_summary_table

    run = run_folder(run)
    names = words_of(directions, "--directions")
    placement = placement_of(device, dtype, batch_size, device_map)
    with bars(out, err) as shown:
        results = run_defence(run, shown, placement, directions=names)
    readings = [results.find(READING.of(stage_name(name))) for name in names]
    measured = [reading for reading in readings if reading is not None]
    if measured:
        out.print(to_rich(ladder_summary_table(measured)))
    print_path(out, "report", write_report(results))
