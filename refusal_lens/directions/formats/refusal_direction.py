"""The artefacts of Arditi et al. 2024's code: `mean_diffs.pt`, and `direction.pt` beside its place.

Both hold differences of means at the inputs of blocks: [position, layer, d_model], and the chosen
[d_model] with `direction_metadata.json` ({"pos": -1, "layer": 10}) in the same folder.
"""

import json
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from refusal_lens.directions.formats.base import Format, Vectors
from refusal_lens.errors import InputError
from refusal_lens.sites import Site

_PLACE: Final = "direction_metadata.json"


def read(path: Path) -> Vectors:
    """Raises InputError for anything but tensors of these shapes; nothing in the file is run."""
    tensor = _tensor(path)
    if tensor.dim() == 3:
        n, layers, _ = tensor.shape
        places = {(p - n, Site(k)): tensor[p, k] for p in range(n) for k in range(layers)}
        return Vectors(places, _model(path))
    if tensor.dim() != 1:
        raise InputError(
            f"{path.name} holds a tensor of shape {list(tensor.shape)}; expected [d_model] or "
            "[position, layer, d_model]"
        )
    try:
        place: Any = json.loads((path.parent / _PLACE).read_text(encoding="utf-8"))
        return Vectors({(int(place["pos"]), Site(int(place["layer"]))): tensor}, _model(path))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path.name} holds one vector; where it stands is read from {_PLACE} beside it, "
            'which is missing or not of the form {"pos": -1, "layer": 10}'
        ) from None


def _tensor(path: Path) -> Tensor:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # what torch raises for a file that is something else has no common base
        raise InputError(
            f"{path.name} is not a file of tensors alone, and nothing else is read from it"
        ) from None
    if not isinstance(content, Tensor) or not content.is_floating_point():
        raise InputError(
            f"{path.name} holds {type(content).__name__}; expected a tensor of numbers"
        )
    return content.float()


def _model(path: Path) -> str:
    """The run's folder is named by the model's alias."""
    folder = path.parent.parent if path.parent.name == "generate_directions" else path.parent
    return folder.name


FORMAT: Final = Format(
    "refusal-direction",
    "direction.pt and mean_diffs.pt (Arditi et al. 2024's code)",
    ".pt",
    "layer l at the input of block l, resid_pre[l]",
    read,
)
