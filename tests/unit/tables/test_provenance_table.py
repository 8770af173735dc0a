"""What a page shows of a manifest and its question: no folder of the machine, and all the rest."""

from typing import Any

from refusal_lens.tables.provenance import provenance_table, question_table
from refusal_lens.tables.table import Table

HERE = "/home/me"


def rows(table: Table) -> dict[str, str]:
    return {name.text: value.text for name, value in table.rows}


def test_of_paths_the_last_part_is_shown() -> None:
    question: dict[str, Any] = {
        "source": f"{HERE}/models/chat",
        "control": f"{HERE}/models/base",
        "prompts": f"{HERE}/prompts.jsonl",
        "refuse": None,
        "comply": "../me/comply.txt",
        "system": "/no_think",
        "judge_settings": {
            "classifier": f"{HERE}/guard",
            "endpoint": "http://h:1/v1",
            "samples": 3,
        },
        "sizes": {"language_answers": {"language_folder": f"{HERE}/poly", "languages": ["en"]}},
    }
    shown = rows(question_table(question))
    assert shown["source"] == "chat" and shown["control"] == "base"
    assert shown["prompts"] == "prompts.jsonl" and shown["comply"] == "comply.txt"
    assert shown["refuse"] == "–"
    assert shown["system"] == "/no_think"  # an instruction, and no path
    settings = "classifier: guard; endpoint: http://h:1/v1; samples: 3"
    assert shown["judge_settings"] == settings
    assert shown["sizes"] == "language_answers: language_folder: poly; languages: en"
    assert question["source"] == f"{HERE}/models/chat"  # what is shown changes nothing


def test_the_manifest_is_shown_without_what_only_this_machine_can_use() -> None:
    manifest = {
        "model": f"{HERE}/models/chat",
        "sae_folder": f"{HERE}/sae",
        "question": {"source": f"{HERE}/models/chat"},
        "versions": {"torch": "2"},
        "prompts_note": "a note",
    }
    shown = rows(provenance_table(manifest))
    assert shown == {"model": "chat", "versions": "torch: 2", "prompts note": "a note"}
