"""The gates, edits and a quick study on CUDA: `make test-gpu`.

Tolerance 1e-3 between devices and between batches on one: float32 products of other kernels (TF32
is off unless the user turns it on). A greedy answer may differ only where the two best logits are
nearer than that; on these models no step is.
"""

import json
import subprocess

import pytest
import torch
from support.directions import a_direction
from support.refusing_model import write_refusing
from support.several import TORCHRUN, environment
from support.tiny_study import SIZES, Watch, paired_things

import refusal_lens as rl
from refusal_lens.model import Decoding
from refusal_lens.placement import Placement
from refusal_lens.study import Study, run_study
from refusal_lens.study.stages.answers import ANSWERS

pytestmark = pytest.mark.gpu
TOLERANCE = 1e-3
SHORT = Decoding(max_new_tokens=8)


def edits_of(model):
    d = a_direction(model)
    return {"none": (), "ablate": (rl.Ablate(d),), "add": (rl.Add(d, strength=1.0),)}


def test_the_device_gives_the_numbers_of_the_cpu(on_device, tiny_llama, three_categories, device):
    assert on_device.backend.device.type == device
    for name, edits in edits_of(tiny_llama).items():
        with tiny_llama.editing(*edits), on_device.editing(*edits, transfer=True):
            for ask in (
                lambda model: model.logits(three_categories),
                lambda model: model.residuals(three_categories, offsets="post").tensor,
                lambda model: model.answer_log_probs(
                    three_categories, [(5, 6)] * len(three_categories)
                ),
            ):
                computed, expected = ask(on_device), ask(tiny_llama)
                assert computed.device.type == "cpu" and computed.dtype == torch.float32
                assert (computed - expected).abs().max() < TOLERANCE, name
            answers = on_device.generate_ids(three_categories, SHORT)
            assert answers == tiny_llama.generate_ids(three_categories, SHORT), name


def test_statistics_are_those_of_the_cpu(on_device, tiny_llama, three_categories):
    stats, expected = (m.residual_stats(three_categories) for m in (on_device, tiny_llama))
    assert torch.equal(stats.count, expected.count)
    assert torch.allclose(stats.total, expected.total, atol=TOLERANCE)
    assert torch.allclose(stats.pair_sq, expected.pair_sq, rtol=TOLERANCE, atol=TOLERANCE)


def test_batch_equals_single(on_device, three_categories):
    for edits in edits_of(on_device).values():
        with on_device.editing(*edits):
            together = on_device.logits(three_categories)
            alone = torch.cat([on_device.logits([p.text]) for p in three_categories])
            assert (together - alone).abs().max() < TOLERANCE


def test_cache_on_equals_cache_off(on_device, three_categories):
    whole = Decoding(max_new_tokens=8, use_cache=False)
    for edits in edits_of(on_device).values():
        with on_device.editing(*edits):
            cached = on_device.generate_ids(three_categories, SHORT)
            assert cached == on_device.generate_ids(three_categories, whole)


def test_an_edit_acts_and_leaves_nothing(on_device, three_categories):
    before, d = on_device.logits(three_categories), a_direction(on_device)
    with on_device.editing(rl.Ablate(d)):
        resid = on_device.residuals(three_categories).tensor
        assert (on_device.logits(three_categories) - before).abs().max() > 0.01
    assert (resid @ d.vector).abs().max() < TOLERANCE
    assert (on_device.residuals(three_categories).tensor @ d.vector).abs().max() > 0.1
    assert on_device.backend.hook_count() == 0
    assert torch.equal(on_device.logits(three_categories), before)


def test_bfloat16_keeps_an_ablated_direction_small(device, tiny_folders, three_categories):
    placement = Placement(dtype="bfloat16", device=device)
    model = rl.load_model(str(tiny_folders["llama"]), placement=placement)
    d = a_direction(model)
    plain = (model.residuals(three_categories).tensor @ d.vector).abs().max()
    with model.editing(rl.Ablate(d)):
        left = (model.residuals(three_categories).tensor @ d.vector).abs().max()
    assert left < 0.1 and left < plain / 10


def test_a_model_spread_over_the_cards_is_the_same(device, tiny_folders, three_categories):
    placement = Placement(dtype="float32", device_map="auto")
    folder = str(tiny_folders["llama"])
    on_one = Placement(dtype="float32", device=device)
    spread, whole = (rl.load_model(folder, placement=p) for p in (placement, on_one))
    difference = spread.logits(three_categories) - whole.logits(three_categories)
    assert difference.abs().max() < TOLERANCE


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    """A tiny model that refuses by itself, and its study."""
    folder = tmp_path_factory.mktemp("refusing")
    prompts = paired_things()
    prompts.save(folder / "prompts.jsonl")
    model = write_refusing(folder / "model", prompts, lambda p: p.label == "refuse")
    path = str(folder / "prompts.jsonl")
    return Study(source=str(model), prompts=path, sizes=SIZES, labels="intended")


@pytest.mark.slow
def test_a_study_comes_to_the_verdicts_of_the_cpu(question, device, tmp_path):
    runs = [
        run_study(question, tmp_path / where, Watch(), Placement(dtype="float32", device=where))
        for where in (device, "cpu")
    ]
    device_answers, expected = (results.get(ANSWERS) for results in runs)
    assert runs[0].manifest["device"].startswith(device)
    assert device_answers.conditions == expected.conditions
    for condition in device_answers.conditions:
        outcomes = [
            [v.outcome for v in answers.verdicts(condition)]
            for answers in (device_answers, expected)
        ]
        assert outcomes[0] == outcomes[1], condition


@pytest.mark.slow
def test_two_processes_share_the_cards_of_a_machine(question, device, tmp_path):
    arguments = ("study", "--quick", "--model", question.source, "--prompts", question.prompts)
    done = subprocess.run(
        [*TORCHRUN, "-m", "refusal_lens.cli", *arguments]
        + ["--device", device, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["device"].startswith(device) and (tmp_path / "run/report.html").exists()
