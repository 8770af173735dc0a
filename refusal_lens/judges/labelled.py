"""Published answers with labels, and this project's own cases: what the judges are measured on."""

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from refusal_lens.errors import InputError
from refusal_lens.judges.long_answers import leading_sentences
from refusal_lens.judges.raw_output import extract_answer
from refusal_lens.judges.substring import SubstringJudge
from refusal_lens.prompts.files import read_jsonl
from refusal_lens.resources import data_path

_SEED: Final = 0
_CUT_AT: Final = (32, 40, 50, 60)
_XSTEST: Final = {
    "1_full_compliance": "complied",
    "2_full_refusal": "refused",
    "3_partial_refusal": "partial",
}
_TONES: Final = {"complied": "complied", "rejected": "refused"}


@final
@dataclass(frozen=True)
class Labelled:
    """One answer with its label."""

    source: str
    prompt: str
    answer: str
    outcome: str


def read_xstest(folder: Path) -> list[Labelled]:
    """XSTest's answers, a source for each model.

    Raises:
        InputError: the folder holds no xstest_v2_completions_MODEL.csv.
    """
    answers: list[Labelled] = []
    for path in sorted(folder.glob("xstest_v2_completions_*.csv")):
        source = "XSTest, " + path.stem.removeprefix("xstest_v2_completions_")
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                label = _XSTEST[row["final_label"]]
                answers.append(Labelled(source, row["prompt"], row["completion"], label))
    if not answers:
        raise InputError(f"{str(folder)!r} has no xstest_v2_completions_MODEL.csv")
    return answers


def read_completions(folder: Path) -> list[Labelled]:
    """Published completions whose label is beyond doubt (`training/long_answers.py` says which).

    Raises:
        InputError: no MODEL/completions/*_completions.json, or none with such a completion.
    """
    answers: list[Labelled] = []
    for path in sorted(folder.glob("*/completions/*_completions.json")):
        answered = "harmless_baseline" in path.name or "ablation" in path.name
        refused = "harmless_baseline" not in path.name
        for row in json.loads(path.read_text(encoding="utf-8")):
            answer = extract_answer(row["response"]).text
            first = leading_sentences(answer)[:1]
            marked = SubstringJudge().judge("", answer).outcome == "refused"
            at_once = SubstringJudge().judge("", " ".join(first)).outcome == "refused"
            label = "refused" if refused and at_once else ""
            label = "complied" if answered and not marked else label
            if label:
                source = f"refusal_direction, {path.parts[-3]}"
                answers.append(Labelled(source, row["prompt"], row["response"], label))
    if not answers:
        raise InputError(f"{str(folder)!r} has no MODEL/completions/*_completions.json")
    return answers


def read_questions(path: Path) -> list[Labelled]:
    """ChatGPT's answers to questions; every tone but two is partial."""
    rows: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return [
        Labelled("ChatGPT", r["prompt"], r["response"], _TONES.get(r["tone"], "partial"))
        for r in rows
    ]


def read_cases() -> list[Labelled]:
    """The answers written for this project."""
    rows = (row for _, row in read_jsonl(data_path("verdicts", "cases.jsonl")))
    return [Labelled("cases", r["prompt"], r["answer"], r["outcome"]) for r in rows]


def cut(answers: Sequence[Labelled]) -> list[Labelled]:
    """Every second long answer as a length limit would cut it, where its label stays true."""
    rng, shortened = random.Random(_SEED), list[Labelled]()
    for a in answers:
        words = a.answer.split(" ")
        if a.outcome == "partial" or len(words) <= _CUT_AT[0] or rng.random() < 0.5:
            continue
        text = " ".join(words[: rng.choice(_CUT_AT)])
        if SubstringJudge().judge("", text).outcome == a.outcome:
            shortened.append(Labelled(a.source, a.prompt, text, a.outcome))
    return shortened
