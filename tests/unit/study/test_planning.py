"""The plan of a study: real sizes, work that is the stages' own, memory and time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command import run
from support.tiny_architectures import tiny_config
from support.tiny_models import ARCHITECTURES
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    DeepseekV3Config,
    LlamaConfig,
    Qwen3MoeConfig,
)

from refusal_lens.errors import InputError
from refusal_lens.model.source_digest import source_digest
from refusal_lens.placement import Placement
from refusal_lens.prompts.files import load_categories
from refusal_lens.study import Sizes, Study
from refusal_lens.study.order import stages_of
from refusal_lens.study.outline import Outline, Shape
from refusal_lens.study.planning import StudyPlan, plan_study
from refusal_lens.study.planning.basis import Basis
from refusal_lens.study.planning.configured import find_configured
from refusal_lens.study.planning.hardware import HARDWARE, Hardware, find_hardware
from refusal_lens.study.planning.lengths import ASSUMED
from refusal_lens.study.planning.measured import this_machine
from refusal_lens.study.planning.memory import peak_memory
from refusal_lens.study.planning.pace import pace_of
from refusal_lens.study.planning.size import ModelSize, model_size
from refusal_lens.study.prompts import study_prompts
from refusal_lens.study.stage import TOKEN

KEYS = tuple(load_categories())
H100 = find_hardware("h100")
LLAMA_405B = LlamaConfig(
    vocab_size=128256,
    hidden_size=16384,
    intermediate_size=53248,
    num_hidden_layers=126,
    num_attention_heads=128,
    num_key_value_heads=8,
    max_position_embeddings=131072,
    tie_word_embeddings=False,
    dtype=torch.bfloat16,
)


@pytest.fixture(scope="module")
def largest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the configuration of a model of 405 billion parameters, and nothing else."""
    folder = tmp_path_factory.mktemp("plans") / "llama-405b"
    LLAMA_405B.save_pretrained(folder)
    return str(folder)


def planned(source: str, n_categories: int = 2, **asked: Any) -> StudyPlan:
    study = Study(source, categories=KEYS[:n_categories], sizes=Sizes.quick())
    return plan_study(study, hardware=H100, **asked)


@pytest.mark.parametrize(
    "name",
    [*ARCHITECTURES, "Qwen 3 MoE", "GPT-2", "Granite hybrid, MoE", "DeepSeek 3", "GPT-OSS"],
)
def test_parameters_are_those_of_a_model_that_was_built(name: str):
    config = ARCHITECTURES[name] if name in ARCHITECTURES else tiny_config(name)
    built = AutoModelForCausalLM.from_config(config)
    size = model_size(config)
    assert size.parameters == sum(p.numel() for p in built.parameters())
    assert size.active <= size.parameters


def test_a_token_meets_only_the_experts_that_it_is_sent_to():
    config = tiny_config("Qwen 3 MoE")
    assert isinstance(config, Qwen3MoeConfig)
    one_expert = 3 * config.hidden_size * config.moe_intermediate_size
    idle = (config.num_experts - config.num_experts_per_tok) * one_expert
    size = model_size(config)
    assert size.experts == config.num_hidden_layers * config.num_experts * one_expert
    assert size.active == size.parameters - config.num_hidden_layers * idle
    whole = replace(size, chosen=1.0)
    difference = whole.flops(1.0, 0.0) - size.flops(1.0, 0.0)
    assert difference == 2 * config.num_hidden_layers * idle
    assert size.weights_read(1e6) == whole.weights_read(1.0)  # a large batch reaches all of them


@pytest.mark.parametrize("name", [*ARCHITECTURES])
@pytest.mark.parametrize(("new", "kept"), [(20, 1), (17, 17)])
def test_flops_are_those_that_torch_counts(name: str, new: int, kept: int):
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[name], attn_implementation="eager")
    ids = torch.arange(new)[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        cache = model(ids, logits_to_keep=kept, use_cache=True).past_key_values
    size = model_size(ARCHITECTURES[name])
    assert size.flops(new, new, kept) == pytest.approx(counter.get_total_flops(), rel=0.02)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(ids[:, :1], past_key_values=cache, logits_to_keep=1)
    assert size.flops(1.0, new + 1.0) == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("name", ["Mixtral", "DeepSeek 3", "GPT-OSS", "Gemma 4 (text)"])
def test_flops_of_experts_and_of_other_attention(name: str):
    config, ids = tiny_config(name), torch.arange(16)[None]
    ways = {"attn_implementation": "eager", "experts_implementation": "eager"}
    model = AutoModelForCausalLM.from_config(config, **ways)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(ids, logits_to_keep=1)
    assert model_size(config).flops(16, 16) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_a_published_mixture_of_experts_has_its_published_size():
    size = model_size(DeepseekV3Config())  # "671B total, 37B activated for each token"
    assert size.parameters == pytest.approx(671e9, rel=0.001)
    assert size.active == pytest.approx(37e9, rel=0.02)


def test_logits_cost_only_where_they_are_taken():
    size = model_size(ARCHITECTURES["llama"])
    each = size.flops(8.0, 8.0, 2.0) - size.flops(8.0, 8.0, 1.0)
    assert each == 2 * size.d_model * size.vocabulary


def test_the_work_is_what_the_stages_declare(tiny_folders: dict[str, Path]):
    study = Study(str(tiny_folders["llama"]), categories=KEYS[:2], sizes=Sizes.quick())
    plan = plan_study(study, hardware=H100)
    size, length = plan.basis.size, plan.basis.length
    shape = Shape(size.n_layers, size.d_model, length.n_post)
    outline = Outline(study, study_prompts(study), shape)
    stages = stages_of("study", KEYS[:2])
    assert [cost.name for cost in plan.stages] == [stage.name for stage in stages]
    for stage, cost in zip(stages, plan.stages, strict=True):
        total = cost.passes + TOKEN * cost.generated
        assert total == pytest.approx(stage.work_in(outline).total_passes)
    assert plan.total.passes > 0 < plan.total.generated


def test_lengths_are_the_tokenizers_or_said_to_be_assumed(
    tiny_llama: Any, tiny_folders: dict[str, Path], largest: str
):
    plan = planned(str(tiny_folders["llama"]))
    assert not plan.basis.length.assumed
    assert plan.basis.length.n_post == tiny_llama.chat.n_post
    assert plan.basis.length.shared == len(tiny_llama.chat.prefix_ids)
    assert planned(largest).basis.length == ASSUMED
    shown = run("plan", largest, "--on", "h100", "--quick", "--categories", KEYS[0])
    assert "lengths are assumed" in shown.stdout


def test_more_categories_are_proportionally_more_work(largest: str):
    plans = [planned(largest, n) for n in (2, 4)]
    work = [{s.name: s for s in plan.stages} for plan in plans]
    for name in ("behaviour", "directions", "score"):
        two, four = (stages[name] for stages in work)
        assert four.passes == 2 * two.passes
        assert (four.flops, four.seconds) == pytest.approx((2 * two.flops, 2 * two.seconds))
    assert work[0]["selection"].passes == work[1]["selection"].passes  # it is of the pooled one


def test_405_billion_parameters_in_bfloat16_are_810_gigabytes(largest: str):
    plan = planned(largest)
    assert plan.basis.dtype == "bfloat16"
    assert plan.memory.weights == pytest.approx(810e9, rel=0.005)
    assert plan.devices == 11
    shown = run("plan", largest, "--on", "h100", "--quick", "--categories", KEYS[0])
    assert shown.returncode == 0, shown.stderr
    assert "811.7 GB in bfloat16" in shown.stdout
    assert "no: 80.0 GB are there; 11 of them hold it" in shown.stdout
    assert not shown.stderr


def _basis(size: ModelSize, hardware: Hardware, **changed: Any) -> Basis:
    length = replace(ASSUMED, tokens=40.0, shared=20)
    return replace(Basis(size, length, hardware, "bfloat16", rows=10), **changed)


def test_a_token_takes_as_long_as_its_weights_need_to_be_read():
    size = model_size(ARCHITECTURES["llama"])
    slow = Hardware("slow", {"bfloat16": 1e30}, 1e3, 1e9, "made up", stream=0.5, block=0.0)
    numbers = size.dense + size.unembedding + 10 * 40 * size.cached
    assert pace_of(_basis(size, slow)).token.seconds == pytest.approx(2 * numbers / 500 / 10)
    blocks = pace_of(_basis(size, replace(slow, bandwidth=1e30, block=1.0)))
    assert blocks.prompt.seconds == blocks.token.seconds == pytest.approx(size.n_layers / 10)


def test_a_pass_takes_as_long_as_its_flops_do():
    size = model_size(ARCHITECTURES["llama"])
    fast = Hardware("fast", {"bfloat16": 1e6}, 1e30, 1e9, "made up", read=0.5, block=0.0)
    expected = size.flops(20.0, 40.0) / 0.5e6
    assert pace_of(_basis(size, fast)).prompt.seconds == pytest.approx(expected)


def test_layers_that_are_kept_twice_and_a_second_model_take_their_memory():
    size = model_size(ARCHITECTURES["llama"])
    cpu = Hardware("cpu", {"float32": 1e9}, 1e9, 1e12, "made up", cpu=True)
    one = peak_memory(_basis(size, cpu, dtype="float32"), kept=1000)
    assert one.weights == 4 * size.parameters and one.doubled == 0
    packed = replace(cpu, doubles=True)
    two = peak_memory(_basis(size, packed, dtype="float32", models=2), kept=2000)
    assert two.weights == 2 * one.weights and two.doubled == 8 * size.linears
    assert two.peak - one.peak == pytest.approx(one.weights + two.doubled + 1000)


def test_this_machine_is_measured():
    here = this_machine(Placement(device="cpu"), "float32", 64)
    x, weight = torch.randn(1024, 64), torch.randn(64, 256)
    with FlopCounterMode(display=False) as counter:
        x @ weight
    assert 1e-6 < counter.get_total_flops() / here.rate("float32") < 1  # a second is very long
    with pytest.raises(InputError, match=r"no bfloat16 rate; give --dtype, one of \['float32'\]"):
        here.rate("bfloat16")


@pytest.mark.parametrize("name", [*HARDWARE])
def test_named_hardware_is_whole(name: str):
    hardware = HARDWARE[name]
    assert hardware.source and hardware.rate("float32") > 1e11
    assert hardware.cpu or hardware.rate("bfloat16") > hardware.rate("float32")
    assert 0 < hardware.read <= 1 and 0 < hardware.decode <= 1 and 0 < hardware.stream <= 1


def test_wrong_hardware_and_a_missing_configuration_are_one_line(tmp_path: Path):
    unknown = run("plan", "qwen-coder-0.5b", "--on", "h1000")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("refusal-lens: hardware 'h1000' is unknown; --on takes one of")
    assert all(name in unknown.stderr for name in HARDWARE) and unknown.stderr.count("\n") == 1
    missing = run("plan", "nobody/nothing", "--on", "h100")
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1
    assert "no configuration of 'nobody/nothing' is on this machine" in missing.stderr
    with pytest.raises(InputError, match=r"holds no config\.json"):
        find_configured(str(tmp_path))
    with pytest.raises(InputError, match="does not exist"):
        find_configured(str(tmp_path / "no.gguf"))


def test_an_adapters_folder_is_counted_as_its_base(tmp_path: Path, tiny_folders: dict[str, Path]):
    base = {"base_model_name_or_path": str(tiny_folders["llama"])}
    (tmp_path / "adapter_config.json").write_text(json.dumps(base), encoding="utf-8")
    assert find_configured(str(tmp_path)).config.num_hidden_layers == 3


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"base_model_name_or_path": ["a"]}', "\xff"])
def test_a_damaged_adapter_is_one_clear_line(tmp_path: Path, text: str):
    (tmp_path / "adapter_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"adapter_config\.json") as raised:
        find_configured(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_plan_refuses_the_revisions_that_a_run_refuses(tiny_folders: dict[str, Path]):
    for source in (str(tiny_folders["llama"]), "qwen-coder-0.5b"):
        with pytest.raises(InputError, match="revision 'x' belongs to a hub id"):
            find_configured(source, "x")


@pytest.mark.parametrize("revision", [None, "v2"])
def test_an_adapters_base_has_the_revision_that_the_adapter_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
):
    base = {"base_model_name_or_path": "org/base", "revision": revision}
    (tmp_path / "adapter_config.json").write_text(json.dumps(base), encoding="utf-8")
    asked: list[tuple[str, str | None]] = []

    def config(source: str, **where: Any) -> LlamaConfig:
        asked.append((source, where.get("revision")))
        made = LlamaConfig()
        made._commit_hash = f"commit of {where.get('revision')}"
        return made

    monkeypatch.setattr(AutoConfig, "from_pretrained", config)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: None)
    find_configured(str(tmp_path))
    digest = source_digest(tmp_path)
    assert asked == [("org/base", revision)] * 2
    other = {"base_model_name_or_path": "org/base", "revision": "v3"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(other), encoding="utf-8")
    assert source_digest(tmp_path) != digest
    assert source_digest("org/base", revision) == f"commit of {revision}"
