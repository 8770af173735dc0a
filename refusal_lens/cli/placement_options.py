"""The options that say where a command's model runs, the same for every command that loads one."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from refusal_lens.errors import InputError
from refusal_lens.processes import this_process

if TYPE_CHECKING:  # PyTorch behind it takes seconds to import
    from refusal_lens.placement import Placement

Device = Annotated[
    str | None,
    typer.Option(help="'cpu', 'cuda', 'cuda:1'; by default CUDA where there is one."),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="'float32', 'bfloat16' or 'float16'; by default the run's, or the checkpoint's own."
    ),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        help="'auto': the layers of a model larger than one card over all of them (also "
        "'balanced', 'balanced_low_0', 'sequential'), in one process."
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Prompts at a time (64); halved when memory runs out."),
]

_MAPS: Final = ("auto", "balanced", "balanced_low_0", "sequential")  # accelerate's


def placement_of(
    device: str | None,
    dtype: str | None,
    batch_size: int | None,
    device_map: str | None = None,
) -> "Placement":
    """Where the model runs, checked before anything is loaded.

    Raises:
        InputError: a device that this machine lacks, an unknown dtype or device map, no prompt at
            a time; one card for several processes, or several cards for each.
    """
    from refusal_lens.placement import AUTO, Placement

    default = Placement()
    rows = default.batch_size if batch_size is None else batch_size
    if device_map is not None and device_map not in _MAPS:
        raise InputError(f"--device-map {device_map!r} is unknown; use one of {[*_MAPS]}")
    if (n := this_process().count) > 1 and ":" in (device or ""):
        raise InputError(
            f"--device {device} with {n} processes: leave the number out, each takes its own card"
        )
    placement = Placement(dtype or AUTO, device, device_map, rows)
    placement.torch_device()
    return placement
