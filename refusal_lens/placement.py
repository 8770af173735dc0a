"""Where a model runs: device, precision, and how many prompts at a time."""

from dataclasses import dataclass
from typing import Any, Final, final

import torch

from refusal_lens.errors import InputError
from refusal_lens.processes import this_process

AUTO: Final = "auto"
DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@final
@dataclass(frozen=True)
class Placement:
    """Where, in which precision and with how many rows at a time a model runs.

    `dtype` is "auto" (the checkpoint's own), "float32", "bfloat16" or "float16". Give either
    `device` or an accelerate `device_map`. Without either: CUDA if there is one, else the CPU
    (never MPS by itself: it has given silently wrong logits). `batch_size` is halved when memory
    runs out; numbers depend on it by rounding alone. `packed` keeps linear layers a second time in
    the layout that oneDNN multiplies fastest, where that pays (float32 on AMD CPUs with AVX-512; no
    recurrent models) and memory allows: numbers differ by rounding.

    Raises:
        InputError: an unknown dtype or device, or no row at all.

    >>> Placement(device="cpu", dtype="float32", batch_size=8).torch_device()
    device(type='cpu')
    """

    dtype: str = AUTO
    device: str | None = None
    device_map: str | dict[str, str | int] | None = None
    batch_size: int = 64
    packed: bool = True

    def __post_init__(self) -> None:
        if self.dtype != AUTO and self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r} is unknown; use 'auto' or one of {[*DTYPES]}")
        if self.device and self.device_map:
            raise InputError("give either device or device_map, not both")
        if self.device:
            _device(self.device)
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; give 1 or more")

    def torch_device(self) -> torch.device:
        """The device named, or the default.

        >>> rl.Placement(device="cpu").torch_device()
        device(type='cpu')

        Raises:
            InputError: this machine does not have it; or a device map in one of several processes.
        """
        if self.device_map and (n := this_process().count) > 1:
            raise InputError(
                f"a device map with {n} processes: each would spread its model over all cards; "
                "start one process for a model larger than one card"
            )
        device = _device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            n = torch.cuda.device_count()
            raise InputError(f"device {str(device)!r}: PyTorch finds {n} CUDA devices; use 'cpu'")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise InputError("device 'mps': PyTorch finds none on this machine; use 'cpu'")
        return device

    def torch_dtype(self, config: Any) -> torch.dtype:
        """The dtype named, or the checkpoint's own.

        >>> rl.Placement(dtype="bfloat16").torch_dtype(None)
        torch.bfloat16
        """
        native: Any = getattr(config, "dtype", None)
        if self.dtype == AUTO:
            return native if isinstance(native, torch.dtype) else torch.float32
        return DTYPES[self.dtype]

    def resolved(self, device: torch.device, dtype: torch.dtype, batch_size: int) -> "Placement":
        """What was asked for, with what a loaded model really has in its place.

        >>> import torch
        >>> rl.Placement().resolved(torch.device("cpu"), torch.float32, 8)
        Placement(dtype='float32', device='cpu', device_map=None, batch_size=8, packed=True)
        """
        name = dtype_name(dtype)
        return Placement(
            name if name in DTYPES else self.dtype,
            None if self.device_map else str(device),
            self.device_map,
            batch_size,
            self.packed,
        )


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as it is written in records: "float32"."""
    return str(dtype).removeprefix("torch.")


def _device(name: str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is unknown; use 'cpu', 'cuda' or 'cuda:1'") from None
