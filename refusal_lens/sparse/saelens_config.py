"""What SAELens' `cfg.json` says, of version 6 and of the versions before."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, final

from refusal_lens.errors import InputError
from refusal_lens.files import read_utf8
from refusal_lens.sites import Site
from refusal_lens.sparse.autoencoder import NORMALISATIONS

VECTORS: Final[dict[str, tuple[str, ...]]] = {
    "standard": ("b_enc",),
    "gated": ("b_gate", "r_mag", "b_mag"),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
}
"""Per architecture the tensors that hold a number per latent."""
_RENAMED: Final = {
    "hook_point": "hook_name",
    "hook_point_layer": "hook_layer",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
_BLOCK: Final = re.compile(r"(?:\w+\.)*(?:layers|h)\.(\d+)")
"""A block of a Hugging Face model, whose output SAELens reads under this name."""


@final
@dataclass(frozen=True)
class SaeConfig:
    """The part of a configuration that says what the weights compute, and where.

    `normalisation_asked` is SAELens' word; "expected_average_only_in" multiplies the input by one
    number, which is folded into the weights, so that `normalisation` is "none".
    """

    architecture: str
    d_in: int
    d_sae: int
    site: Site
    subtract_b_dec: bool
    normalisation_asked: str
    k: int | None
    rescaled: bool
    finetuned: bool
    model_name: str

    @property
    def vectors(self) -> tuple[str, ...]:
        """The tensors that hold a number per latent."""
        return VECTORS[self.architecture]

    @property
    def normalisation(self) -> str:
        """What is left to be done with each vector."""
        asked = self.normalisation_asked
        return "none" if asked == "expected_average_only_in" else asked


def config_of(path: Path) -> SaeConfig:
    """The configuration in a file.

    Raises:
        InputError: no JSON object, a value that is missing or of another kind, or
            something that this reader does not compute.
    """
    plain = _plain(path)
    metadata: Any = plain.get("metadata") or plain.get("meta")
    values = _given(metadata) | _given(plain)
    architecture = _architecture(values, path)
    site = _site(values, path)
    _check_input(values, path)
    return SaeConfig(
        architecture,
        _positive(values, "d_in", path),
        _positive(values, "d_sae", path),
        site,
        _flag(values, "apply_b_dec_to_input", True, path),
        _normalisation(values, path),
        _positive(values, "k", path) if architecture == "topk" else None,
        _flag(values, "rescale_acts_by_decoder_norm", False, path),
        _flag(values, "finetuning_scaling_factor", False, path),
        str(values.get("model_name") or ""),
    )


def _plain(path: Path) -> dict[str, Any]:
    try:
        plain: Any = json.loads(read_utf8(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if not isinstance(plain, dict):
        raise InputError(f"{path} holds {type(plain).__name__}; expected an object")
    return cast(dict[str, Any], plain)


def _given(values: Any) -> dict[str, Any]:
    """What is not null, under the names of version 6."""
    plain = cast(dict[str, Any], values) if isinstance(values, dict) else {}
    return {_RENAMED.get(name, name): value for name, value in plain.items() if value is not None}


def _architecture(values: dict[str, Any], path: Path) -> str:
    """The architecture; of earlier versions "topk" is an activation function."""
    architecture = values.get("architecture") or "standard"
    function = values.get("activation_fn") or "relu"
    if function not in ("relu", "topk"):
        raise InputError(f"{path}: activation function {function!r} is not read; only relu, topk")
    if "topk" in (function, architecture):
        architecture = "topk"
        values.setdefault("k", _given(values.get("activation_fn_kwargs")).get("k"))
    if not isinstance(architecture, str) or architecture not in VECTORS:
        raise InputError(
            f"{path}: architecture {architecture!r} is not read; these are: {', '.join(VECTORS)}"
        )
    return architecture


def _site(values: dict[str, Any], path: Path) -> Site:
    site = _named_site(values, path)
    if values.get("hook_layer", site.layer) != site.layer:
        raise InputError(
            f"{path}: hook_layer is {values['hook_layer']!r}, and hook point "
            f"{values['hook_name']!r} is of layer {site.layer}; correct the one that is wrong"
        )
    return site


def _named_site(values: dict[str, Any], path: Path) -> Site:
    name = values.get("hook_name")
    if not isinstance(name, str):
        raise InputError(f"{path} names no hook point (hook_name); add the one it was trained on")
    if values.get("hook_name_out") not in (None, name):
        raise InputError(
            f"{path}: reads {name!r} and writes {values['hook_name_out']!r}: a transcoder, no SAE"
        )
    if (block := _BLOCK.fullmatch(name)) is not None:
        return Site(int(block[1]), "resid_post")
    try:
        return Site.parse(name)
    except InputError:
        raise InputError(
            f"{path}: hook point {name!r} is not one of the residual stream or its writers; "
            "expected for example 'blocks.18.hook_resid_pre'"
        ) from None


def _check_input(values: dict[str, Any], path: Path) -> None:
    """Reject an SAE that was trained on something else than whole vectors of the stream."""
    if (shaped := values.get("reshape_activations", "none")) != "none":
        raise InputError(f"{path}: reshape_activations {shaped!r} is not read; only 'none'")
    if (head := values.get("hook_head_index")) is not None:
        raise InputError(
            f"{path}: hook_head_index is {head!r}: an SAE of one head; only those of the residual "
            "stream or its writers are read"
        )
    if _given(values.get("model_from_pretrained_kwargs")).get("center_writing_weights"):
        raise InputError(
            f"{path}: it was trained on a centred residual stream (model_from_pretrained_kwargs: "
            "center_writing_weights), and streams are never centred here; take an SAE of the "
            "stream as it is"
        )


def _normalisation(values: dict[str, Any], path: Path) -> str:
    asked: Any = values.get("normalize_activations")
    if asked is None or isinstance(asked, bool):  # of early versions
        return "expected_average_only_in" if asked else "none"
    known = (*NORMALISATIONS, "expected_average_only_in")
    if asked not in known:
        raise InputError(
            f"{path}: normalize_activations {asked!r} is not read; these are: {', '.join(known)}"
        )
    return str(asked)


def _positive(values: dict[str, Any], name: str, path: Path) -> int:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise InputError(f"{path}: {name} is {value!r}; expected a whole number above 0")
    if value != int(value):
        raise InputError(f"{path}: {name} is {value!r}; expected a whole number above 0")
    return int(value)


def _flag(values: dict[str, Any], name: str, default: bool, path: Path) -> bool:
    value = values.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{path}: {name} is {value!r}; expected true or false")
    return value
