"""Packed linear layers give the layer's own numbers, and notice when its weights change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from refusal_lens.model import LensModel, load_model
from refusal_lens.model import packed as packed_module
from refusal_lens.model.packed import PackedLinear, pack_linears, pays
from refusal_lens.placement import Placement

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN"
)
PROMPTS = ["Hi", "Tell me of tides and of the moon, please.", "No"]


def layer(n_in: int = 24, n_out: int = 40, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(n_in, n_out, bias=bias)


@pytest.mark.parametrize("shape", [(24,), (1, 24), (7, 24), (2, 5, 24), (0, 24), (2, 0, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_gives_the_layers_own_numbers(shape: tuple[int, ...], bias: bool) -> None:
    linear, x = layer(bias=bias), torch.randn(shape)
    with torch.inference_mode():
        y, expected = PackedLinear(linear)(x), linear(x)
    assert y.shape == expected.shape
    assert torch.allclose(y, expected, atol=1e-5)


def halved(linear: nn.Linear) -> None:
    linear.weight.data.mul_(0.5)


def replaced(linear: nn.Linear) -> None:
    linear.weight = nn.Parameter(torch.randn_like(linear.weight))


def orthogonalised(linear: nn.Linear) -> None:
    r = torch.nn.functional.normalize(torch.randn(linear.out_features), dim=0)
    linear.weight.data -= r[:, None] * (r @ linear.weight.data)


def one_column(linear: nn.Linear) -> None:
    with torch.no_grad():
        linear.weight[:, 5] = 0.0


@pytest.mark.parametrize("change", [halved, replaced, orthogonalised, one_column])
def test_changed_weights_are_packed_anew(change: Callable[[nn.Linear], None]) -> None:
    linear, x = layer(), torch.randn(3, 24)
    product = PackedLinear(linear)
    with torch.no_grad():
        before = product(x)
    change(linear)
    with torch.no_grad():
        assert not torch.allclose(product(x), before, atol=1e-3)
        assert torch.allclose(product(x), linear(x), atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 1024), (32000, 64), (24, 36), (3, 1), (1, 7)])
def test_what_is_looked_at_lies_in_every_part_of_a_row(shape: tuple[int, int]) -> None:
    """Not in the same few columns, as where the step shares a factor with the width."""
    places = packed_module._sample(torch.arange(shape[0] * shape[1]).view(shape))
    assert len((places % shape[1]).unique()) == min(shape[1], len(places))
    assert len(places) <= 2 * packed_module._SAMPLED


def test_weights_that_are_set_aside_can_still_be_read(tmp_path: Path) -> None:
    weight = torch.randn(512, 1024)
    save_file({"weight": weight}, tmp_path / "weight.safetensors")
    mapped = load_file(tmp_path / "weight.safetensors")["weight"]
    linear = nn.Linear(1024, 512, bias=False)
    linear.weight = nn.Parameter(mapped, requires_grad=False)
    with torch.no_grad():
        PackedLinear(linear)(torch.randn(2, 1024))
    assert torch.equal(linear.weight, weight)
    linear = layer(1024, 512)  # and those that are in memory alone
    before = linear.weight.detach().clone()
    with torch.no_grad():
        PackedLinear(linear)(torch.randn(2, 1024))
    assert torch.equal(linear.weight, before)


def test_gradients_and_other_precisions_are_the_layers_own() -> None:
    linear, x = layer(), torch.randn(3, 24, requires_grad=True)
    product = PackedLinear(linear)
    product(x).sum().backward()
    assert x.grad is not None and torch.allclose(x.grad, linear.weight.sum(0).expand(3, -1))
    linear.bfloat16()
    with torch.no_grad():
        assert product(x.detach().bfloat16()).dtype == torch.bfloat16


def test_it_is_chosen_by_the_processor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def on(name: str, avx512: bool) -> bool:
        capabilities = {"cpu_name": name, "avx512_f": avx512}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        return pays()

    assert on("AMD EPYC", True) is torch.backends.mkl.is_available()
    assert not on("AMD EPYC", False)
    assert not on("Intel(R) Xeon(R)", True)


def test_a_model_that_would_not_fit_twice_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_module, "pays", lambda: True)
    model = nn.Sequential(layer(), nn.ReLU(), layer())
    memory = type("Memory", (), {"available": 100})
    with monkeypatch.context() as scarce:
        scarce.setattr(packed_module.psutil, "virtual_memory", lambda: memory)
        assert pack_linears(model) == 0
    assert pack_linears(model) == 2


def test_a_models_numbers_are_the_same(
    tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def logits(packed: bool) -> tuple[Any, list[str]]:
        monkeypatch.setattr(packed_module, "pays", lambda: True)
        model: LensModel = load_model(
            str(tiny_folders["qwen2"]), placement=Placement(device="cpu", packed=packed)
        )
        block = model.backend.model.blocks[0].mlp.original_component.down_proj  # type: ignore[union-attr]
        assert ("forward" in vars(getattr(block, "original_component", block))) is packed
        return model.logits(PROMPTS), model.generate(PROMPTS)

    (plain, answers), (fast, same) = logits(False), logits(True)
    assert torch.allclose(fast, plain, atol=1e-4)
    assert same == answers
