"""Residuals in a folder: `residuals.safetensors`, memory-mapped when read, and `residuals.json`.

The tensor is stored as [offset, site, prompt, d_model], so that all prompts at one site and offset
are one stretch of the file: a slice is read from disk when it is looked at, and nothing else is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, final

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.folders import make_folder
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Provenance, Record, load_record, save_record, write_tensors
from refusal_lens.sites import Site

_NAME: Final = "residuals"
_TO_DISK: Final = (1, 2, 0, 3)
_FROM_DISK: Final = (2, 0, 1, 3)


@final
@dataclass(frozen=True, eq=False)
class StoredAxes(Record):
    """What the axes of a stored tensor are: see `Residuals`."""

    SCHEMA_VERSION: ClassVar[int] = 1

    ids: tuple[str, ...]
    sites: tuple[Site, ...]
    offsets: tuple[int, ...]
    provenance: Provenance
    prompts: PromptSet | None


def write_folder(
    folder: Path | str, tensor: Float[Tensor, "prompt offset site d_model"], axes: StoredAxes
) -> None:
    """Write both files; a crash half-way leaves a folder that can't be opened, never a mixture."""
    folder = Path(folder)
    make_folder(folder)
    (folder / f"{_NAME}.json").unlink(missing_ok=True)
    temporary = folder / f".{_NAME}.tmp"
    write_tensors(temporary, {_NAME: tensor.permute(_TO_DISK).contiguous()})
    temporary.replace(folder / f"{_NAME}.safetensors")
    save_record(axes, folder / _NAME)


def open_folder(
    folder: Path | str,
) -> tuple[Float[Tensor, "prompt offset site d_model"], StoredAxes]:
    """The memory-mapped tensor and its axes.

    Raises:
        InputError: a missing or damaged file.
    """
    folder = Path(folder)
    axes = load_record(StoredAxes, folder / _NAME)
    path = folder / f"{_NAME}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(_NAME).permute(_FROM_DISK), axes
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} can't be read ({error}); read the residuals again and save them"
        ) from None
