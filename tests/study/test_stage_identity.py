"""What numbers depend on is in a stage's digest: another model, control or token, another one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.tiny_models import ARCHITECTURES, write_tiny
from support.tiny_study import SIZES, Watch

from refusal_lens.errors import InputError
from refusal_lens.model.source_digest import source_digest
from refusal_lens.study import Results, Study, run_study
from refusal_lens.study.order import every_stage
from refusal_lens.study.run import begin, stale
from refusal_lens.study.stage import Bench
from refusal_lens.study.stages import behaviour

WITH_CONTROL = {"control", "attribution_control"}


@pytest.fixture
def asked(tiny_folders: dict[str, Path], prompts_file: Path, tmp_path: Path) -> Study:
    """A question about a model, with a control, in folders that a test may write to."""
    source = shutil.copytree(tiny_folders["llama"], tmp_path / "model")
    control = shutil.copytree(tiny_folders["llama"], tmp_path / "control")
    return Study(
        source=str(source),
        prompts=str(prompts_file),
        sizes=SIZES,
        control=str(control),
        labels="intended",
    )


def digests(study: Study, folder: Path) -> dict[str, str]:
    """The digest of every stage as it would be made now."""
    from refusal_lens.study.run import _digests

    return _digests(begin(study, folder))


def changed(study: Study, folder: Path, change: Any) -> set[str]:
    before = digests(study, folder)
    change()
    after = digests(study, folder)
    return {name for name in before if before[name] != after[name]}


def with_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"rms_norm_eps": 0.5}),
        ("generation_config.json", {"eos_token_id": [257, 10, 65]}),
    ],
    ids=["setting", "tokens that end an answer"],
)
def test_other_settings_make_every_stage_again(
    asked: Study, tmp_path: Path, file: str, values: dict[str, Any]
) -> None:
    path = Path(asked.source, file)
    every = {s.name for s in every_stage(("red", "green", "blue"))}
    assert changed(asked, tmp_path / "run", lambda: with_json(path, values)) == every


def test_another_vocabulary_makes_every_stage_again(asked: Study, tmp_path: Path) -> None:
    """Two tokens of equal length exchanged: the template and its ids stay."""
    path = Path(asked.source, "tokenizer.json")

    def exchange() -> None:
        content = json.loads(path.read_text())
        vocabulary = content["model"]["vocab"]
        vocabulary["Q"], vocabulary["Z"] = vocabulary["Z"], vocabulary["Q"]
        path.write_text(json.dumps(content))

    assert {"behaviour", "control"} <= changed(asked, tmp_path / "run", exchange)


def test_other_weights_of_the_control_make_what_uses_it_again(asked: Study, tmp_path: Path) -> None:
    assert asked.control is not None
    control = Path(asked.control)
    again = changed(
        asked, tmp_path / "run", lambda: write_tiny(control, ARCHITECTURES["llama"], seed=5)
    )
    followers = {
        s.name for s in every_stage(("red", "green", "blue")) if WITH_CONTROL & {*s.needs, *s.after}
    }
    assert again >= WITH_CONTROL
    assert again >= followers and "geometry" not in again and "behaviour" not in again


def test_the_files_of_a_model_tell_it_from_others(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_folders["llama"], tmp_path / "base")
    plain = source_digest(base)
    (base / "README.md").write_text("notes")
    assert source_digest(base) == plain != source_digest(tiny_folders["mistral"])
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    named = {"base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(named))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    merged = source_digest(adapter)
    with_json(base / "config.json", {"rms_norm_eps": 0.5})
    assert source_digest(base) != plain and source_digest(adapter) != merged
    (adapter / "adapter_model.safetensors").write_bytes(b"other")
    assert len({source_digest(adapter), merged, plain}) == 3
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert source_digest(tmp_path / "model.gguf") != source_digest(tmp_path / "nothing") == ""


def test_a_study_that_ends_at_its_judge_leaves_the_run_as_it_was(
    asked: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest must not name the new weights while the records are of the old ones."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_study(asked, folder, Watch(die_in="directions"))
    write_tiny(Path(asked.source), ARCHITECTURES["llama"], seed=5)

    def down(judge: object) -> None:
        raise InputError("the endpoint is down")

    monkeypatch.setattr("refusal_lens.study.run.try_judge", down)
    with pytest.raises(InputError, match="is down"):
        run_study(asked, folder, Watch())
    results = Results.open(folder)
    assert results.digest("behaviour") is not None
    with pytest.raises(InputError, match="are not this run's"):
        results.model()


@pytest.mark.parametrize("text", ['{"digest": "ab', "", "[]", "\x00"])
def test_a_stage_whose_file_is_damaged_is_made_again(
    asked: Study, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_study(asked, folder, Watch(die_in="directions"))
    bench = begin(asked, folder)
    assert stale(bench, [behaviour.STAGE]) == []
    (folder / "stages/behaviour/stage.json").write_text(text)
    results = Results.open(folder)
    assert stale(bench, [behaviour.STAGE]) == [behaviour.STAGE]
    assert results.gap("behaviour") is None
    assert "behaviour is damaged" in str(results.damage("behaviour"))
    assert results.damage("nothing") is None is results.digest("nothing")


def test_a_stage_that_lacks_a_record_is_made_again(asked: Study, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_study(asked, folder, Watch(die_in="directions"))
    listed = json.loads((folder / "stages/behaviour/stage.json").read_text())["records"]
    assert listed
    (folder / f"stages/behaviour/{listed[0]}.json").unlink()
    bench = begin(asked, folder)
    assert stale(bench, [behaviour.STAGE]) == [behaviour.STAGE]
    assert "behaviour is damaged" in str(bench.results.damage("behaviour"))


def test_a_file_where_a_run_folder_is_meant(asked: Study, tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("text")
    with pytest.raises(InputError, match="is a file; give a folder as --out"):
        Results.begin(tmp_path / "afile", asked.plain())
    with pytest.raises(InputError, match="can't be made"):
        Results.begin(tmp_path / "afile" / "run", replace(asked).plain())


def test_stages_with_a_control_direction_depend_on_how_it_was_drawn() -> None:
    """Runs with labels exchanged by coins are measured again: the rule is in the digests."""
    stages = {s.name: s for s in every_stage(("red", "green"))}
    assert "half" in stages["geometry"].parameters["shuffled"]
    users = ("effects", "trade_off", "suffix_basis", "full_grid", "language_ablation")
    controls = tuple(name for name in stages if name.startswith("estimator_control"))
    assert len(controls) == 3
    assert all("geometry" in stages[name].needs for name in (*users, *controls))


def test_other_weights_of_a_judge_on_this_machine_make_every_stage_again(
    asked: Study, tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    folder = shutil.copytree(tiny_folders["llama"], tmp_path / "classifier")
    reading = replace(asked, judge="wildguard", judge_settings={"classifier": str(folder)})
    every = {s.name for s in every_stage(("red", "green", "blue"))}

    def other() -> None:
        write_tiny(folder, ARCHITECTURES["llama"], seed=5)

    assert changed(reading, tmp_path / "run", other) == every
    for settings in ({}, {"classifier": "org/other"}, {"classifier": "x" * 300}):
        elsewhere = replace(reading, judge_settings=settings)
        assert Bench.judge_digest.func(SimpleNamespace(study=elsewhere)) == ""  # pyright: ignore[reportArgumentType]
