"""Every benchmark runs, in a small size on a tiny model, and both sides of it agree in numbers."""

import re
import sys
from pathlib import Path

import pytest
import torch
from support.refusing_model import write_refusing
from support.tiny_models import TinyFolders
from support.tiny_study import paired_things

from benchmarks import peers, run
from benchmarks.document import Outcome, Section, Target, compared, way_table
from benchmarks.machine import machine
from benchmarks.setting import Setting, forget_models
from benchmarks.timing import Timing, between, ratio, take_turns

ROUNDING = 1e-3
"""Of logits and residuals of order 10, in float32 and another order of summation."""


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, tiny_folders: TinyFolders) -> Setting:
    """Two tiny models, of which the first refuses."""
    prompts = paired_things()
    folder = write_refusing(
        tmp_path_factory.mktemp("refusing"), prompts, lambda p: p.label == "refuse"
    )
    sources = (str(folder), str(tiny_folders["qwen2"]))
    yield Setting(prompts, sources, turns=1, whole=False)
    forget_models()


def gap(outcome: Outcome) -> float:
    """The largest difference that an outcome names."""
    match = re.search(r"(\S+) of at most", outcome.gap)
    return float(match[1]) if match else 0.0


# What has a test of its own, or runs in a process of its own and takes seconds to start.
FAST = [name for name in run.BENCHMARKS if name not in ("memory", "peers", "studies")]

AGREED = {
    "generation": "3 of 3 answers equal",
    "monitoring": "2 of 2 answers equal",
    "selection": "the pipeline's survivors are the same",
    "trade_off": "; 0 of ",
}


@pytest.mark.parametrize("name", FAST)
def test_a_benchmark_runs_and_its_numbers_agree(setting: Setting, name: str) -> None:
    section = run.BENCHMARKS[name](setting)
    assert section.outcomes
    for outcome in section.outcomes:
        assert outcome.wall.low > 0
        assert gap(outcome) <= ROUNDING, outcome.gap
        assert "not layer" not in outcome.gap, outcome.gap
    if name in AGREED:
        assert AGREED[name] in section.outcomes[0].gap
    assert section.markdown().startswith(f"### {section.title}")


@pytest.mark.slow
def test_memory_is_measured_in_processes_of_their_own(setting: Setting) -> None:
    section = run.BENCHMARKS["memory"](setting)
    assert section.outcomes[0].wall.median > 0.5


def test_a_worker_in_another_environment_gives_the_same_numbers(setting: Setting) -> None:
    """Here Hugging Face alone, in this environment: the way there and back is the same."""
    section = peers.measure(setting, {"transformers": Path(sys.executable)})
    means, answers = section.outcomes
    assert gap(means) <= ROUNDING, means.gap
    assert answers.gap == "3 of 3 answers equal"


def test_peers_that_are_not_installed_are_named(setting: Setting) -> None:
    section = peers.measure(setting, {"repeng": Path("/nowhere/python")})
    assert "make bench-peers" in section.about


def test_studies_are_read_from_their_manifests(setting: Setting, tmp_path: Path) -> None:
    missing = Setting(setting.prompts, setting.sources, 1, False, (tmp_path / "none",))
    assert "Not there" in run.BENCHMARKS["studies"](missing).markdown()


def test_sections_are_appended_with_commit_machine_and_targets(tmp_path: Path, monkeypatch) -> None:
    timings = take_turns({"fast": lambda: 1, "slow": lambda: sum(range(20_000))}, 3)
    section = Section(
        "Sums",
        "Adding up.",
        [compared("fast", timings["fast"], ("slow", timings["slow"]), gap="", target=Target(0.5))],
        timings,
        n_tokens=7,
    )
    monkeypatch.setattr(run, "BENCHMARKS", {"sums": lambda setting: section})
    out = tmp_path / "RESULTS.md"
    for _ in range(2):
        run.measure_all(["sums"], Setting(paired_things()), out)
    small = tmp_path / "small.md"
    run.measure_all(["sums"], Setting(paired_things(), whole=False), small)
    assert "at most 0.5" not in small.read_text(encoding="utf-8")
    text = out.read_text(encoding="utf-8")
    assert text.count("# Benchmark results\n") == 1
    assert text.count("### Sums") == text.count("### Targets") == 2
    assert text.count("commit") >= 2
    assert "at most 0.5" in text
    assert machine(0.0).split(",")[0] in text


def test_ratios_are_medians_within_turns() -> None:
    of_turns = ratio([1.0, 8.0, 3.0], [1.0, 2.0, 2.0])
    assert (of_turns.median, of_turns.low, of_turns.high) == (1.5, 1.0, 4.0)
    assert Target(1.2, at_least=True).met(1.3)
    assert not Target(0.25).met(0.3)
    scaled = Timing([1.0], [2.0], [5.0]).times(10)
    assert (scaled.wall, scaled.cpu, scaled.rise_mib) == ([10.0], [20.0], [5.0])
    assert "| scaled | 10.00 | 20.00 | 5 MiB |" in way_table({"scaled": scaled}, None)


def test_memory_rises_by_what_a_task_holds() -> None:
    timings = take_turns({"much": lambda: torch.ones(64 * 2**20), "little": lambda: None}, 1)
    assert 200 < timings["much"].rise_mib[0] < 400  # 256 MiB
    assert timings["little"].rise_mib[0] < 50


def test_a_task_is_compared_with_the_plain_runs_around_it() -> None:
    plain, under = between(lambda: sum(range(10_000)), {"a": lambda: sum(range(10_000))}, 2)["a"]
    assert len(plain.wall) == len(under.wall) == 2
