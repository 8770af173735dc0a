"""What a notebook shows of answers: plain HTML, everything escaped."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from refusal_lens.prompts import Label

if TYPE_CHECKING:
    from refusal_lens.evaluation.answers import Answers

_SIDES: Final[dict[Label, str]] = {
    "refuse": "refuse side refused",
    "comply": "benign side refused",
}
_SHOWN: Final = 3


def answers_html(answers: "Answers") -> str:
    """Rates under each condition where a judge has read, and the answers to the first prompts."""
    judge = "not judged" if answers.judged_by is None else f"judge: {answers.judged_by}"
    head = f"{answers.provenance.model}; {answers.decoding}; {judge}"
    if len(answers.ids) == 1:
        head += "; single answers: examples, no measurement"
    parts = [_paragraph(head)]
    if answers.judged_by is not None and len(answers.ids) > 1:
        parts.append(_table(("condition", *_SIDES.values(), "verdicts"), _rates(answers)))
    for p, text in enumerate(answers.texts[:_SHOWN]):
        parts += [_paragraph(text), _answers_to(answers, p)]
    if left := len(answers.texts[_SHOWN:]):
        parts.append(_paragraph(f"{left} more prompts"))
    return "".join(parts)


def _rates(answers: "Answers") -> list[tuple[str, ...]]:
    return [
        (
            name,
            *(str(answers.rate(name, label=label)) for label in _SIDES),
            str(answers.counts(name)),
        )
        for name in answers.conditions
    ]


def _answers_to(answers: "Answers", p: int) -> str:
    rows = zip(answers.conditions, answers.answers, strict=True)
    if answers.readings is None:
        return _table(("condition", "answer"), [(name, row[p]) for name, row in rows])
    read = [(name, str(answers.verdicts(name)[p]), row[p]) for name, row in rows]
    return _table(("condition", "reading", "answer"), read)


def _paragraph(text: str) -> str:
    return f'<p style="white-space:pre-wrap">{escape(text)}</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join(f"<tr>{_row(row)}</tr>" for row in rows)
    return f"<table><tr>{heads}</tr>{body}</table>"


def _row(row: Sequence[str]) -> str:
    style = "text-align:left;white-space:pre-wrap"
    cells = "".join(f'<td style="{style}">{escape(text)}</td>' for text in row[1:])
    return f'<th style="text-align:left">{escape(row[0])}</th>{cells}'
