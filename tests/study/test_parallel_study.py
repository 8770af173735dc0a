"""A study by two processes under torchrun: one writes, and the records are those of one process.

Numbers differ by rounding, since prompts have other companions in their batches: at most 4e-7 was
measured, relative where they are above 1. Texts, verdicts and choices are equal.
"""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.command import run
from support.several import TORCHRUN, environment, process_of_rank

TOLERANCE = 1e-5


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TORCHRUN, "-m", "refusal_lens.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def equal(one, other, place: str) -> None:
    """Whether two JSON values are one but for rounding."""
    assert type(one) is type(other), place
    if isinstance(one, float):
        assert one == pytest.approx(other, rel=TOLERANCE, abs=TOLERANCE), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            if key != "tensors_sha256":
                equal(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            equal(a, b, f"{place}[{i}]")
    else:
        assert one == other, place


def equal_runs(one: Path, other: Path) -> int:
    """Compare all records of two runs; how many there are."""
    files = [
        sorted(str(p.relative_to(run)) for p in run.glob("stages/*/*")) for run in (one, other)
    ]
    assert files[0] == files[1]
    for name in files[0]:
        if name.endswith(".json"):
            equal(*(json.loads((run / name).read_text()) for run in (one, other)), name)
        else:
            a, b = (safetensors.torch.load_file(run / name) for run in (one, other))
            assert a.keys() == b.keys()
            for key in a:
                close = torch.allclose(a[key], b[key], TOLERANCE, TOLERANCE, equal_nan=True)
                assert close, (name, key)
    return len(files[0])


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_the_same_command_goes_on(
    refusing_folder, prompts_file, tmp_path
):
    folder = tmp_path / "two"
    command = ["study", "--quick", "--labels", "intended", "--model", str(refusing_folder)]
    command += ["--prompts", str(prompts_file)]
    launcher = start(*command, "--out", str(folder))
    while launcher.poll() is None and len(list(folder.glob("stages/[a-z]*"))) < 3:
        time.sleep(0.02)
    victim = process_of_rank(launcher, 1)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    (line,) = [x for x in errors.splitlines() if x.startswith("refusal-lens: ")]
    assert f"rank 1 of 2 processes ended (process id {victim.pid} is gone)" in line
    assert line.endswith("what is finished is kept: run the same command again")
    n_done = len(list(folder.glob("stages/[a-z]*/stage.json")))
    assert n_done >= 3 and not (folder / "report.html").exists()

    again = start(*command, "--out", str(folder))
    out, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert out.count("report: ") == 1 and out.count("estimate: ") == 1
    assert sum(" done " in line for line in out.splitlines()) >= n_done
    assert (folder / "report.html").stat().st_size > 1_000_000
    assert not list(folder.glob("stages/.*"))

    alone = run(*command, "--out", str(tmp_path / "one"))
    assert alone.returncode == 0, alone.stderr
    assert equal_runs(folder, tmp_path / "one") > 20
