"""`{layer: tensor}` in safetensors: the `layer_activations` of the package steering-vectors.

For its layer type "decoder_block" a vector stands at the output of its block.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from refusal_lens.directions.formats.base import Format, Vectors, block_outputs
from refusal_lens.errors import InputError
from refusal_lens.files import write_atomic
from refusal_lens.sites import Site


def read(path: Path) -> Vectors:
    """Raises InputError for a file that holds other names than numbers of layers."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            fitted_on = (file.metadata() or {}).get("fitted_on", "")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path.name} is no safetensors file ({error})") from None
    if wrong := [name for name in tensors if not name.isdecimal()]:
        raise InputError(
            f"{path.name}: tensor {wrong[0]!r}; expected numbers of layers as names, as in "
            "save_file({str(l): v for l, v in vector.layer_activations.items()}, path)"
        )
    places = {(-1, Site(int(n), "resid_post")): v.reshape(-1) for n, v in tensors.items()}
    return Vectors(places, fitted_on)


def write(vectors: Mapping[Site, Float[Tensor, " d_model"]], path: Path, fitted_on: str) -> None:
    """One tensor a block, under the block's number."""
    outputs = block_outputs(vectors)
    tensors = {str(layer): v.float().contiguous() for layer, v in sorted(outputs.items())}
    metadata = {"fitted_on": fitted_on, "layer_type": "decoder_block"}
    write_atomic(path, save(tensors, metadata=metadata))


FORMAT: Final = Format(
    "steering-vectors",
    "{layer: tensor} in safetensors (steering-vectors)",
    ".safetensors",
    "l at the output of block l, resid_post[l]",
    read,
    write,
)
