"""Prompts shared out over processes: every process comes to what one process computes.

Tolerance 1e-4 as in `test_gates.py`: rows have other companions in their batches, and that is all;
sums over prompts are float64 and differ by the rows' differences.
"""

import json
import os
from dataclasses import dataclass, field

import psutil
import pytest
import safetensors.torch
import torch
from support.several import PROMPTS, computed, start

from refusal_lens import processes
from refusal_lens.cli.placement_options import placement_of
from refusal_lens.errors import InputError
from refusal_lens.judges import SubstringJudge, judge_all
from refusal_lens.judges.coherence import SenseChecked
from refusal_lens.model.shares import merge, merged_ids, share_of
from refusal_lens.placement import Placement
from refusal_lens.processes import ALONE, ProcessEndedError, Processes

TOLERANCE = 1e-4
TEXTS = [p.text for p in PROMPTS]


@dataclass
class Recorded:
    """What one of several processes would have merged, and where."""

    rank: int
    merged: list = field(default_factory=list)
    places: list[str] = field(default_factory=list)


@pytest.fixture
def be(monkeypatch):
    """Act as one of several processes, with the share of that one and nobody to meet."""

    def act(rank, count=2):
        recorded = Recorded(rank)

        def add_up(self, at, *tensors):
            recorded.merged += [x.clone() for x in tensors]
            recorded.places.append(at)

        def texts(self, text, at):
            recorded.merged.append(text)
            return [text] * count

        monkeypatch.setattr(Processes, "add_up", add_up)
        monkeypatch.setattr(Processes, "texts", texts)
        monkeypatch.setattr(processes, "_now", Processes(rank, count))
        return recorded

    return act


@pytest.fixture
def each(be, monkeypatch):
    """What each of two processes makes of a call."""

    def ask(call):
        asked = []
        for rank in (0, 1):
            asked.append(be(rank))
            call()
        monkeypatch.undo()
        return asked

    return ask


def test_shares_add_up_to_the_whole(tiny_llama, each):
    first, second = each(lambda: tiny_llama.logits(TEXTS))
    assert first.places == second.places
    (a,), (b,) = first.merged, second.merged
    mine = (a != 0).any(1)
    assert mine.sum() == len(TEXTS) / 2 and not ((b != 0).any(1) & mine).any()
    assert (a + b - tiny_llama.logits(TEXTS)).abs().max() < TOLERANCE


def test_pairs_stay_together_in_a_share(tiny_llama, each):
    asked = each(lambda: tiny_llama.residual_stats(PROMPTS))
    whole = tiny_llama.residual_stats(PROMPTS)
    sums = [sum(parts) for parts in zip(*(one.merged for one in asked), strict=True)]
    expected = (whole.count, whole.total, whole.sq_norm, whole.n_pairs, whole.pair_sq)
    for summed, number in zip(sums, expected, strict=True):
        assert torch.allclose(summed, number, atol=TOLERANCE)
    assert all(0 < int(one.merged[3].sum()) < int(whole.n_pairs.sum()) for one in asked)


def test_other_prompts_or_edits_are_another_place(tiny_llama, each):
    (one, _), (other, _) = (each(lambda n=n: tiny_llama.logits(TEXTS[n : n + 4])) for n in (0, 1))
    assert one.places != other.places


def test_progress_counts_all_rows(tiny_llama, be):
    be(2, count=4)
    ticks = []
    mine = share_of(tiny_llama.feed(TEXTS, ticks.append))
    for _, _ in mine.batches(lambda batch: mine.progress(len(batch.rows))):
        pass
    assert sum(ticks) <= len(TEXTS)
    merge(mine, torch.zeros(1))
    assert sum(ticks) == len(TEXTS)


def test_token_ids_are_merged_with_their_lengths(tiny_llama, be):
    be(0)
    mine = share_of(tiny_llama.feed(["Why?", "Who?"]))
    assert merged_ids(mine, [(), (7, 0, 8)], 5) == [(), (7, 0, 8)]


def test_answers_are_read_in_shares(each):
    pairs = [("Why?", "I can't help with that." if i % 3 else "Mix flour.") for i in range(8)]
    judge = SenseChecked(SubstringJudge())
    first, second = each(lambda: judge_all(judge, pairs))
    whole = [v.outcome for v in judge_all(judge, pairs)]
    parts = [json.loads(one.merged[0]) for one in (first, second)]
    assert [len(part) for part in parts] == [4, 4]
    assert [parts[i % 2][i // 2]["outcome"] for i in range(8)] == whole and len({*whole}) == 2


def test_a_process_that_is_gone_is_named():
    gone = psutil.Popen(["true"])  # a zombie until somebody asks for its exit code
    here = psutil.Process(os.getpid())
    while gone.status() != psutil.STATUS_ZOMBIE:
        pass
    three = Processes(0, 3, None, (here, psutil.Process(gone.pid), None))
    assert three.ended() == (1,) and three.speaks
    with pytest.raises(ProcessEndedError, match=rf"rank 1 of 3 .*process id {gone.pid} is gone"):
        three.check()
    gone.wait()
    assert three.ended() == (1,)
    Processes(0, 2, None, (here, None)).check()


def test_one_place_for_a_model_and_several_processes(be):
    be(0)
    with pytest.raises(InputError, match="leave the number out"):
        placement_of("cuda:0", None, None)
    with pytest.raises(InputError, match="a device map with 2 processes"):
        placement_of(None, None, None, "auto")
    assert placement_of("cpu", None, None).device == "cpu"


def test_a_device_map_by_name():
    assert placement_of(None, None, None, "auto").device_map == "auto"
    for wrong, words in ((("cpu", "auto"), "not both"), ((None, "every"), "'every' is unknown")):
        with pytest.raises(InputError, match=words):
            placement_of(wrong[0], None, None, wrong[1])


def test_an_embedded_model_takes_no_device_map():
    from refusal_lens.model import load_model

    with pytest.raises(InputError, match="fits one device"):
        load_model("smollm2-planted", placement=Placement(device_map="auto"))


def test_without_a_launcher_there_is_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")  # some schedulers set it, and start no others
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with processes.joined() as here:
        assert here is ALONE and here.is_main


@pytest.mark.slow
def test_two_processes_equal_one(tiny_folders, tmp_path):
    """On gloo: statistics, residuals, logits, log-probabilities, answers, with edits by row."""
    folder = str(tiny_folders["llama"])
    started = start(2, "-m", "support.several", folder, str(tmp_path))
    expected = computed(folder, tmp_path / "alone.jsonl")
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    for rank in (0, 1):
        tensors = safetensors.torch.load_file(tmp_path / f"{rank}.safetensors")
        assert tensors.keys() == expected.keys()
        for name, number in expected.items():
            assert tensors[name].dtype == number.dtype
            assert torch.allclose(tensors[name], number, atol=TOLERANCE, rtol=1e-6), (rank, name)
    assert (expected["plain logits"] - expected["by row logits"]).abs().max() > 0.01
    assert expected["plain ticks"] == len(PROMPTS)
    assert torch.equal(expected["kept greedy 9"], expected["plain greedy"])
    kept = [(tmp_path / name).read_bytes() for name in ("alone.jsonl", "answers.jsonl")]
    assert kept[0] == kept[1] and kept[0].count(b"\n") == 1 + len(PROMPTS)  # one process wrote


FAILS = """
import torch
from refusal_lens.cli.launched import one_of_several
from refusal_lens.errors import InputError
from refusal_lens.processes import this_process
import os, signal
with one_of_several():
    here = this_process()
    print("works", flush=True)
    here.add_up("a first place", torch.ones(1))
    if here.rank == 1:
        {how}
    here.add_up("{where}" if here.rank else "here", torch.ones(1))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise InputError('no room')", "rank 1 of 2 processes ended (no room); what is finished"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "rank 1 of 2 processes ended (process id "),
    ],
)
def test_a_process_that_fails_ends_the_run_with_its_rank(how, words):
    main, other = start(2, "-c", FAILS.format(how=how, where="here"))
    out, errors = main.communicate(timeout=120)
    other_out, other_errors = other.communicate(timeout=120)
    assert main.returncode == 1 and other.returncode not in (0, None)
    assert words in errors and "Traceback" not in errors
    assert "run the same command again" in errors
    assert "works" in out and "works" not in other_out
    assert "refusal-lens" not in other_errors and "Traceback" not in other_errors


@pytest.mark.slow
def test_processes_that_part_are_a_fault():
    main, other = start(2, "-c", FAILS.format(how="pass", where="there"))
    errors = main.communicate(timeout=120)[1] + other.communicate(timeout=120)[1]
    assert "came to different places: rank 0: here; rank 1: there" in errors
    assert main.returncode == other.returncode == 1
