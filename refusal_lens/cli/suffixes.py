"""`refusal-lens suffixes`: what texts behind the prompts of a finished run do to refusal."""

from typing import Annotated

import typer
from rich.console import Console

from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import bars
from refusal_lens.cli.run_options import BUILT_IN, DefaultRun, print_path, run_folder

out = Console()
err = Console(stderr=True)


def suffixes(
    run: DefaultRun = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--suffixes",
            help="Text file with a suffix per line, or JSON, JSONL or CSV with `text`, `id`, "
            "`family`; by default what the run last had, at first the thirty harmless suffixes of "
            "the project, which 'built-in' gives again.",
        ),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Measure what suffixes do to refusal in a finished run, and write its report again.

    Each is put behind the run's test prompts, inside the user's turn, and compared with no suffix
    and with a neutral text of as many tokens: refusal rates, push along the run's direction,
    orthogonal shift, and how well these predict which refusals flip. Given suffixes are analysed;
    none is searched for. Stopped at any moment, the same command goes on from there.

    Examples:

      refusal-lens suffixes

      refusal-lens suffixes runs/mine --suffixes mine.txt
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.report.page import write_report
    from refusal_lens.study import run_suffixes
    from refusal_lens.study.stages.suffixes import SUFFIXES
    from refusal_lens.suffixes import load_suffixes
    from refusal_lens.tables.suffixes import families_table, predictions_table

    run = run_folder(run)
    chosen = None if file is None else load_suffixes(None if file == BUILT_IN else file)
    placement = placement_of(device, dtype, batch_size, device_map)
    with bars(out, err) as shown:
        results = run_suffixes(run, shown, placement, suffixes=chosen)
    analysis = results.find(SUFFIXES)
    if analysis is not None:
        out.print(to_rich(families_table(analysis)))
        out.print(to_rich(predictions_table(analysis)))
    print_path(out, "report", write_report(results))
