"""Linear maps of a model on the CPU in oneDNN's layout: float32 as before, and faster on AMD.

On x86 torch multiplies float32 matrices with MKL, which leaves AVX-512 unused on CPUs of AMD and
takes twice the time that oneDNN takes with it (benchmarks/RESULTS.md). The operators are those
that torch's own compiler calls for linear layers on the CPU. Weights take their place twice.
"""

from typing import Any, Final, final

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TOLERANCE: Final = 1e-5


@final
class PackedLinear:
    """The forward pass of a linear layer whose weight was packed; the layer stays as it is.

    Packed at its first use. Where gradients are on, the layer's own product is taken. Weights that
    have changed, seen by one of about every row and column, are packed anew.

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
        self._seen: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self._layer.weight, self._layer.bias
        if torch.is_grad_enabled() or not (
            _fit(x) and _fit(weight) and weight.is_contiguous() and x.numel()
        ):
            return F.linear(x, weight, bias)
        if self._seen is None or not torch.equal(_sample(weight), self._seen):
            self._seen = _sample(weight).clone()
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        flat = x.reshape(-1, x.shape[-1])
        y: Tensor = torch.ops.mkldnn._linear_pointwise(flat, self._packed, bias, "none", [], None)
        return y.reshape(*x.shape[:-1], y.shape[-1])


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


def _sample(weight: Tensor) -> Tensor:
    """One number of about every row and column."""
    return weight.detach().view(-1)[:: weight.shape[1] + 1]
