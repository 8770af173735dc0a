"""`refusal-lens monitor`: a detector of suppressed refusal, and what fools it."""

from rich.console import Console

from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import bars
from refusal_lens.cli.run_options import DefaultRun, print_path, run_folder

out = Console()
err = Console(stderr=True)


def monitor(
    run: DefaultRun = None,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Fit a monitor of suppressed refusal in a finished run, and write its report again.

    It reads projections at several layers while the model answers, raises an alarm where refusal
    was to be expected and is suppressed, and is tried on held-out prompts: false alarms of the
    unedited model, edits that suppress, controls, and edits made to evade it. Stopped at any
    moment, the same command goes on from there.

    Examples:

      refusal-lens monitor

      refusal-lens monitor runs/mine
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.report.page import write_report
    from refusal_lens.study import run_monitor
    from refusal_lens.study.stages.monitor import MONITOR, TRIAL
    from refusal_lens.tables.monitor import monitor_summary_table

    run = run_folder(run)
    placement = placement_of(device, dtype, batch_size, device_map)
    with bars(out, err) as shown:
        results = run_monitor(run, shown, placement)
    trial = results.find(TRIAL)
    if trial is not None:
        out.print(to_rich(monitor_summary_table(trial)))
    if results.has(MONITOR):
        stem = results.folder / "stages" / MONITOR.stage / MONITOR.name
        print_path(out, "monitor", stem)
    print_path(out, "report", write_report(results))
