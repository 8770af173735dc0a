"""Fixtures: a small study of a tiny random model, and a whole run of it."""

import pytest
from support.tiny_study import SIZES, Watch, let_it_refuse

from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.study import Study, run_study


@pytest.fixture(scope="module")
def prompts_file(tmp_path_factory):
    prompts = [
        Prompt(
            f"{c}-{split}-{i}-{label}",
            f"{c} {what} {i * 7 % 5}{' please' if label == 'refuse' else ' thanks'}",
            c,
            label,
            split,
            "test",
            f"{c}-{split}-{i}",
        )
        for c in ("red", "green", "blue")
        for split, n, what in (
            ("adapt", 2, "thing"),
            ("train", 8, "thing"),
            ("val", 6, "thing"),
            ("test", 3, "item"),
        )
        for i in range(n)
        for label in ("refuse", "comply")
    ]
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    PromptSet(tuple(prompts)).save(path)
    return path


@pytest.fixture(scope="module")
def study(tiny_folders, prompts_file):
    return Study(
        source=str(tiny_folders["llama"]),
        prompts=str(prompts_file),
        sizes=SIZES,
        control=str(tiny_folders["mistral"]),
        labels="intended",
        judge="stand-in",
    )


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """One whole run, with the stand-in judge."""
    patch = pytest.MonkeyPatch()
    let_it_refuse(patch)
    watch = Watch()
    try:
        results = run_study(study, tmp_path_factory.mktemp("runs") / "a", watch)
    finally:
        patch.undo()
    return results, watch
