"""Folders in SAELens' format: `cfg.json` beside `sae_weights.safetensors`, read without SAELens.

Both generations are read: configurations of version 6, with what belongs to the language model
under `metadata` (`meta` before its release), and the flat ones of earlier versions (`hook_point`
or `hook_name`, `activation_fn_str`, a top-k SAE as architecture "standard" with activation function
"topk").
Folded in on reading, as the formulas allow exactly: decoder norms that a top-k SAE rescales by,
a fine-tuning scale of the latents, and a scale of the input that `activation_scaler.json` names.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.files import read_utf8
from refusal_lens.folders import is_file, is_folder, make_folder
from refusal_lens.records import write_json, write_tensors
from refusal_lens.sparse.activations import Activation, Gated, JumpReLU, Standard, TopK
from refusal_lens.sparse.autoencoder import Normalisation, SparseAutoencoder
from refusal_lens.sparse.saelens_config import SaeConfig, config_of

CONFIG: Final = "cfg.json"
WEIGHTS: Final = "sae_weights.safetensors"
SCALER: Final = "activation_scaler.json"


def load_sae(folder: Path | str) -> SparseAutoencoder:
    """The sparse autoencoder of a folder in SAELens' format, float32 on the CPU.

    Architectures: "standard", "gated", "topk", "jumprelu".

    >>> save_sae(sae, "mine")
    >>> load_sae("mine").site == sae.site
    True

    Raises:
        InputError: a missing or damaged file, another architecture, hook point, activation function
            or normalisation, a stream that was centred or reshaped in training, or tensors that are
            missing, not used, or not of the size that `cfg.json` says.
    """
    folder = Path(folder)
    _check_files(folder)
    config = config_of(folder / CONFIG)
    tensors = _tensors(folder / WEIGHTS, config)
    scale = _input_scale(folder, config)
    w_dec = tensors["W_dec"]
    if "finetuning_scaling_factor" in tensors:
        w_dec = w_dec * tensors["finetuning_scaling_factor"][:, None]
    w_enc, activation, w_dec = _encoder(tensors, w_dec, config)
    return SparseAutoencoder(
        config.site,
        w_enc * scale,
        activation,
        w_dec / scale,
        tensors["b_dec"] / scale,
        subtract_b_dec=config.subtract_b_dec,
        normalisation=cast(Normalisation, config.normalisation),
        model_name=config.model_name,
    )


def save_sae(
    sae: SparseAutoencoder, folder: Path | str, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write a folder that SAELens 6 and `load_sae` read.

    With a smaller `dtype` the weights are stored in it, and read as the numbers that it holds.

    >>> save_sae(sae, "mine", dtype=torch.float16)
    >>> load_sae("mine").n_latents
    64
    """
    folder = Path(folder)
    make_folder(folder)
    tensors: dict[str, Tensor] = {"W_enc": sae.w_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    activation = sae.activation
    extra: dict[str, Any] = {}
    match activation:
        case Gated():
            tensors |= {
                "b_gate": activation.b_gate,
                "r_mag": activation.r_mag,
                "b_mag": activation.b_mag,
            }
        case JumpReLU():
            tensors |= {"b_enc": activation.bias, "threshold": activation.threshold}
        case TopK():
            tensors |= {"b_enc": activation.bias}
            extra = {"k": activation.k, "rescale_acts_by_decoder_norm": False}
        case _:
            tensors |= {"b_enc": cast(Standard, activation).bias}
    small = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    write_tensors(folder / WEIGHTS, small)
    metadata = {"model_name": sae.model_name, "hook_name": sae.site.hook_name}
    write_json(
        folder / CONFIG,
        {
            "architecture": activation.name,
            "d_in": sae.d_model,
            "d_sae": sae.n_latents,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": sae.subtract_b_dec,
            "normalize_activations": sae.normalisation,
            "reshape_activations": "none",
            "metadata": metadata,
            **extra,
        },
    )


def check_fits(sae: SparseAutoencoder, n_layers: int, d_model: int, model_name: str) -> None:
    """Reject an autoencoder whose sizes are not those of a model.

    >>> check_fits(sae, model.n_layers, model.d_model, model.name)

    Raises:
        InputError: another width, or a layer that the model does not have.
    """
    if sae.d_model != d_model:
        raise InputError(
            f"{sae.name} is of width {sae.d_model}, {model_name} of width {d_model}; take one that "
            "was trained on this model"
        )
    if sae.site.layer >= n_layers:
        raise InputError(
            f"{sae.name} is at {sae.site}; the layers of {model_name} are 0 to {n_layers - 1}"
        )


def _check_files(folder: Path) -> None:
    """Reject a folder of another format, or one that holds several autoencoders, by what it has."""
    missing = [name for name in (CONFIG, WEIGHTS) if not is_file(folder / name)]
    if not missing:
        return
    here = is_folder(folder)
    inside = sorted(str(path.parent) for path in folder.glob(f"*/{CONFIG}")) if here else []
    names = sorted(path.name for path in folder.glob("*")) if here else []
    if inside:
        where = f"this folder holds several; give one, such as {inside[0]!r}"
    elif names:
        where = f"found {names[:6]}: save it with SAELens, which writes both files"
    else:
        where = "the folder is empty" if here else "no such folder"
    raise InputError(
        f"{folder / missing[0]} is missing; expected a folder in SAELens' format, {CONFIG} beside "
        f"{WEIGHTS}; {where}"
    )


def _tensors(path: Path, config: SaeConfig) -> dict[str, Tensor]:
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    tensors = {name: tensor.float() for name, tensor in stored.items()}
    _name_scale(tensors, config, path)
    d, n = config.d_in, config.d_sae
    expected = {"W_enc": (d, n), "W_dec": (n, d), "b_dec": (d,)}
    expected |= {name: (n,) for name in config.vectors}
    if "finetuning_scaling_factor" in tensors:
        expected["finetuning_scaling_factor"] = (n,)
    for name, shape in expected.items():
        if name not in tensors:
            raise InputError(
                f"{path} has no tensor {name!r}, which a {config.architecture} SAE needs; it has "
                f"{sorted(tensors)}"
            )
        if tuple(tensors[name].shape) != shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(tensors[name].shape)}, expected {shape} by "
                f"d_in and d_sae of {CONFIG}"
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(f"{path}: {name} has numbers that are not finite")
    if unused := sorted(tensors.keys() - expected.keys()):
        raise InputError(
            f"{path} has {unused}, which a {config.architecture} SAE does not use; correct the "
            f"architecture in {CONFIG}, or take the SAE from where it was made"
        )
    return tensors


def _name_scale(tensors: dict[str, Tensor], config: SaeConfig, path: Path) -> None:
    """Call a scale of the latents by one name; one of ones, which older versions wrote, goes."""
    old = tensors.pop("scaling_factor", None)
    scale = tensors.pop("finetuning_scaling_factor", old)
    if scale is None or torch.allclose(scale, torch.ones_like(scale)):
        return
    if not config.finetuned:
        raise InputError(
            f"{path} has a scale of the latents other than 1, and by {CONFIG} it has none "
            "(finetuning_scaling_factor); correct the one that is wrong"
        )
    tensors["finetuning_scaling_factor"] = scale


def _encoder(
    tensors: Mapping[str, Tensor], w_dec: Tensor, config: SaeConfig
) -> tuple[Tensor, Activation, Tensor]:
    """Encoder, activation function and decoder, decoder norms folded in where they rescale."""
    w_enc = tensors["W_enc"]
    match config.architecture:
        case "gated":
            gate, r_mag, b_mag = (tensors[name] for name in config.vectors)
            return w_enc, Gated(gate, r_mag, b_mag), w_dec
        case "jumprelu":
            return w_enc, JumpReLU(tensors["b_enc"], tensors["threshold"]), w_dec
        case "topk":
            assert config.k is not None
            if not config.rescaled:
                return w_enc, TopK(tensors["b_enc"], config.k), w_dec
            norm = tensors["W_dec"].norm(dim=-1)
            bias = tensors["b_enc"] * norm
            return w_enc * norm, TopK(bias, config.k), w_dec / norm[:, None]
        case _:
            return w_enc, Standard(tensors["b_enc"]), w_dec


def _input_scale(folder: Path, config: SaeConfig) -> float:
    """By what the input was multiplied in training, where it still has to be."""
    if config.normalisation_asked != "expected_average_only_in":
        return 1.0
    path = folder / SCALER
    try:
        value: Any = json.loads(read_utf8(path))["scaling_factor"]
        scale = float(value)
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder / CONFIG}: normalize_activations is 'expected_average_only_in', whose scale "
            f"is in no file here; save the SAE with the scale folded in "
            f"(fold_activation_norm_scaling_factor), or put it into {SCALER} as scaling_factor"
        ) from None
    if not 0 < scale < math.inf:
        raise InputError(f"{path}: scaling_factor is {scale:g}; expected a finite number above 0")
    return scale
