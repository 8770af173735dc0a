"""The digest of a model: every byte of its weights counts, and the settings it computes with."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from refusal_lens.model import load_model, wrap_model
from refusal_lens.model.digest import (
    content_checksum,
    model_digest,
    settings_of,
    tensors_digest,
)

SHAPES = [(4096, 1024), (32000, 64), (7,), (3, 5)]
DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.int8]


@pytest.fixture
def llama(tiny_folders: dict[str, Path]) -> Path:
    return tiny_folders["llama"]


def changed_config(source: Path, folder: Path, values: dict[str, Any]) -> Path:
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_one_other_value_is_another_content(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    plain = torch.zeros(shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(plain.numel(), (5,), generator=generator).tolist()
    seen = {content_checksum(plain)}
    for place in {0, plain.numel() - 1, *places}:
        other = plain.clone()
        other.view(-1)[place] = 1
        seen.add(content_checksum(other))
    assert len(seen) == 1 + len({0, plain.numel() - 1, *places})


def test_what_an_even_sample_of_elements_misses() -> None:
    """One row, and all columns but the first where the step of a sample is a multiple of them."""
    plain = torch.zeros(4096, 1024)
    row, columns = plain.clone(), plain.clone()
    row[5] = 1.0
    columns[:, 1:] = 1.0
    assert len({content_checksum(x) for x in (plain, row, columns)}) == 3


def test_signs_and_exchanged_values_count() -> None:
    """Changes of the highest bit alone, in pairs, and of places alone."""
    x = torch.randn(300_000, generator=torch.Generator().manual_seed(0))
    turned, moved, shifted = -x, x.clone(), x.roll(1 << 16)
    moved[[0, 70_000]] = x[[70_000, 0]]
    pair = x.clone()
    pair[[1, 3]] *= -1
    assert len({content_checksum(y) for y in (x, turned, moved, shifted, pair)}) == 5


def by_hand(words: Tensor) -> int:
    """The sum of words times odd factors by SplitMix64's mixing function, modulo 2^64."""
    mask, total = (1 << 64) - 1, 0
    for place, word in enumerate(words.tolist(), start=1):
        z = place * 0x9E3779B97F4A7C15 & mask
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            signed = z - (1 << 64) if z >> 63 else z
            z = (z ^ (signed >> shift & mask)) * factor & mask
        total += word * (z | 1)
    return total & mask


def test_the_checksum_is_exact() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert content_checksum(x) == by_hand(x.view(torch.int32)).to_bytes(8, "little")


def test_layout_does_not_count_and_offsets_do_not_hinder() -> None:
    x = torch.randn(33, 7).bfloat16()
    assert content_checksum(x.T.contiguous().T) == content_checksum(x)
    flat = torch.cat([torch.zeros(1).bfloat16(), x.reshape(-1)])[1:]  # begins within a word
    assert content_checksum(flat) == content_checksum(x)


def test_name_shape_and_dtype_count() -> None:
    x = torch.zeros(4, 2)
    named = [("a", x), ("b", x), ("a", x.view(2, 4)), ("a", x.view(torch.int32))]
    digests = {tensors_digest([pair], {}) for pair in named}
    assert len(digests | {tensors_digest([("a", x)], {"model_type": "llama"})}) == 5


@pytest.mark.parametrize(
    "values",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
        {"rms_norm_eps": 0.5},
    ],
    ids=["base of rotary positions", "epsilon of norms"],
)
def test_settings_that_change_numbers_count(
    llama: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    plain, other = load_model(llama), load_model(changed_config(llama, tmp_path / "other", values))
    assert (plain.logits(["Why?"]) - other.logits(["Why?"])).abs().max() > 0.1
    assert plain.digest != other.digest


def test_settings_that_change_nothing_do_not(llama: Path, tmp_path: Path) -> None:
    values = {"transformers_version": "4.0.0", "use_cache": False, "eos_token_id": [7, 8]}
    elsewhere = load_model(changed_config(llama, tmp_path / "elsewhere", values))
    hf: Any = AutoModelForCausalLM.from_pretrained(llama)
    wrapped = wrap_model(hf, elsewhere.chat.tokenizer)
    assert elsewhere.digest == load_model(llama).digest == wrapped.digest


def test_a_setting_at_its_default_is_as_none(llama: Path) -> None:
    """A later transformers adds settings: at their defaults a model stays what it was."""
    config = AutoConfig.from_pretrained(llama)
    assert config.attention_dropout == LlamaConfig().attention_dropout
    settings = settings_of(config)
    assert "attention_dropout" not in settings
    assert settings["model_type"] == "llama" and settings["hidden_size"] == config.hidden_size


def test_the_precision_counts(llama: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    single = model_digest(model)
    assert model_digest(model.bfloat16()) != single


def test_who_saved_a_configuration_is_no_setting(llama: Path, tmp_path: Path) -> None:
    values = {"unsloth_version": "2026.1", "unsloth_fixed": True, "tokenizer_class": "Any"}
    folder = changed_config(llama, tmp_path / "saved", values)
    assert settings_of(AutoConfig.from_pretrained(folder)) == settings_of(
        AutoConfig.from_pretrained(llama)
    )
