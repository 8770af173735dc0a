"""The options that say where a command's model runs, the same for every command that loads one."""

from typing import TYPE_CHECKING, Annotated

import typer

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
BatchSize = Annotated[
    int | None,
    typer.Option(help="Prompts at a time (64); halved when memory runs out, numbers unchanged."),
]


def placement_of(device: str | None, dtype: str | None, batch_size: int | None) -> "Placement":
    """Where the model runs, checked before anything is loaded.

    Raises:
        InputError: a device that this machine lacks, an unknown dtype, no prompt at a time.
    """
    from refusal_lens.placement import AUTO, Placement

    default = Placement()
    rows = default.batch_size if batch_size is None else batch_size
    placement = Placement(dtype or AUTO, device, batch_size=rows)
    placement.torch_device()
    return placement
