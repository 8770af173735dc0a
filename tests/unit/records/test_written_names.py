"""What records call a model: nothing of the folders of the machine that it was read on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.synthetic.records import direction_set

from refusal_lens.directions import DirectionSet
from refusal_lens.folders import written_name


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("/home/me/models/chat", "chat"),
        ("/home/me/models/chat/", "chat"),
        ("/home/me/chat.Q4_K_M.gguf", "chat.Q4_K_M.gguf"),
        ("/home/me/base (control)", "base (control)"),
        ("../../me/chat", "chat"),
        ("./chat", "chat"),
        (".", "."),
        ("/", "/"),
        ("org/chat", "org/chat"),
        ("org/chat@refs/pr/3", "org/chat@refs/pr/3"),
        ("smollm2-planted (adapter scale 1)", "smollm2-planted (adapter scale 1)"),
        ("", ""),
    ],
)
def test_of_a_path_the_last_part_is_written_and_any_other_name_as_it_is(
    name: str, written: str
) -> None:
    assert written_name(name) == written
    assert written_name(written) == written or written.startswith(("/", "."))


def test_a_record_holds_no_folder_also_one_that_was_saved_with_it(tmp_path: Path) -> None:
    plain = direction_set(("red",))
    ours = replace(plain, provenance=replace(plain.provenance, model=str(tmp_path / "m")))
    ours.save(tmp_path / "directions")
    path = tmp_path / "directions.json"
    assert str(tmp_path) not in path.read_text()
    content = json.loads(path.read_text())
    content["fields"]["provenance"]["model"] = "/home/me/earlier"
    path.write_text(json.dumps(content))
    assert DirectionSet.load(tmp_path / "directions").provenance.model == "earlier"
