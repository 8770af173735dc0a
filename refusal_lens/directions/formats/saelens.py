"""Decoder rows of a sparse autoencoder in SAELens' format, as directions.

A folder with `cfg.json`, which names the hook point, and `sae_weights.safetensors` with `W_dec`
[feature, d_model].
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from refusal_lens.arguments import several
from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.records import Provenance
from refusal_lens.sites import Site

_WEIGHTS: Final = "sae_weights.safetensors"


def sae_directions(folder: Path | str, features: Sequence[int]) -> DirectionSet:
    """A category "feature <i>" for each of `features`, at the site at which the SAE was trained.

    `scale` is the row's length in the decoder: adding strength 1 adds the row.

    Raises:
        InputError: no SAELens folder, a hook point outside the residual stream's, or a feature
            that the decoder does not have.
    """
    folder = Path(folder)
    rows = several(features, int, what="feature", write="[12, 345]")
    try:
        config: Any = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
        with safe_open(folder / _WEIGHTS, framework="pt") as weights:
            decoder = weights.get_tensor("W_dec").float()
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{str(folder)!r} holds no SAE of SAELens ({str(error).splitlines()[0]}); expected "
            f"cfg.json and {_WEIGHTS} with W_dec"
        ) from None
    # Newer versions keep where it was trained apart.
    metadata = (config.get("metadata") or config) if isinstance(config, dict) else None
    if not isinstance(metadata, dict) or decoder.dim() != 2:
        raise InputError(
            f"{str(folder)!r}: cfg.json or W_dec is not of SAELens' form; expected an object, and "
            f"a matrix [feature, d_model] (it has shape {list(decoder.shape)})"
        )
    site = Site.parse(str(metadata.get("hook_name", config.get("hook_name"))))
    if wrong := [i for i in rows if not 0 <= i < len(decoder)]:
        raise InputError(f"feature {wrong[0]} is not in this SAE; it has 0 to {len(decoder) - 1}")
    raw = decoder[list(rows)][:, None, None]
    length = raw.norm(dim=-1)
    model = str(metadata.get("model_name", "unknown"))
    return DirectionSet(
        method="decoder row of a sparse autoencoder (SAELens)",
        categories=tuple(f"feature {i}" for i in rows),
        offsets=(-1,),
        sites=(site,),
        vectors=raw / length[..., None],
        scale=length,
        low=torch.full_like(length, torch.nan),
        high=torch.full_like(length, torch.nan),
        count=((0, 0),) * len(rows),
        provenance=Provenance(model, "", "", "", "none", "float32", "cpu"),
    )
