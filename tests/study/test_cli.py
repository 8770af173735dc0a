"""The command line: exit codes, one clear line for a wrong input, and a study killed half-way."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import run, run_process


def test_version_and_help():
    version = run_process("--version")
    assert version.stdout.startswith("refusal-lens ") and version.returncode == 0
    help_text = run("study", "--help")
    assert help_text.returncode == 0
    for option in (
        "--model",
        "--prompts",
        "--categories",
        "--layers",
        "--adapter-scale",
        "--out",
        "--seed",
        "--full",
        "--device",
        "--dtype",
        "--batch-size",
    ):
        assert option in help_text.stdout
    assert "refusal-lens study" in help_text.stdout


def test_datasets_are_listed():
    listed = run("datasets")
    assert listed.returncode == 0
    for name in ("coconot", "xstest", "sorry_bench", "wildguardmix"):
        assert name in listed.stdout


def test_models_are_told():
    listing = run("models")
    assert listing.returncode == 0
    for word in ("qwen-coder-0.5b", "smollm2-planted", "Apache-2.0", "GB on disk"):
        assert word in listing.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "nowhere"], "not a run folder"),
        (["directions", "nowhere"], "not a run folder"),
        (["attribute", "nowhere"], "not a run folder"),
        (["attribute", "nowhere", "--category", "mauve", "--full"], "not a run folder"),
        (["attribute", "nowhere", "--prompt", "Why?"], "not a run folder"),
        (["attribute", "nowhere", "--prompt", ""], "is blank"),
        (["attribute"], "is not a run folder"),
        (["study", "--labels", "mauve"], "--labels 'mauve' is unknown"),
        (["study", "--full", "--quick"], "exclude each other"),
        (["findings"], "RUN"),
        (["findings", "nowhere"], "not a run folder"),
        (["study", "--layers", "eight"], "not a number or a range"),
        (["study", "--layers", "5,20-8"], "'20-8' runs backwards; write 8-20"),
        (["study", "--layers", "²"], "not a number or a range"),
        (["study", "--seed", "-1"], "seed is -1"),
        (["study", "--categories", ","], "is empty"),
        (["study", "--prompts", "nowhere.jsonl"], "does not exist"),
        (["study", "--categories", "mauve"], "mauve"),
        (["study", "--model", "./nowhere"], "can't be loaded"),
        (["study", "--adapter-scale", "-1"], "-1"),
        (["study", "--seed", "many"], "--seed"),
        (["study", "--dtype", "int4"], "dtype 'int4' is unknown"),
        (["study", "--device", "cuda:99"], "device 'cuda:99'"),
        (["attribute", "nowhere", "--device", "gpu"], "device 'gpu' is unknown"),
        (["study", "--batch-size", "0"], "batch_size is 0"),
        (["studdy"], "studdy"),
        (["study", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_2(arguments, words, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_prompt_file_names_file_and_line(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "a"\n')
    done = run_process("study", "--prompts", str(path), cwd=tmp_path)
    assert done.returncode == 2
    assert "mine.jsonl, line 1" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_killed_study_goes_on_and_ends_like_one_that_was_not(
    refusing_folder, prompts_file, tmp_path
):
    command = ["study", "--quick", "--model", str(refusing_folder), "--prompts", str(prompts_file)]
    whole = run_process(*command, "--out", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert "plan" in whole.stdout
    assert "estimate" in whole.stdout
    assert (tmp_path / "whole/report.html").stat().st_size > 1_000_000
    for wait in (0.0, 0.3):
        _kill_after_a_stage(
            [*command, "--out", str(tmp_path / "killed")], tmp_path / "killed", wait
        )
    again = run_process(*command, "--out", str(tmp_path / "killed"))
    assert again.returncode == 0, again.stderr
    paths = [p for p in sorted((tmp_path / "whole/stages").rglob("*")) if p.is_file()]
    assert len(paths) > 10
    for path in paths:
        other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes(), path


def _kill_after_a_stage(command: list[str], folder: Path, wait: float) -> None:
    """Start a study, let it write one stage more, and kill it without warning."""
    before = len(list(folder.glob("stages/*")))
    process = subprocess.Popen(
        [sys.executable, "-m", "refusal_lens.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and len(list(folder.glob("stages/*"))) <= before:
        time.sleep(0.01)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_warning_of_ours_is_one_line(monkeypatch):
    """The command line's own words, without the place in the code that a library would show."""
    import warnings

    from refusal_lens.cli.surroundings import quiet_libraries
    from refusal_lens.memory import BatchSize, MemoryWarning

    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with warnings.catch_warnings():
        quiet_libraries()
        with pytest.warns(MemoryWarning) as caught:
            BatchSize(64).halve(64)
        given = caught[0]
        formatted = warnings.formatwarning(
            given.message, given.category, given.filename, given.lineno
        )
    assert formatted == "refusal-lens: memory ran out with 64 rows at a time; going on with 32\n"
