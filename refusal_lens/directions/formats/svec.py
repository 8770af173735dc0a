"""IBM's `.svec` (activation-steering, Lee et al. 2024): JSON with a vector a layer.

Its vectors are fitted at the output of their block. Its own code then adds them at the *input* of
the block of that number, one block earlier than they were fitted: give `at=Site(l)` for that.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions.formats.base import Format, Vectors, block_outputs
from refusal_lens.errors import InputError
from refusal_lens.files import read_utf8, write_atomic
from refusal_lens.sites import Site


def read(path: Path) -> Vectors:
    """Raises InputError for a file that is no such JSON."""
    try:
        content: Any = json.loads(read_utf8(path))
        vectors = {int(k): torch.tensor(v) for k, v in content["directions"].items()}
        model = str(content["model_type"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{path.name} is no steering vector ({type(error).__name__}: {error}); expected JSON "
            'with "model_type" and "directions", a list of numbers for each layer'
        ) from None
    return Vectors({(-1, Site(k, "resid_post")): v.reshape(-1) for k, v in vectors.items()}, model)


def write(vectors: Mapping[Site, Float[Tensor, " d_model"]], path: Path, fitted_on: str) -> None:
    """Shares of explained variance, which the format has a place for, are not known: none."""
    outputs = block_outputs(vectors)
    content = {
        "model_type": fitted_on,
        "directions": {str(layer): v.tolist() for layer, v in sorted(outputs.items())},
        "explained_variances": {},
    }
    write_atomic(path, json.dumps(content).encode())


FORMAT: Final = Format(
    "svec",
    ".svec (IBM activation-steering)",
    ".svec",
    "l fitted at the output of block l, resid_post[l]; IBM's code adds it at resid_pre[l]",
    read,
    write,
)
