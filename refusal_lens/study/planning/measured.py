"""This machine as hardware: a matrix product of the model's width, timed for half a second."""

import time
from collections.abc import Callable
from typing import Final

import psutil
import torch
from torch import nn

from refusal_lens.model.packed import PackedLinear, pays
from refusal_lens.placement import DTYPES, Placement
from refusal_lens.study.planning.hardware import CPU_BLOCK, CPU_DECODE, CPU_READ, Hardware

_SECONDS: Final = 0.5
_ROWS: Final = 256  # tokens: few enough that some products are not disturbed by other work
_WIDEST: Final = 4096
_COPIED: Final = 1 << 28  # bytes, more than any cache holds
_LEAST_REPEATS: Final = 3


def this_machine(placement: Placement, dtype: str, d_model: int) -> Hardware:
    """The rates of this machine in a dtype, on the way that a model's linear layers take here.

    About a second passes. On the CPU float32 goes by oneDNN's packed product where that pays.

    Raises:
        InputError: a device that this machine lacks.

    >>> here = this_machine(Placement(device="cpu"), "float32", 32)
    >>> here.rate("float32") > 1e6, here.cpu
    (True, True)
    """
    device = placement.torch_device()
    cpu = device.type == "cpu"
    packed = cpu and dtype == "float32" and placement.packed and pays()
    rate = _flops(device, DTYPES[dtype], min(d_model, _WIDEST), packed=packed)
    threads = f"{torch.get_num_threads()} threads" if cpu else torch.cuda.get_device_name(device)
    free = psutil.virtual_memory().total if cpu else torch.cuda.mem_get_info(device)[1]
    shares = {"read": CPU_READ, "decode": CPU_DECODE, "block": CPU_BLOCK} if cpu else {}
    return Hardware(
        f"this machine ({threads})",
        {dtype: rate},
        _bandwidth(device),
        float(free),
        "measured now",
        cpu=cpu,
        doubles=packed,
        stream=1.0,  # a copy's own rate
        **shares,
    )


@torch.inference_mode()
def _flops(device: torch.device, dtype: torch.dtype, d_model: int, *, packed: bool) -> float:
    x = torch.randn(_ROWS, d_model, device=device).to(dtype)
    layer = nn.Linear(d_model, 4 * d_model, bias=False).to(device, dtype)
    product = PackedLinear(layer) if packed else layer
    return 2 * _ROWS * layer.weight.numel() / _timed(lambda: product(x), device, _SECONDS)


@torch.inference_mode()
def _bandwidth(device: torch.device) -> float:
    """Bytes a second that are read and written by a copy."""
    source = torch.zeros(_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * _COPIED / _timed(lambda: target.copy_(source), device, _SECONDS / 2)


def _timed(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Seconds of the fastest of repeats that take so long in all, behind one that does not count.

    The fastest is what the machine does when nothing else runs, as a study should find it.
    """
    times: list[float] = []
    work()
    ends = time.perf_counter() + seconds
    while len(times) < _LEAST_REPEATS or time.perf_counter() < ends:
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
