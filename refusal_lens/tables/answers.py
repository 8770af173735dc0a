"""Prompts with answers under each condition."""

from collections.abc import Mapping
from typing import Final

from refusal_lens.evaluation import Evaluation, SideBySide
from refusal_lens.model.compare import Compared
from refusal_lens.plots.palette import CONTROL, REFUSE, Mark, marks
from refusal_lens.plots.text import visible
from refusal_lens.prompts import Category
from refusal_lens.tables.table import Cell, Table

_CONDITIONS: Final = {
    "none": "before (unedited)",
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
    answers: SideBySide, titles: Mapping[str, str], categories: Mapping[str, Category]
) -> Table:
    """Prompts with what the model says under each condition; outcome and manner as a tag."""
    first = answers.conditions[0]
    of_key = marks(titles)
    colours = {x.manner: of_key[k].colour for k, x in categories.items() if k in of_key}
    rows: list[tuple[Cell, ...]] = []
    for i, text in enumerate(answers.texts):
        side = "refuse side" if first.labels[i] == "refuse" else "benign side"
        title = visible(titles.get(first.categories[i], first.categories[i]))
        prompt = Cell(
            _lines(text), tag=f"{title}, {side}", colour=_own(first.categories[i], of_key)
        )
        rows.append((prompt, *(_answer(e, i, colours) for e in answers.conditions)))
    head = ("prompt", *(_CONDITIONS.get(e.condition, e.condition) for e in answers.conditions))
    return Table(
        f"Decoding: {first.decoding}; judge: {first.judge}. The tag is the judge's reading, with "
        "the manner of a refusal. Single answers: examples, no measurement.",
        head,
        tuple(rows),
        kind="answers",
    )


def _lines(text: str) -> str:
    """Visible text that keeps its line breaks."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _own(category: str, of_key: Mapping[str, Mark]) -> str:
    return of_key[category].colour if category in of_key else CONTROL


def _answer(read: Evaluation, i: int, colours: Mapping[str, str]) -> Cell:
    outcome, manner = read.outcomes[i], read.manners[i]
    notes = dict.fromkeys((manner and manner.replace("_", " "), read.reasons[i], *read.flags[i]))
    tag = ": ".join((OUTCOMES.get(outcome, outcome), *(visible(x) for x in notes if x)))
    colour = CONTROL if outcome in ("complied", "unclear") else colours.get(manner or "", REFUSE)
    return Cell(_lines(read.answers[i]) or "(empty)", tag=tag, colour=colour)


def compared_table(compared: Compared) -> Table:
    """The answers to one prompt, unedited and under each edit, with the judge's reading."""
    rows = tuple(
        tuple(map(Cell, (visible(a.condition), visible(a.reading), _lines(a.answer))))
        for a in compared.answers
    )
    caption = f"{visible(compared.model)}: {visible(compared.prompt)}"
    return Table(caption, ("condition", "reading", "answer"), rows, kind="answers")
