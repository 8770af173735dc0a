"""Folders in SAELens' format: numbers against plain formulas, both generations, wrong input."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.sparse import random_sae

from refusal_lens.errors import InputError
from refusal_lens.sites import Site
from refusal_lens.sparse import check_fits, load_sae, save_sae

D, N = 6, 10
KINDS = ("standard", "gated", "topk", "jumprelu")


def tensors(kind: str, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    made = {"W_enc": draw(D, N), "W_dec": draw(N, D), "b_dec": draw(D)}
    if kind == "gated":
        return made | {"b_gate": draw(N), "r_mag": 0.5 * draw(N), "b_mag": draw(N)}
    made["b_enc"] = draw(N)
    if kind == "jumprelu":
        made["threshold"] = draw(N).abs()
    return made


def write(folder, weights, **config):
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "sae_weights.safetensors")
    plain = {"d_in": D, "d_sae": N, "dtype": "float32", "device": "cpu"}
    (folder / "cfg.json").write_text(json.dumps(plain | config))
    return folder


def new(kind, **changes):
    """A configuration as version 6 writes it."""
    place = {"hook_name": "blocks.3.hook_resid_pre", "model_name": "tiny"}
    config = {"architecture": kind, "apply_b_dec_to_input": True, "normalize_activations": "none"}
    return config | {"metadata": place} | ({"k": 3} if kind == "topk" else {}) | changes


def formula(x, weights, kind, *, subtract=True, k=3, rescale=False):
    """Latents and reconstruction, number by number, as the papers define them."""
    w = {name: value.double().numpy() for name, value in weights.items()}
    z = np.zeros((len(x), N))
    for row, vector in enumerate(x.double().numpy()):
        centred = vector - w["b_dec"] if subtract else vector
        pre = np.array([sum(centred[i] * w["W_enc"][i, j] for i in range(D)) for j in range(N)])
        if kind == "gated":
            opened = pre + w["b_gate"] > 0
            z[row] = opened * np.maximum(pre * np.exp(w["r_mag"]) + w["b_mag"], 0)
            continue
        pre = pre + w["b_enc"]
        norm = np.linalg.norm(w["W_dec"], axis=1) if rescale else np.ones(N)
        if kind == "topk":
            kept = np.argsort(-(pre * norm))[:k]
            z[row, kept] = np.maximum(pre * norm, 0)[kept]
        elif kind == "jumprelu":
            z[row] = np.maximum(pre, 0) * (pre > w["threshold"])
        else:
            z[row] = np.maximum(pre, 0)
    norm = np.linalg.norm(w["W_dec"], axis=1) if rescale else np.ones(N)
    return z, (z / norm) @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subtract", [True, False])
def test_each_architecture_is_its_plain_formula(tmp_path, kind, subtract):
    weights = tensors(kind)
    sae = load_sae(write(tmp_path, weights, **new(kind, apply_b_dec_to_input=subtract)))
    x = torch.randn(7, D, generator=torch.Generator().manual_seed(1))
    z, made = formula(x, weights, kind, subtract=subtract)
    assert (z > 0).any() and (z == 0).any()
    np.testing.assert_allclose(sae.encode(x).numpy(), z, atol=1e-5)
    np.testing.assert_allclose(sae.reconstruct(x).numpy(), made, atol=1e-5)
    assert sae.site == Site(3) and sae.model_name == "tiny" and sae.activation.name == kind


def test_a_top_k_that_rescales_by_decoder_norms_chooses_by_them(tmp_path):
    weights = tensors("topk")
    weights["W_dec"] *= torch.linspace(0.2, 3.0, N)[:, None]
    x = torch.randn(20, D, generator=torch.Generator().manual_seed(2))
    sae = load_sae(write(tmp_path, weights, **new("topk", rescale_acts_by_decoder_norm=True)))
    z, made = formula(x, weights, "topk", rescale=True)
    np.testing.assert_allclose(sae.encode(x).numpy(), z, atol=1e-4)
    np.testing.assert_allclose(sae.reconstruct(x).numpy(), made, atol=1e-4)
    plain, _ = formula(x, weights, "topk")
    assert ((plain > 0) != (z > 0)).any()


def test_configurations_of_earlier_versions(tmp_path):
    flat = {"hook_point": "blocks.2.hook_resid_post", "model_name": "old", "hook_point_layer": 2}
    weights = tensors("standard")
    x = torch.randn(5, D)
    sae = load_sae(write(tmp_path / "a", weights, **flat))
    np.testing.assert_allclose(sae.encode(x), formula(x, weights, "standard")[0], atol=1e-5)
    assert sae.site == Site(2, "resid_post") and sae.subtract_b_dec
    top = flat | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}}
    sae = load_sae(write(tmp_path / "b", weights, architecture="standard", **top))
    np.testing.assert_allclose(sae.encode(x), formula(x, weights, "topk", k=2)[0], atol=1e-5)
    scaled = weights | {"scaling_factor": torch.linspace(0.5, 2.0, N)}
    sae = load_sae(write(tmp_path / "c", scaled, finetuning_scaling_factor=True, **flat))
    z, _ = formula(x, weights, "standard")
    w_dec, b_dec = weights["W_dec"].numpy(), weights["b_dec"].numpy()
    expected = (z * scaled["scaling_factor"].numpy()) @ w_dec + b_dec
    np.testing.assert_allclose(sae.reconstruct(x), expected, atol=1e-5)
    with pytest.raises(InputError, match="scale of the latents other than 1, and by cfg.json"):
        load_sae(write(tmp_path / "c", scaled, finetuning_scaling_factor=False, **flat))
    ones = weights | {"scaling_factor": torch.ones(N)}
    sae = load_sae(write(tmp_path / "c", ones, finetuning_scaling_factor=False, **flat))
    np.testing.assert_allclose(sae.reconstruct(x), z @ w_dec + b_dec, atol=1e-5)
    hf = new("standard", metadata={"hook_name": "model.layers.4", "model_name": "x"})
    assert load_sae(write(tmp_path / "d", weights, **hf)).site == Site(4, "resid_post")
    early = {"meta": {"hook_name": "blocks.5.hook_resid_pre"}, "architecture": "standard"}
    assert load_sae(write(tmp_path / "e", weights, **early)).site == Site(5)


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "topk", "activation_fn_kwargs": {"k": 3}},
        {"architecture": "topk", "activation_fn": "relu", "activation_fn_kwargs": {"k": 3}},
        {"activation_fn": "topk", "k": None, "activation_fn_kwargs": {"k": 3}},
        {"architecture": "topk", "k": 3, "activation_fn_kwargs": {"k": 5}},
    ],
)
def test_k_is_read_where_either_generation_writes_it(tmp_path, config):
    weights, x = tensors("topk"), torch.randn(5, D)
    sae = load_sae(write(tmp_path, weights, hook_name="blocks.3.hook_resid_pre", **config))
    np.testing.assert_allclose(sae.encode(x), formula(x, weights, "topk", k=3)[0], atol=1e-5)


def test_what_stands_beside_the_metadata_goes_before_it(tmp_path):
    metadata = {"hook_name": "blocks.3.hook_resid_pre", "k": 5, "apply_b_dec_to_input": False}
    config = new("topk", metadata=metadata, apply_b_dec_to_input=None)
    sae = load_sae(write(tmp_path, tensors("topk"), **config))
    x = torch.randn(5, D)
    z, _ = formula(x, tensors("topk"), "topk", k=3, subtract=False)
    np.testing.assert_allclose(sae.encode(x), z, atol=1e-5)


def test_settings_that_change_no_number_are_no_obstacle(tmp_path):
    kwargs = {"center_writing_weights": False, "fold_ln": True}
    quiet = {"reshape_activations": "none", "hook_head_index": None, "hook_layer": 3}
    quiet |= {"finetuning_scaling_factor": False, "model_from_pretrained_kwargs": kwargs}
    folder = write(tmp_path, tensors("standard"), **new("standard", **quiet))
    assert load_sae(folder).site == Site(3)


@pytest.mark.parametrize(
    ("kind", "extra"), [("standard", "threshold"), ("standard", "W_skip"), ("gated", "b_enc")]
)
def test_a_tensor_that_is_not_used_is_named(tmp_path, kind, extra):
    weights = tensors(kind) | {extra: torch.ones(N)}
    with pytest.raises(InputError, match=rf"has \['{extra}'\], which a {kind} SAE does not use"):
        load_sae(write(tmp_path, weights, **new(kind)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("asked", ["layer_norm", "constant_norm_rescale"])
def test_normalisation_of_each_token_is_undone_in_the_reconstruction(
    tmp_path, kind, subtract, asked
):
    weights = tensors(kind)
    changes = {"normalize_activations": asked, "apply_b_dec_to_input": subtract}
    sae = load_sae(write(tmp_path, weights, **new(kind, **changes)))
    x = 5 * torch.randn(4, D, generator=torch.Generator().manual_seed(3)) + 2
    if asked == "layer_norm":
        shift, scale = x.mean(1, keepdim=True), x.std(1, keepdim=True)
        z, made = formula((x - shift) / (scale + 1e-5), weights, kind, subtract=subtract)
    else:
        shift, scale = torch.zeros(4, 1), x.norm(dim=1, keepdim=True) / D**0.5
        z, made = formula(x / scale, weights, kind, subtract=subtract)
    assert (z > 0).any()
    np.testing.assert_allclose(sae.encode(x), z, atol=1e-4)
    np.testing.assert_allclose(sae.reconstruct(x), made * scale.numpy() + shift.numpy(), atol=1e-4)
    part = sae.contribution(x, torch.arange(N))
    w_dec = weights["W_dec"].numpy()
    np.testing.assert_allclose(part, (z @ w_dec) * scale.numpy(), atol=1e-4)


def test_the_scale_of_the_input_is_folded_in_or_missed_in_one_line(tmp_path):
    weights, x = tensors("jumprelu"), torch.randn(5, D)
    config = new("jumprelu", normalize_activations="expected_average_only_in")
    folder = write(tmp_path, weights, **config)
    with pytest.raises(InputError, match="activation_scaler.json as scaling_factor"):
        load_sae(folder)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
    z, made = formula(0.25 * x, weights, "jumprelu")
    sae = load_sae(folder)
    np.testing.assert_allclose(sae.encode(x), z, atol=1e-5)
    np.testing.assert_allclose(sae.reconstruct(x), made / 0.25, atol=1e-4)
    assert sae.normalisation == "none"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_another_precision_are_the_numbers_that_they_hold(tmp_path, kind, dtype):
    stored = {name: tensor.to(dtype) for name, tensor in tensors(kind).items()}
    flat = {"hook_point": "blocks.3.hook_resid_pre", "architecture": kind, "k": 3}
    sae = load_sae(write(tmp_path, stored, **flat | {"dtype": str(dtype)}))
    x = torch.randn(7, D, generator=torch.Generator().manual_seed(1))
    z, made = formula(x, stored, kind)
    np.testing.assert_allclose(sae.encode(x).numpy(), z, atol=1e-5)
    np.testing.assert_allclose(sae.reconstruct(x).numpy(), made, atol=1e-5)
    assert sae.w_dec.dtype == torch.float32


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "cfg.json is missing.*the folder is empty"),
        (("cfg.json", "sae.safetensors"), r"weights.safetensors is missing.*\['cfg.json', 'sae.s"),
        (
            ("params.npz",),
            r"cfg.json is missing.*found \['params.npz'\]: save it with SAELens",
        ),
        (
            ("cfg.json", "sae_weights-00001-of-00002.safetensors", "model.safetensors.index.json"),
            r"sae_weights.safetensors is missing.*00001-of-00002.*save it with SAELens",
        ),
        (
            ("blocks.8/cfg.json", "blocks.9/cfg.json"),
            "holds several; give one, such as .*blocks.8'",
        ),
    ],
)
def test_folders_of_other_formats_are_named_by_what_they_hold(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=message) as error:
        load_sae(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_read_again(tmp_path, kind):
    sae = random_sae(D, N, kind, subtract_b_dec=False, normalisation="layer_norm")
    save_sae(sae, tmp_path)
    again = load_sae(tmp_path)
    x = torch.randn(5, D)
    assert torch.equal(sae.encode(x), again.encode(x)) and again.name == sae.name
    assert torch.equal(sae.reconstruct(x), again.reconstruct(x)) and again.site == sae.site
    save_sae(sae, tmp_path, dtype=torch.float16)
    assert torch.equal(load_sae(tmp_path).w_dec, sae.w_dec.half().float())


WRONG = {
    "architecture 'transcoder' is not read; these are: standard": {"architecture": "transcoder"},
    "hook point 'blocks.3.attn.hook_z' is not one of": {
        "metadata": {"hook_name": "blocks.3.attn.hook_z"}
    },
    "names no hook point": {"metadata": {}},
    "a transcoder, no SAE": {
        "metadata": {
            "hook_name": "blocks.3.hook_resid_pre",
            "hook_name_out": "blocks.3.hook_mlp_out",
        }
    },
    "normalize_activations 'covariance_whitening' is not read": {
        "normalize_activations": "covariance_whitening"
    },
    "activation function 'tanh-relu' is not read": {"activation_fn": "tanh-relu"},
    "d_in is 'six'; expected a whole number": {"d_in": "six"},
    "W_enc has shape (6, 10), expected (7, 10)": {"d_in": 7},
    "has no tensor 'threshold', which a jumprelu SAE needs": {"architecture": "jumprelu"},
    "k is None; expected a whole number": {"architecture": "topk"},
    "apply_b_dec_to_input is 1; expected true or false": {"apply_b_dec_to_input": 1},
    "trained on a centred residual stream": {
        "model_from_pretrained_kwargs": {"center_writing_weights": True}
    },
    "reshape_activations 'hook_z' is not read": {"reshape_activations": "hook_z"},
    "hook_head_index is 2: an SAE of one head": {"hook_point_head_index": 2},
    "hook_layer is 4, and hook point 'blocks.3.hook_resid_pre' is of layer 3": {
        "hook_point_layer": 4
    },
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_folders_are_one_line(tmp_path, message):
    folder = write(tmp_path, tensors("standard"), **(new("standard") | WRONG[message]))
    with pytest.raises(InputError) as error:
        load_sae(folder)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(InputError, match=r"cfg.json is missing; expected a folder in SAELens"):
        load_sae(tmp_path / "none")
    folder = write(tmp_path, tensors("standard"), **new("standard"))
    (folder / "sae_weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="is damaged"):
        load_sae(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        load_sae(folder)
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(InputError, match="sae_weights.safetensors is missing"):
        load_sae(folder)


def test_an_autoencoder_of_another_model_is_refused():
    sae = random_sae(D)
    check_fits(sae, 3, D, "tiny")
    with pytest.raises(InputError, match="of width 6, tiny of width 8; take one that was trained"):
        check_fits(sae, 3, 8, "tiny")
    with pytest.raises(InputError, match=r"resid_pre\[2\]; the layers of tiny are 0 to 1"):
        check_fits(sae, 2, D, "tiny")
