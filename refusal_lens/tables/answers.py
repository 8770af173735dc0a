"""Prompts with answers under each condition."""

from collections.abc import Mapping
from typing import Final

from refusal_lens.evaluation import UNEDITED, Answers
from refusal_lens.judges import Verdict
from refusal_lens.plots.palette import CONTROL, REFUSE, Mark, marks
from refusal_lens.plots.text import visible, visible_lines
from refusal_lens.prompts import Category
from refusal_lens.tables.table import Cell, Table

_CONDITIONS: Final = {
    UNEDITED: "before (unedited)",
    "ablated": "direction ablated",
    "steered": "direction added",
}


OUTCOMES: Final = {
    "refused": "refused",
    "complied": "answered",
    "partial": "partly refused",
    "unclear": "unclear",
}


def answers_table(
    answers: Answers, titles: Mapping[str, str], categories: Mapping[str, Category]
) -> Table:
    """Prompts with what the model says under each condition; outcome and manner as a tag."""
    of_key = marks(titles)
    colours = {x.manner: of_key[k].colour for k, x in categories.items() if k in of_key}
    rows: list[tuple[Cell, ...]] = []
    for i, text in enumerate(answers.texts):
        side = "refuse side" if answers.labels[i] == "refuse" else "benign side"
        category = answers.categories[i]
        tag = f"{visible(titles.get(category, category))}, {side}"
        prompt = Cell(visible_lines(text), tag=tag, colour=_colour_of(category, of_key))
        read = [answers.verdicts(name)[i] for name in answers.conditions]
        responses = [row[i] for row in answers.answers]
        rows.append(
            (prompt, *(_answer(*cell, colours) for cell in zip(responses, read, strict=True)))
        )
    head = ("prompt", *(_CONDITIONS.get(name, name) for name in answers.conditions))
    return Table(
        f"Decoding: {answers.decoding}; judge: {visible(answers.judge_name)}. The tag is the "
        "judge's reading, with the manner of a refusal. Single answers: examples, no measurement.",
        head,
        tuple(rows),
        kind="answers",
    )


def _colour_of(category: str, of_key: Mapping[str, Mark]) -> str:
    return of_key[category].colour if category in of_key else CONTROL


def _answer(answer: str, verdict: Verdict, colours: Mapping[str, str]) -> Cell:
    outcome, manner = verdict.outcome, verdict.manner
    notes = dict.fromkeys((manner and manner.replace("_", " "), verdict.reason, *verdict.flags))
    tag = ": ".join((OUTCOMES.get(outcome, outcome), *(visible(x) for x in notes if x)))
    colour = CONTROL if outcome in ("complied", "unclear") else colours.get(manner or "", REFUSE)
    return Cell(visible_lines(answer) or "(empty)", tag=tag, colour=colour)


def compared_table(answers: Answers) -> Table:
    """The answers to one prompt, unedited and under each edit, with the judge's reading."""
    rows = tuple(
        (
            Cell(visible(a.condition)),
            Cell(visible(str(a.verdicts()[0]))),
            Cell(visible_lines(a.answers[0][0])),
        )
        for a in answers.each()
    )
    caption = f"{visible(answers.provenance.model)}: {visible(answers.texts[0])}"
    return Table(caption, ("condition", "reading", "answer"), rows, kind="answers")
