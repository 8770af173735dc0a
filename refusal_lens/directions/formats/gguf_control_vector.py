"""GGUF control vectors: what repeng writes and llama.cpp adds (`--control-vector`).

`direction.<l>` is added to the output of block l: repeng fits it there, llama.cpp adds it there.
llama.cpp takes no layer 0.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from gguf import GGUFReader, GGUFWriter
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions.formats.base import Format, Vectors, block_outputs
from refusal_lens.errors import InputError, reason_of
from refusal_lens.files import write_atomic
from refusal_lens.sites import Site

_ARCHITECTURE: Final = "controlvector"
_HINT: Final = f"{_ARCHITECTURE}.model_hint"
_PREFIX: Final = "direction."


def read(path: Path) -> Vectors:
    """Raises InputError for a file that is no GGUF file or holds something else."""
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError, OSError) as error:  # the last two: it is cut, or unreadable
        raise InputError(f"{path.name} is no GGUF file ({reason_of(error)})") from None
    architecture = _text(reader, "general.architecture")
    if architecture != _ARCHITECTURE:
        raise InputError(
            f"{path.name} holds {architecture!r}, no control vector; load_model reads models"
        )
    vectors: dict[tuple[int, Site], Tensor] = {}
    for tensor in reader.tensors:
        layer = tensor.name.removeprefix(_PREFIX)
        if layer == tensor.name or not layer.isdecimal():
            raise InputError(f"{path.name}: tensor {tensor.name!r}; expected direction.<layer>")
        # A copy: the reader maps the file, which may be replaced.
        vectors[-1, Site(int(layer), "resid_post")] = torch.tensor(tensor.data.copy())
    return Vectors(vectors, _text(reader, _HINT))


def _text(reader: GGUFReader, name: str) -> str:
    field = reader.get_field(name)
    return "" if field is None else str(field.contents())


def write(vectors: Mapping[Site, Float[Tensor, " d_model"]], path: Path, fitted_on: str) -> None:
    """Block 0's output is left out, as llama.cpp takes no layer 0."""
    kept = {layer: v for layer, v in block_outputs(vectors).items() if layer >= 1}
    if not kept:
        raise InputError("only the output of block 0 is there, which llama.cpp does not take")
    with TemporaryDirectory() as folder:
        written = Path(folder, "vectors.gguf")
        _write(kept, written, fitted_on)
        write_atomic(path, written.read_bytes())


def _write(vectors: Mapping[int, Float[Tensor, " d_model"]], path: Path, fitted_on: str) -> None:
    writer = GGUFWriter(path, _ARCHITECTURE)
    writer.add_string(_HINT, fitted_on)
    writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(vectors))
    for layer, vector in sorted(vectors.items()):
        writer.add_tensor(f"{_PREFIX}{layer}", vector.float().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


FORMAT: Final = Format(
    "gguf",
    "GGUF control vector (llama.cpp, repeng)",
    ".gguf",
    "direction.<l> at the output of block l, resid_post[l]; no layer 0",
    read,
    write,
)
