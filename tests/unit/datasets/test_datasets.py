"""Every dataset family on small files of our own, every error text, and the real samples.

The prompts here are invented and mild. Real samples are read from the folder that the variable
REFUSAL_LENS_REFERENCE_DATA names; without it those tests are skipped.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from refusal_lens.datasets import available, load_dataset, load_table, reader
from refusal_lens.errors import InputError
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.files import load_categories

Table = Sequence[Sequence[object]]
REFERENCE = os.environ.get("REFUSAL_LENS_REFERENCE_DATA")


def write_csv(path: Path, rows: Table, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_json(path: Path, rows: object) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def table(prompts: PromptSet) -> list[tuple[str, str, str, str]]:
    return [(p.id, p.text, p.category, p.label) for p in prompts]


def says(*parts: str) -> Callable[[InputError], bool]:
    """The error is one line that holds every part."""
    return lambda error: "\n" not in str(error) and all(part in str(error) for part in parts)


# --- the families -------------------------------------------------------------------------------


def coconot_row(key: str, category: str, subcategory: str, prompt: str) -> dict[str, str]:
    return {
        "id": key,
        "category": category,
        "subcategory": subcategory,
        "prompt": prompt,
        "response": "an answer",
    }


def test_coconot_maps_its_five_categories(tmp_path: Path) -> None:
    rows = [
        coconot_row("a", "Humanizing requests", "personal inquiry", "What did you dream of?"),
        coconot_row("b", "Incomplete requests", "incomprehensible", "The the of why?"),
        coconot_row("c", "Indeterminate requests", "universal unknowns", "Who wins in 2090?"),
        coconot_row("d", "Requests with safety concerns", "privacy violations", "Where is Ann?"),
        coconot_row("e", "Unsupported requests", "temporal limitations", "Is it raining now?"),
    ]
    prompts = load_dataset("coconot", write_jsonl(tmp_path / "coconot_train.jsonl", rows))
    keys = ["humanizing", "incomplete", "indeterminate", "safety", "unsupported"]
    assert [p.category for p in prompts] == keys
    assert prompts.ids[0] == "coconot-a"
    assert {p.label for p in prompts} == {"refuse"}
    assert prompts.splits == ("train",)
    assert prompts.prompts[3].source == "coconot: privacy violations"


def test_coconot_leaves_out_the_misplaced_row(tmp_path: Path) -> None:
    safety = "Requests with safety concerns"
    rows = [
        coconot_row("a", safety, "copyright violations", "Print the whole novel."),
        coconot_row("b", safety, "incomprehensible", "The the of why?"),
    ]
    left_out: Counter[str] = Counter()
    path = write_jsonl(tmp_path / "eval.jsonl", rows)
    assert load_dataset("coconot", path, left_out=left_out).ids == ("coconot-a",)
    assert left_out == {"'incomprehensible' in category safety": 1}


@pytest.mark.parametrize(("part", "split"), [("contrast", "test"), ("pref", "train")])
def test_coconot_contrast_and_pref_are_to_be_answered(
    tmp_path: Path, part: str, split: str
) -> None:
    row = coconot_row("a", "Unsupported requests", "modality limitations", "Describe a sunset.")
    row |= {"chosen": "yes", "chosen_model": "m", "rejected": "no", "rejected_model": "m"}
    prompts = load_dataset(f"coconot_{part}", write_json(tmp_path / "rows.json", [row]))
    assert table(prompts) == [(f"coconot_{part}-a", "Describe a sunset.", "unsupported", "comply")]
    assert prompts.splits == (split,)


XSTEST: Table = [
    ["id", "prompt", "type", "label", "focus", "note"],
    [1, "How do I toast bread?", "homonyms", "safe", "toast", ""],
    [2, "How do I toast a guest?", "homonyms", "safe", "toast", ""],
    [3, "How do I toast my rival?", "contrast_homonyms", "unsafe", "Toast ", "x"],
    [4, "What was the last eclipse?", "historical_events", "safe", "", ""],
    [5, "Where does the actor work?", "privacy_public", "safe", "workplace", ""],
    [6, "Where does my neighbour work?", "contrast_privacy", "unsafe", "workplace", ""],
]


def test_xstest_labels_and_pairs(tmp_path: Path) -> None:
    prompts = load_dataset("xstest", write_csv(tmp_path / "xstest.csv", XSTEST))
    sides = ["comply", "comply", "refuse", "comply", "comply", "refuse"]
    assert [p.label for p in prompts] == sides
    assert prompts.categories == ("over_refusal",)
    pairs = {p.id.removeprefix("xstest-"): p.pair for p in prompts}
    assert pairs["1"] == pairs["3"] == "xstest-homonyms-toast-1"
    assert pairs["5"] == pairs["6"] == "xstest-privacy-workplace-1"
    assert pairs["2"] is None and pairs["4"] is None
    assert prompts.prompts[2].source == "xstest: contrast_homonyms"


def test_xstest_label_must_fit_its_type(tmp_path: Path) -> None:
    rows = [*XSTEST, [7, "Why is the sky blue?", "contrast_homonyms", "safe", "sky", ""]]
    path = write_csv(tmp_path / "xstest.csv", rows)
    with pytest.raises(InputError, check=says("xstest.csv, row 8", "contrast_homonyms", "'safe'")):
        load_dataset("xstest", path)


@pytest.mark.parametrize(
    ("part", "label"), [("hard", "comply"), ("toxic", "refuse"), ("80k", "comply")]
)
def test_or_bench_from_csv_and_from_json(tmp_path: Path, part: str, label: str) -> None:
    name, text = f"or_bench_{part}", "How do I win an argument fairly?"
    path = write_csv(tmp_path / "a.csv", [["prompt", "category"], [text, "unethical"]])
    copy = write_json(tmp_path / "a.json", [{"category": "unethical", "instruction": text}])
    prompts = load_dataset(name, path)
    assert table(prompts) == [(f"{name}-test-1", text, "harmful", label)]
    assert load_dataset(name, copy).digest == prompts.digest
    assert load_dataset(name, path, category="over_refusal").categories == ("over_refusal",)


def sorry_row(number: int, category: object, style: str = "base") -> dict[str, object]:
    return {
        "question_id": number,
        "category": category,
        "turns": [f"Please tease colleague {number}."],
        "prompt_style": style,
    }


def test_sorry_bench_numbering_and_styles(tmp_path: Path) -> None:
    numbers = [1, 5, 6, 24, 25, 39, 40, 44]
    rows = [sorry_row(n, str(n) if n % 2 else n) for n in numbers]
    rows += [sorry_row(1, 1, "slang"), sorry_row(1, 1, "translate-fr")]
    path = write_jsonl(tmp_path / "question.jsonl", rows)
    left_out: Counter[str] = Counter()
    prompts = load_dataset("sorry_bench", path, left_out=left_out)
    keys = ["hate_speech", "crime_assistance", "inappropriate", "advice"]
    assert [p.category for p in prompts] == [key for key in keys for _ in range(2)]
    assert prompts.ids[0] == "sorry_bench-1" and {p.label for p in prompts} == {"refuse"}
    assert left_out == {"in a mutated style": 2}

    styles = load_dataset("sorry_bench_styles", path)
    assert len(styles) == 10
    assert styles.ids[-1] == "sorry_bench_styles-translate-fr-1"
    assert [p.language for p in styles][-2:] == ["en", "fr"]


@pytest.mark.parametrize("category", [45, 0, "Stereotypes"])
def test_sorry_bench_of_another_release(tmp_path: Path, category: object) -> None:
    path = write_jsonl(tmp_path / "q.jsonl", [sorry_row(1, 3), sorry_row(2, category)])
    with pytest.raises(InputError, check=says("q.jsonl, line 2", "expected release 202503")):
        load_dataset("sorry_bench", path)


@pytest.mark.parametrize("turns", [[], ["a", "b"], "text", [" "], None])
def test_sorry_bench_needs_one_turn(tmp_path: Path, turns: object) -> None:
    path = write_json(tmp_path / "q.json", [sorry_row(1, 3) | {"turns": turns}])
    with pytest.raises(InputError, check=says("q.json, entry 1", "a list of one text")):
        load_dataset("sorry_bench", path)


WILDGUARD: Table = [
    ["prompt", "adversarial", "response", "prompt_harm_label", "subcategory"],
    ["How do I frighten a cat?", False, "r", "harmful", "others"],
    ["How do I calm a cat?", False, "", "unharmful", "benign"],
    ["As a wizard, frighten a cat.", True, "", "harmful", "others"],
    ["How do I feed a cat?", False, "", "", "benign"],
    ["How do I frighten a cat?", False, "s", "harmful", "others"],
]


def test_wildguardmix_keeps_plain_labelled_prompts_once(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    path = write_csv(tmp_path / "wildguard_train.csv", WILDGUARD)
    prompts = load_dataset("wildguardmix", path, left_out=left_out)
    assert table(prompts) == [
        ("wildguardmix-train-1", "How do I frighten a cat?", "safety_core", "refuse"),
        ("wildguardmix-train-2", "How do I calm a cat?", "safety_core", "comply"),
    ]
    assert left_out == {
        "adversarial": 1,
        "without a prompt label": 1,
        "with a prompt that stands above": 1,
    }


def test_wildguardmix_from_parquet(tmp_path: Path) -> None:
    pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    rows = [dict(zip(WILDGUARD[0], row, strict=True)) for row in WILDGUARD[1:]]
    rows[3]["prompt_harm_label"] = None
    path = tmp_path / "wildguard_test.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert load_dataset("wildguardmix", path).ids == ("wildguardmix-test-1", "wildguardmix-test-2")


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "w.csv", [WILDGUARD[0], WILDGUARD[3], WILDGUARD[4]])
    check = says("w.csv: no prompt is left", "1 adversarial", "1 without a prompt label")
    with pytest.raises(InputError, check=check):
        load_dataset("wildguardmix", path)


def test_advbench_drops_its_targets(tmp_path: Path) -> None:
    rows = [["goal", "target"], ["Write a rude note", "Sure, here is"]]
    prompts = load_dataset("advbench", write_csv(tmp_path / "harmful_behaviors.csv", rows))
    assert table(prompts) == [("advbench-test-1", "Write a rude note", "harmful", "refuse")]
    assert "Sure" not in repr(prompts.prompts)


HARMBENCH: Table = [
    ["Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID"],
    ["Write a rude note", "standard", "harassment_bullying", "", "", "rude_note"],
    ["Print the song", "copyright", "copyright", "lyrics", "", "song"],
    ["Summarise the plan", "contextual", "illegal", "context", "The plan is", "plan"],
]


def test_harmbench_leaves_out_contextual_behaviours(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    path = write_csv(tmp_path / "harmbench_behaviors_text_val.csv", HARMBENCH)
    prompts = load_dataset("harmbench", path, left_out=left_out)
    assert prompts.ids == ("harmbench-rude_note", "harmbench-song")
    assert prompts.splits == ("val",)
    assert prompts.prompts[0].source == "harmbench: standard, harassment_bullying"
    assert left_out.total() == 1
    assert "The plan is" not in repr(prompts.prompts)


@pytest.mark.parametrize("index", ["", "Index"])
def test_jailbreakbench_halves_are_pairs(tmp_path: Path, index: str) -> None:
    header = [index, "Goal", "Target", "Behavior", "Category", "Source"]
    harmful = [header, [0, "Write a rude note", "Sure", "Rude", "Harassment", "Original"]]
    benign = [header, [0, "Write a kind note", "Sure", "Rude", "Harassment", "Original"]]
    bad = load_dataset("jailbreakbench", write_csv(tmp_path / "a.csv", harmful))
    good = load_dataset("jailbreakbench_benign", write_csv(tmp_path / "b.csv", benign))
    both = PromptSet(bad.prompts + good.prompts)
    assert table(both) == [
        ("jailbreakbench-0", "Write a rude note", "harmful", "refuse"),
        ("jailbreakbench_benign-0", "Write a kind note", "harmful", "comply"),
    ]
    assert {p.pair for p in both} == {"jailbreakbench-0"}


def test_strongreject(tmp_path: Path) -> None:
    rows = [["category", "source", "forbidden_prompt"], ["Hate", "custom", "Tease my friend"]]
    prompts = load_dataset("strongreject", write_csv(tmp_path / "s.csv", rows))
    assert table(prompts) == [("strongreject-test-1", "Tease my friend", "harmful", "refuse")]
    assert prompts.prompts[0].source == "strongreject: Hate"


def test_polyrefuse_reads_the_translation_in_both_formats(tmp_path: Path) -> None:
    train = [{"instruction": "Nenne drei Farben", "category": None}]
    test = [
        {"instruction": "Name a hat", "instruction_translated": "Nenne einen Hut", "category": "x"}
    ]
    a = write_json(tmp_path / "harmless_train_translated_de.json", train)
    b = write_json(tmp_path / "harmless_test_translated_de.json", test)
    first, second = (load_dataset("polyrefuse_harmless", path) for path in (a, b))
    assert table(first) == [
        ("polyrefuse_harmless-de-train-1", "Nenne drei Farben", "harmful", "comply")
    ]
    assert table(second) == [
        ("polyrefuse_harmless-de-test-1", "Nenne einen Hut", "harmful", "comply")
    ]
    assert {p.language for p in (*first, *second)} == {"de"}
    assert load_dataset("polyrefuse_harmless", b, language="ko").prompts[0].language == "ko"


def test_polyrefuse_never_takes_english_for_a_translation(tmp_path: Path) -> None:
    path = write_json(tmp_path / "harmful_test_translated_de.json", [{"instruction": "Tease him"}])
    check = says("entry 1", "'instruction_translated' is missing", "is English")
    with pytest.raises(InputError, check=check):
        load_dataset("polyrefuse_harmful", path)


def test_polyrefuse_needs_a_language(tmp_path: Path) -> None:
    path = write_json(tmp_path / "harmful_train.json", [{"instruction": "Ärgere ihn"}])
    with pytest.raises(InputError, check=says("harmful_train.json: language 'train'", "='de'")):
        load_dataset("polyrefuse_harmful", path)


def test_refusal_direction_splits_and_sides(tmp_path: Path) -> None:
    rows = [{"instruction": "Name three colours", "category": None}]
    path = write_json(tmp_path / "harmless_val.json", rows)
    prompts = load_dataset("refusal_direction_harmless", path)
    assert table(prompts) == [
        ("refusal_direction_harmless-val-1", "Name three colours", "harmful", "comply")
    ]
    assert prompts.splits == ("val",)
    assert load_dataset("refusal_direction_harmless", path, split="train").splits == ("train",)
    check = says("harmless_val.json is named 'harmless'", "read as harmful", "ends in 'harmless'")
    with pytest.raises(InputError, check=check):
        load_dataset("refusal_direction_harmful", path)


# --- plain tables -------------------------------------------------------------------------------


def test_table_with_a_column_map(tmp_path: Path) -> None:
    rows = [["no", "question", "bad", "twin"], ["a", "Tease him", 1, "p"], ["b", "Hi", 0, ""]]
    prompts = load_table(
        write_csv(tmp_path / "mine.tsv", rows, "\t"),
        columns={"id": "no", "text": "question", "label": "bad", "pair": "twin"},
        labels={"1": "refuse", "0": "comply"},
        category="advice",
        split="train",
    )
    assert table(prompts) == [
        ("a", "Tease him", "advice", "refuse"),
        ("b", "Hi", "advice", "comply"),
    ]
    assert [p.pair for p in prompts] == ["p", None]
    assert prompts.splits == ("train",) and prompts.prompts[0].source == "mine.tsv"


def test_table_constants_stand_above_columns(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [["text", "label", "category"], ["Hi", "?", ""]])
    prompts = load_table(path, category="advice", label="comply")
    assert table(prompts) == [("t-1", "Hi", "advice", "comply")]


@pytest.mark.parametrize("write", [write_json, write_jsonl])
def test_table_by_its_own_column_names(tmp_path: Path, write: Any) -> None:
    row = {"text": "Hallo", "category": "advice", "label": "comply", "language": "de"}
    prompts = load_table(write(tmp_path / f"x.{write.__name__[6:]}", [row]))
    assert table(prompts) == [("x-1", "Hallo", "advice", "comply")]
    assert prompts.prompts[0].language == "de"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"columns": {"txt": "a"}}, ("field 'txt' is unknown", "'text'")),
        ({"columns": {"text": "q"}}, ("t.csv, row 1: column 'q'", "text", "found columns ['text'")),
        ({}, ("t.csv, row 1: column 'category'", "or give category=")),
        ({"category": "advice"}, ("t.csv, row 2: label 'maybe'", "['refuse', 'comply']")),
        ({"category": "advice", "columns": {"pair": "twin"}}, ("row 1: column 'twin'", "pair")),
        ({"label": "deny"}, ("label 'deny' must be one of ['refuse', 'comply']",)),
        ({"labels": {"maybe": "no"}}, ("label 'no' must be one of",)),
    ],
)
def test_table_errors(tmp_path: Path, arguments: Any, parts: tuple[str, ...]) -> None:
    path = write_csv(tmp_path / "t.csv", [["text", "label"], ["Hi", "maybe"]])
    with pytest.raises(InputError, check=says(*parts)):
        load_table(path, **arguments)


# --- errors of every file -----------------------------------------------------------------------

ROW = {"goal": "Write a rude note"}


@pytest.mark.parametrize(
    ("file", "content", "parts"),
    [
        ("a.csv", b"", ("a.csv is empty",)),
        ("a.csv", b" \n\n", ("a.csv is empty",)),
        ("a.jsonl", b"", ("a.jsonl is empty",)),
        ("a.json", b"[]", ("a.json holds no rows",)),
        ("a.csv", b"goal,target\r\n", ("a.csv holds a header but no rows",)),
        ("a.csv", b"aim,target\nx,y\n", ("a.csv, row 1: column 'goal' is missing", "'aim'")),
        ("a.csv", b"goal,goal\nx,y\n", ("a.csv, row 1: column 'goal' stands twice",)),
        ("a.csv", b"goal,target\nx,y\n ,z\n", ("a.csv, row 3: column 'goal' is empty",)),
        ("a.csv", b"goal,t\nx,y\n\nz\n", ("a.csv, row 4: 1 cells, but the header has 2",)),
        ("a.csv", b'goal\n"x\ny"\n ', ("a.csv, row 3 (line 4): column 'goal' is empty",)),
        ("a.csv", b'goal\nx\n"y\nz\n', ("a.csv, row 3: not readable", "unexpected end", "quotes")),
        ("a.json", b'[{"goal":\n x}]', ("a.json, line 2, column 2: not JSON", "list of objects")),
        ("a.json", b'{"goal": "x"}', ("a.json: expected a list of objects, found an object",)),
        ("a.json", b'{"goal": "x"}\n{"goal": "y"}', ("a.json, line 2", "name it .jsonl")),
        ("a.json", b'[{"goal": "x"}, ["y"]]', ("a.json, entry 2", "found a list")),
        ("a.json", b'[{"goal": "x"}, {"aim": 1}]', ("entry 2: column 'goal'", "['aim']")),
        ("a.json", b'[{"goal": 3}]', ("entry 1: column 'goal' must be text, found 3",)),
        ("a.json", b'[{"goal": null}]', ("entry 1: column 'goal' is empty",)),
        ("a.jsonl", b'{"goal": "x"}\n\n{"goal"\n', ("a.jsonl, line 3, column 8: not JSON",)),
        ("a.jsonl", b'{"goal": "x"}\n"y"\n', ("a.jsonl, line 2: expected an object", "'y'")),
        ("a.csv", "goal\nx\ncafé\n".encode("latin-1"), ("a.csv, line 3", "0xe9", "not UTF-8")),
        ("a.csv", "goal\nx\n".encode("utf-16"), ("a.csv, line 1: the file is UTF-16", "UTF-8")),
        ("a.csv", "goal\nx\n".encode("utf-16-le"), ("a.csv, line 1: holds a zero byte",)),
        ("a.parquet", b"goal", ("a.parquet: not readable as parquet",)),
        ("a.xlsx", b"x", ("suffix '.xlsx' is not supported", "'.csv'")),
        ("a.csv.gz", b"x", ("suffix '.gz' is not supported", "unpack")),
    ],
)
def test_one_line_says_what_is_wrong_with_a_file(
    tmp_path: Path, file: str, content: bytes, parts: tuple[str, ...]
) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(InputError, check=says(*parts)):
        load_dataset("advbench", path)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffgoal\r\nÄrgere ihn\r\n".encode())
    assert [p.text for p in load_dataset("advbench", path)] == ["Ärgere ihn"]


def test_a_prompt_over_two_lines_stays_one_row(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [["goal"], ["one,\ntwo"], ["three"]])
    assert [p.text for p in load_dataset("advbench", path)] == ["one,\ntwo", "three"]


def test_duplicate_ids_name_both_rows(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "h.csv", [*HARMBENCH[:3], HARMBENCH[1]])
    check = says("h.csv, row 4: id 'harmbench-rude_note'", "was used in h.csv, row 2")
    with pytest.raises(InputError, check=check):
        load_dataset("harmbench", path)


def test_unknown_label_names_its_row(tmp_path: Path) -> None:
    rows = [XSTEST[0], XSTEST[1], [2, "Hello?", "homonyms", "perhaps", "", ""]]
    check = says("x.csv, row 3: label 'perhaps' is unknown", "['safe', 'unsafe']")
    with pytest.raises(InputError, check=check):
        load_dataset("xstest", write_csv(tmp_path / "x.csv", rows))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, check=says("no.csv' does not exist")):
        load_dataset("advbench", tmp_path / "no.csv")
    write_json(tmp_path / "here.json", [ROW])
    with pytest.raises(InputError, check=says("is a folder", "['here.json']")):
        load_dataset("advbench", tmp_path)


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("or-bench-hard", {}, ("'or-bench-hard' is unknown", "did you mean 'or_bench_hard'?")),
        ("xtest", {}, ("did you mean 'xstest'?", "load_table")),
        ("zzz", {}, ("'zzz' is unknown; expected one of",)),
        ("advbench", {}, ("not on the hub", "download it from https://github.com/llm-attacks")),
        ("coconot", {"category": "safety"}, ("has categories ['humanizing'", "of its own")),
        ("xstest", {"language": "de"}, ("no choice of language",)),
    ],
)
def test_wrong_arguments(name: str, arguments: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(InputError, check=says(*parts)):
        load_dataset(name, **arguments)


# --- the hub ------------------------------------------------------------------------------------


def pretend_hub(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    """Stand-ins for huggingface_hub and datasets: `answer` gets id, configuration and split."""
    modules = {
        "huggingface_hub.constants": SimpleNamespace(HF_HUB_OFFLINE=False),
        "huggingface_hub": SimpleNamespace(
            HfApi=lambda: SimpleNamespace(dataset_info=lambda name, timeout: None)
        ),
        "datasets": SimpleNamespace(
            load_dataset=lambda name, config, split: answer(name, config, split)
        ),
    }
    monkeypatch.setattr(reader, "import_module", modules.__getitem__)


def test_hub_rows_equal_the_rows_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[object, ...]] = []
    rows = [dict(zip(WILDGUARD[0], row, strict=True)) for row in WILDGUARD[1:]]

    def answer(*what: object) -> list[dict[str, object]]:
        asked.append(what)
        return rows

    pretend_hub(monkeypatch, answer)
    prompts = load_dataset("wildguardmix", split="train")
    assert asked == [("allenai/wildguardmix", "wildguardtrain", "train")]
    path = write_csv(tmp_path / "wildguard_train.csv", WILDGUARD)
    assert prompts.digest == load_dataset("wildguardmix", path).digest
    with pytest.raises(InputError, check=says("no split 'val'", "['test', 'train']")):
        load_dataset("wildguardmix", split="val")


def test_a_single_hub_split_takes_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [dict(zip(XSTEST[0], row, strict=True)) for row in XSTEST[1:]]
    pretend_hub(monkeypatch, lambda *what: rows if what == ("Paul/XSTest", None, "train") else [])
    assert load_dataset("xstest").splits == ("test",)
    assert load_dataset("xstest", split="val").splits == ("val",)


def test_no_network_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object) -> None:
        raise ConnectionError("no route\nto host")

    pretend_hub(monkeypatch, answer)
    check = says(
        "'sorry-bench/sorry-bench-202503' could not be fetched", "ConnectionError", "gated"
    )
    with pytest.raises(InputError, check=check):
        load_dataset("sorry_bench")
    check = says("no route to host", "download the file from https://", "and pass its path")
    with pytest.raises(InputError, check=check):
        load_dataset("jailbreakbench")


def test_the_real_clients_say_so_too_when_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    config = import_module("datasets.config")
    monkeypatch.setattr(import_module("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", Path("/nonexistent"))
    check = says("'allenai/coconot' could not be fetched", "download the file")
    with pytest.raises(InputError, check=check):
        load_dataset("coconot_contrast")


# --- the register -------------------------------------------------------------------------------


def test_available_is_complete() -> None:
    infos = available()
    assert len({info.name for info in infos}) == len(infos)
    for info in infos:
        assert info.licence and info.paper and info.columns and info.splits
        assert info.url.startswith("https://")
        assert info.hub_id is None or "/" in info.hub_id
        assert info.hub is None or set(info.hub.splits) == set(info.splits)
    assert {info.name for info in infos if info.gated} == {
        "sorry_bench",
        "sorry_bench_styles",
        "wildguardmix",
    }


def test_every_category_of_the_project_has_a_refuse_side() -> None:
    keys = set(load_categories())
    categories = {c for info in available() if "refuse" in info.labels for c in info.categories}
    assert keys <= categories
    assert categories - keys == {"harmful"}


# --- real samples -------------------------------------------------------------------------------

SAMPLES: list[tuple[str, str, str, dict[tuple[str, str], int]]] = [
    (
        "coconot",
        "coconot_eval_dev.jsonl",
        "test",
        {
            ("safety", "refuse"): 198,
            ("incomplete", "refuse"): 112,
            ("unsupported", "refuse"): 79,
            ("indeterminate", "refuse"): 71,
            ("humanizing", "refuse"): 41,
        },
    ),
    (
        "coconot_contrast",
        "coconot_contrast_eval_dev.jsonl",
        "test",
        {("safety", "comply"): 75, ("incomplete", "comply"): 74, ("unsupported", "comply"): 41},
    ),
    (
        "xstest",
        "xstest_prompts_dev.csv",
        "test",
        {("over_refusal", "comply"): 127, ("over_refusal", "refuse"): 98},
    ),
    ("advbench", "sample_advbench.csv", "test", {("harmful", "refuse"): 6}),
    ("harmbench", "sample_harmbench.csv", "test", {("harmful", "refuse"): 6}),
    ("jailbreakbench", "sample_jailbreakbench.csv", "test", {("harmful", "refuse"): 6}),
    ("strongreject", "sample_strongreject.csv", "test", {("harmful", "refuse"): 6}),
    ("or_bench_hard", "sample_or_bench_hard.json", "test", {("harmful", "comply"): 6}),
    (
        "polyrefuse_harmful",
        "sample_polyrefuse_harmful_test_de.json",
        "test",
        {("harmful", "refuse"): 6},
    ),
    (
        "polyrefuse_harmless",
        "sample_polyrefuse_harmless_train_de.json",
        "train",
        {("harmful", "comply"): 6},
    ),
    (
        "refusal_direction_harmful",
        "sample_refusal_direction_harmful_train.json",
        "train",
        {("harmful", "refuse"): 6},
    ),
]


@pytest.mark.skipif(REFERENCE is None, reason="REFUSAL_LENS_REFERENCE_DATA is not set")
@pytest.mark.parametrize(("name", "file", "split", "counts"), SAMPLES, ids=lambda v: str(v)[:40])
def test_real_samples(name: str, file: str, split: str, counts: dict[Any, int]) -> None:
    left_out: Counter[str] = Counter()
    prompts = load_dataset(name, Path(str(REFERENCE)) / "public" / file, left_out=left_out)
    assert Counter((p.category, p.label) for p in prompts) == counts
    assert prompts.splits == (split,)
    assert not left_out
    info = next(info for info in available() if info.name == name)
    assert set(prompts.categories) <= set(info.categories)
    assert {p.label for p in prompts} == set(info.labels)
    assert {p.language for p in prompts} == {"de" if name.startswith("polyrefuse") else "en"}


@pytest.mark.skipif(REFERENCE is None, reason="REFUSAL_LENS_REFERENCE_DATA is not set")
def test_xstest_sample_has_nine_pairs_of_two() -> None:
    prompts = load_dataset("xstest", Path(str(REFERENCE)) / "public" / "xstest_prompts_dev.csv")
    sides = [(p.pair, p.label) for p in prompts if p.pair]
    assert len(sides) == len(set(sides)) == 18
    assert len({pair for pair, _ in sides}) == 9


def test_rows_with_two_answers_are_no_prompts(tmp_path: Path) -> None:
    path = tmp_path / "caa.json"
    row = {
        "question": "Do you like rain? (A) Yes (B) No",
        "answer_matching_behavior": "(A)",
        "answer_not_matching_behavior": "(B)",
    }
    path.write_text(json.dumps([row]))
    with pytest.raises(InputError, match=r"caa.json, entry 1: .*answer_matching_behavior"):
        load_table(path, columns={"text": "question"}, category="x", label="refuse")


def test_rows_under_a_key(tmp_path: Path) -> None:
    path, rows = tmp_path / "t.json", [{"text": "Hi", "category": "advice", "label": "comply"}]
    path.write_text(json.dumps({"version": 2, "train": rows}))
    assert [p.text for p in load_table(path)] == ["Hi"]
    path.write_text(json.dumps({"train": rows, "test": rows}))
    with pytest.raises(InputError, match=r"keys \['train', 'test'\]"):
        load_table(path)
    path.write_text(json.dumps({"text": "Hi"}))
    with pytest.raises(InputError, match="found an object"):
        load_table(path)
