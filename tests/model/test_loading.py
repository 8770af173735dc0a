"""What can't be loaded is told in one line; what can be is loaded."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFWriter
from peft import LoraConfig, get_peft_model
from support.tiny_architectures import tiny_config
from support.tiny_models import byte_tokenizer, write_tiny
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    T5Config,
)

from refusal_lens.engines.opening import find_checkpoint
from refusal_lens.errors import InputError
from refusal_lens.model import load, load_model, wrap_model
from refusal_lens.placement import Placement

TEXTS = ["How are you?", "Tell me of tides."]


@pytest.fixture
def llama(tiny_folders: dict[str, Path]) -> Path:
    return tiny_folders["llama"]


def a_config(folder: Path, values: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    byte_tokenizer(folder)
    return folder


def one_line(source: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        load_model(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_path_is_a_source(llama: Path) -> None:
    by_path, by_name = load_model(llama), load_model(str(llama))
    assert torch.equal(by_path.logits(TEXTS), by_name.logits(TEXTS))


def test_a_revision_belongs_to_a_hub_id(llama: Path) -> None:
    for source in (llama, "qwen-coder-0.5b", "smollm2-planted"):
        for load_it in (load_model, find_checkpoint):
            with pytest.raises(InputError, match="revision 'main' belongs to a hub id") as caught:
                load_it(source, revision="main")
            assert "\n" not in str(caught.value)


def test_an_unknown_model_type(tmp_path: Path) -> None:
    folder = a_config(tmp_path / "new", {"model_type": "not_yet_made", "architectures": ["X"]})
    assert "doesn't know" in one_line(folder)


def test_an_encoder_decoder(tmp_path: Path) -> None:
    folder = a_config(tmp_path / "t5", T5Config(d_model=16, num_layers=1).to_dict())
    assert "no causal language model" in one_line(folder)


def test_code_of_its_own_is_never_run(tmp_path: Path) -> None:
    values = {
        "model_type": "own",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    folder = a_config(tmp_path / "own", values)
    (folder / "code.py").write_text("raise SystemExit('ran')")
    assert "code of its own" in one_line(folder)


def test_architectures_may_be_missing(llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama, tmp_path / "bare")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = None
    (folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(load_model(folder).logits(TEXTS), load_model(llama).logits(TEXTS))


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("DiffLlama", "DiffLlamaForCausalLM can't be hooked: .* has no bridge"),
        ("Falcon, new decoder", "FalconForCausalLM can't be hooked: .* builds no bridge"),
        ("RWKV 4", "of RwkvForCausalLM is not the sum of its parts"),
        ("OpenAI GPT", "OpenAIGPTLMHeadModel has no hook on resid_post"),
    ],
)
def test_a_family_without_a_readable_stream(family: str, words: str, tmp_path: Path) -> None:
    message = one_line(write_tiny(tmp_path / "model", tiny_config(family)))
    assert re.search(words, message) and "use a model of a" in message


def test_a_bridge_that_computes_another_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Helium turns its queries in other pairs of dimensions than Llama, whose parts add up too."""
    monkeypatch.setitem(load._SAME_BLOCKS, "HeliumForCausalLM", "LlamaForCausalLM")
    message = one_line(write_tiny(tmp_path / "model", tiny_config("Helium")))
    assert "logits of HeliumForCausalLM" in message and "are not its own" in message


def a_lora(base: Path, folder: Path) -> Any:
    model = LlamaForCausalLM.from_pretrained(base)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    generator = torch.Generator().manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:  # zero when made: it would change nothing
            weight.data.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    adapted.save_pretrained(str(folder))
    return adapted


def test_a_lora_folder_is_merged_into_its_base(llama: Path, tmp_path: Path) -> None:
    adapted = a_lora(llama, tmp_path / "lora")
    whole = adapted.merge_and_unload()
    expected = wrap_model(whole, AutoTokenizer.from_pretrained(llama)).logits(TEXTS)
    logits = load_model(tmp_path / "lora").logits(TEXTS)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert not torch.allclose(logits, load_model(llama).logits(TEXTS), atol=1e-2)


def test_a_lora_folder_without_its_base(llama: Path, tmp_path: Path) -> None:
    a_lora(llama, tmp_path / "lora")
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = None
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config))
    assert "names no base model" in one_line(tmp_path / "lora")


def test_a_peft_model_says_how_to_merge(llama: Path, tmp_path: Path) -> None:
    adapted = a_lora(llama, tmp_path / "lora")
    with pytest.raises(InputError, match="merge_and_unload"):
        wrap_model(adapted, AutoTokenizer.from_pretrained(llama))


def test_quantised_weights_are_refused(llama: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama)
    model.is_quantized = True
    with pytest.raises(InputError, match="quantised"):
        wrap_model(model, AutoTokenizer.from_pretrained(llama))


def test_a_control_vector_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "calm.gguf"
    writer = GGUFWriter(path, "controlvector")
    writer.add_tensor("direction.1", torch.ones(8).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "control vector" in one_line(path)


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"not a model at all")
    assert "no GGUF file" in one_line(tmp_path / "a.gguf")
    (tmp_path / "model.bin").write_bytes(b"x")
    assert "is a file" in one_line(tmp_path / "model.bin")


def test_weights_that_are_cut(llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "model"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    assert "can't be loaded (Error while deserializing header" in one_line(folder)


def test_a_cache_that_is_lost_without_a_word_is_refused(tiny_folders, monkeypatch):
    """As transformers 5.24.0 lost it under TransformerLens 4.3.0: the keyword had another name."""
    from refusal_lens.model.bridge import BridgeBackend

    forward = BridgeBackend.forward
    monkeypatch.setattr(
        BridgeBackend,
        "forward",
        lambda self, ids, mask, *, cache=None, **more: forward(
            self, ids, mask[:, -ids.shape[1] :], **more
        ),
    )
    with pytest.raises(InputError, match="behind cached tokens gives other logits.*transformers 5"):
        load_model(tiny_folders["llama"])


def test_a_bridge_that_fails_in_half_precision_says_so(tmp_path: Path) -> None:
    """TransformerLens multiplies OLMo's float32 rotation with bfloat16 weights."""
    folder = write_tiny(tmp_path / "model", tiny_config("OLMo"))
    with pytest.raises(InputError, match="load it in float32"):
        load_model(folder, placement=Placement(dtype="bfloat16"))
    assert load_model(folder, placement=Placement(dtype="float32")).n_layers == 3
