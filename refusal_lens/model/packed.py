"""Linear maps of a model on the CPU in oneDNN's layout: float32 as before, and faster on AMD.

On x86 torch multiplies float32 matrices with MKL, which leaves AVX-512 unused on CPUs of AMD and
takes twice the time that oneDNN takes with it (benchmarks/RESULTS.md). The operators are those
that torch's own compiler calls for linear layers on the CPU. The weights are there twice; where the
first ones are mapped from a file, as those of safetensors are, they need no memory while nobody
reads them.
"""

import ctypes
import mmap
import sys
from math import gcd
from typing import Any, Final, final

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TOLERANCE: Final = 1e-5
_SAMPLED: Final = 64
_PAGE_OUT: Final = 21  # MADV_PAGEOUT of Linux 5.4 and later


@final
class PackedLinear:
    """The forward pass of a linear layer whose weight was packed; the layer stays as it is.

    Packed at its first use. Where gradients are on, the layer's own product is taken. Weights that
    have changed are packed anew: torch counts changes, and those that go around its count by
    `.data` show in 64 numbers spread over the matrix, unless they leave nearly all of it alone.

    >>> import torch
    >>> layer = torch.nn.Linear(8, 4)
    >>> x = torch.randn(3, 8)
    >>> with torch.no_grad():
    ...     bool((PackedLinear(layer)(x) - layer(x)).abs().max() < 1e-5)
    True
    """

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer
        self._packed: Any = None
        self._seen: tuple[int, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self._layer.weight, self._layer.bias
        if torch.is_grad_enabled() or not (
            _fit(x) and _fit(weight) and weight.is_contiguous() and x.numel()
        ):
            return F.linear(x, weight, bias)
        if self._seen is None or not self._is_as_seen(weight):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
            self._seen = _version(weight), _sample(weight).clone()
            _set_aside(weight)
        flat = x.reshape(-1, x.shape[-1])
        y: Tensor = torch.ops.mkldnn._linear_pointwise(flat, self._packed, bias, "none", [], None)
        return y.reshape(*x.shape[:-1], y.shape[-1])

    def _is_as_seen(self, weight: Tensor) -> bool:
        assert self._seen is not None
        version, sample = self._seen
        return _version(weight) == version and torch.equal(_sample(weight), sample)


def pack_linears(model: nn.Module) -> int:
    """Pack the weights of all float32 linear layers; how many they are.

    0 where it doesn't pay, or where less than twice as much memory is free as they take.

    >>> pack_linears(torch.nn.ReLU())
    0
    """
    if not pays():
        return 0
    every = [layer for layer in model.modules() if type(layer) is nn.Linear]
    layers = [x for x in every if _fit(x.weight) and x.weight.is_contiguous()]
    if 2 * sum(layer.weight.nbytes for layer in layers) > psutil.virtual_memory().available:
        return 0
    for layer in layers:
        layer.__dict__["forward"] = PackedLinear(layer)
    return len(layers)


def pays() -> bool:
    """Whether this machine multiplies float32 matrices faster so: AVX-512, and not Intel's.

    >>> pays() in (True, False)
    True
    """
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()
    amd = "AMD" in str(capabilities.get("cpu_name", ""))
    if not (amd and capabilities.get("avx512_f") and torch.backends.mkl.is_available()):
        return False
    try:  # the operators are torch's own, but not documented: they are tried before they are used
        x, layer = torch.randn(3, 16), nn.Linear(16, 8)
        with torch.no_grad():
            gap = (PackedLinear(layer)(x) - layer(x)).abs().max()
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool(gap <= _TOLERANCE)


def _fit(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu"


def _version(weight: Tensor) -> int:
    """How often torch has changed it in place; another tensor has another address."""
    return hash((weight.data_ptr(), 0 if weight.is_inference() else weight._version))


def _sample(weight: Tensor) -> Tensor:
    """Numbers spread over rows and columns: few, since each brings its page into memory."""
    step = max(1, weight.numel() // _SAMPLED)
    while gcd(step, weight.shape[1]) > 1:  # or some columns would never be among them
        step += 1
    return weight.detach().view(-1)[::step]


def _set_aside(weight: Tensor) -> None:
    """Let Linux take back the pages of weights that are mapped from a file, until they are read.

    A hint alone: nothing is lost by it, and elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    page = mmap.PAGESIZE
    start = -(-weight.data_ptr() // page) * page
    length = (weight.data_ptr() + weight.nbytes - start) // page * page
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _PAGE_OUT)
