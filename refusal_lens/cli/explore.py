"""The command that opens a page to play with a model. Argument handling only."""

import webbrowser
from typing import Annotated

import typer
from rich.console import Console

from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import prepare_weights
from refusal_lens.cli.run_options import DefaultRun


def explore(
    run: DefaultRun = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Without RUN: the model whose default study is meant. With it: another model than "
            "the run's, under the run's directions."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 is any that is free.")
    ] = 0,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Open a page to play with a run's model: edits, answers side by side, random controls.

    Served on 127.0.0.1 alone, until Ctrl+C. Needs the extra `explorer`.

    Examples:

      refusal-lens explore runs/qwen-coder-0.5b-seed0 --open

      refusal-lens explore --model smollm2-planted --port 8000
    """
    from refusal_lens.explorer import explore_run
    from refusal_lens.explorer.opening import require_server
    from refusal_lens.model import load_model
    from refusal_lens.study import Results, Study

    out = Console()
    require_server()
    default = Study() if model is None else Study(source=model)
    results = Results.open(default.default_folder() if run is None else run)
    placement = placement_of(device, dtype, batch_size, device_map)
    other = None
    if model is not None and run is not None:
        prepare_weights(model, Console(stderr=True))
        other = load_model(model, placement=placement)
    with explore_run(results, model=other, placement=placement, port=port) as explorer:
        out.print(f"explorer: {explorer.url} (Ctrl+C ends it)", markup=False, highlight=False)
        if browser:
            webbrowser.open(explorer.url)
        try:
            explorer.wait()
        except KeyboardInterrupt:
            out.print("ended", highlight=False)
