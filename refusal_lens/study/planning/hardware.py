"""Hardware by name: published peaks, bandwidth and memory, and what a pass reaches of them.

Peaks are those of dense matrices; vendors print twice as much "with sparsity". In float32 PyTorch
leaves tensor cores unused unless it is told otherwise, so that float32 stands for plain units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, final

from refusal_lens.errors import InputError

# The share of its matrix-multiply rate that a study reached on two cores of an AMD EPYC 9005: the
# work that the stages of a model of 0.5B declare over the seconds that they took (docs/plan.md).
# Passes bring more with them than is counted; answers end before their last token.
CPU_READ: Final = 0.50
CPU_DECODE: Final = 0.60
CPU_BLOCK: Final = 1.5e-3  # seconds; assumed, and less than a fiftieth of a full batch's time there
# Assumed, not measured by this project: short prompts, no fused attention, hooks on every block.
GPU_READ: Final = 0.40
GPU_DECODE: Final = 0.40
GPU_STREAM: Final = 0.70
GPU_BLOCK: Final = 1.5e-3


@final
@dataclass(frozen=True)
class Hardware:
    """What a model runs on: FLOPs a second by dtype, bytes a second and bytes of memory.

    `read` and `decode` are the shares of the FLOPs that passes over prompts and over single new
    tokens reach, `stream` that of the bandwidth. `block` is the seconds that each block of a pass
    takes whatever its size: Python, hooks and launches. `doubles` says whether float32 linear
    layers are kept twice (model/packed.py).
    """

    title: str
    flops: Mapping[str, float]
    bandwidth: float
    memory: float
    source: str
    read: float = GPU_READ
    decode: float = GPU_DECODE
    stream: float = GPU_STREAM
    block: float = GPU_BLOCK
    cpu: bool = False
    doubles: bool = False

    def rate(self, dtype: str) -> float:
        """FLOPs a second in a dtype.

        Raises:
            InputError: it has none of them.
        """
        if dtype not in self.flops:
            raise InputError(
                f"{self.title} has no {dtype} rate; give --dtype, one of {[*self.flops]}"
            )
        return self.flops[dtype]


def _gpu(  # giga- and tera- as data sheets print them
    title: str, half: int, single: float | int, bandwidth: int, memory: int, source: str
) -> Hardware:
    """Tera-FLOPs in bfloat16 and float16, and in float32; giga-bytes a second; giga-bytes."""
    rates = {"bfloat16": half * 1e12, "float16": half * 1e12, "float32": single * 1e12}
    return Hardware(title, MappingProxyType(rates), bandwidth * 1e9, memory * 1e9, source)


HARDWARE: Final[Mapping[str, Hardware]] = MappingProxyType(
    {
        "a100": _gpu("NVIDIA A100 SXM 80 GB", 312, 19.5, 2039, 80, "NVIDIA A100 datasheet, 2021"),
        "a100-40gb": _gpu("NVIDIA A100 40 GB", 312, 19.5, 1555, 40, "NVIDIA A100 datasheet, 2021"),
        "h100": _gpu("NVIDIA H100 SXM 80 GB", 989, 67, 3350, 80, "NVIDIA H100 datasheet, 2023"),
        "h100-pcie": _gpu(
            "NVIDIA H100 PCIe 80 GB", 756, 51, 2000, 80, "NVIDIA H100 datasheet, 2023"
        ),
        "h200": _gpu("NVIDIA H200 SXM 141 GB", 989, 67, 4800, 141, "NVIDIA H200 datasheet, 2024"),
        "l4": _gpu("NVIDIA L4", 121, 30.3, 300, 24, "NVIDIA L4 datasheet, 2023"),
        "l40s": _gpu("NVIDIA L40S", 362, 91.6, 864, 48, "NVIDIA L40S datasheet, 2023"),
        "a10": _gpu("NVIDIA A10", 125, 31.2, 600, 24, "NVIDIA A10 datasheet, 2021"),
        "rtx-4090": _gpu(
            "NVIDIA RTX 4090", 165, 82.6, 1008, 24, "NVIDIA Ada GPU architecture, 2022, appendix A"
        ),
        "rtx-3090": _gpu(
            "NVIDIA RTX 3090", 71, 35.6, 936, 24, "NVIDIA GA102 GPU architecture, 2020, appendix A"
        ),
        "cpu-2-cores": Hardware(
            "2 cores of an AMD EPYC 9005",
            MappingProxyType({"float32": 484e9}),
            bandwidth=20e9,
            memory=24e9,
            source="measured by this project, 2026-11-29: twice the fastest product on one core",
            read=CPU_READ,
            decode=CPU_DECODE,
            stream=1.0,
            block=CPU_BLOCK,
            cpu=True,
            doubles=True,
        ),
        "mi300x": _gpu("AMD MI300X", 1307, 163, 5300, 192, "AMD Instinct MI300X data sheet, 2023"),
    }
)
"""Hardware that `--on` knows, by name."""


def find_hardware(name: str) -> Hardware:
    """Hardware by its name in `HARDWARE`.

    Raises:
        InputError: no such name; the line lists all.

    >>> find_hardware("h100").memory
    80000000000.0
    """
    if (known := HARDWARE.get(name.lower())) is None:
        raise InputError(
            f"hardware {name!r} is unknown; --on takes one of {sorted(HARDWARE)}, and without it "
            "this machine is measured"
        )
    return known
