"""Fixtures: tiny models that refuse by themselves, a small study of one, and whole runs."""

from pathlib import Path

import pytest
from support.refusing_model import write_refusing
from support.tiny_study import SIZES, Watch, contents, copied, paired_things

from refusal_lens.model import LensModel, load_model
from refusal_lens.placement import Placement
from refusal_lens.study import Results, Study, run_study


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    paired_things().save(path)
    return path


@pytest.fixture(scope="session")
def refusing_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that refuses what it should and answers the rest."""
    folder = tmp_path_factory.mktemp("refusing")
    return write_refusing(folder, paired_things(), lambda p: p.label == "refuse")


@pytest.fixture(scope="session")
def refusing(refusing_folder: Path) -> LensModel:
    """That model."""
    return load_model(str(refusing_folder), placement=Placement(dtype="float32", device="cpu"))


@pytest.fixture(scope="session")
def study(refusing_folder: Path, prompts_file: Path, tiny_folders: dict[str, Path]) -> Study:
    return Study(
        source=str(refusing_folder),
        prompts=str(prompts_file),
        sizes=SIZES,
        control=str(tiny_folders["mistral"]),
        labels="intended",
    )


@pytest.fixture(scope="session")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory):
    """One whole run for all tests, which must leave it as it is (`run_copy` is a copy)."""
    watch = Watch()
    results = run_study(study, tmp_path_factory.mktemp("runs") / "a", watch)
    before = contents(results.folder)
    yield results, watch
    assert contents(results.folder) == before, "a test changed the run that all share"


@pytest.fixture
def run_copy(finished: tuple[Results, Watch], tmp_path: Path) -> Results:
    """A copy of the whole run that a test may write to."""
    return copied(finished[0], tmp_path / "own")
