"""One prompt before and under each of several edits, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import final

from refusal_lens.arguments import several
from refusal_lens.interventions import Edit
from refusal_lens.judges import RefusalJudge, Verdict


@final
@dataclass(frozen=True)
class ComparedAnswer:
    """What the model says under one edit, with the refusal judge's reading of it."""

    condition: str
    edits: str
    answer: str
    verdict: Verdict

    @property
    def reading(self) -> str:
        """Outcome, then the manner of a refusal or why it is unclear, and what is flagged."""
        v = self.verdict
        notes = dict.fromkeys((v.manner and v.manner.replace("_", " "), v.reason, *v.flags))
        return ": ".join((v.outcome, *(note for note in notes if note)))


@final
@dataclass(frozen=True)
class Compared:
    """A prompt's answers, the unedited one first. Single answers: examples, no measurement."""

    prompt: str
    model: str
    decoding: str
    answers: tuple[ComparedAnswer, ...]

    def __repr__(self) -> str:
        rows = [f"  {a.condition} [{a.reading}]\n    {a.answer}" for a in self.answers]
        return "\n".join([f"Compared({self.prompt!r}, {self.model}, {self.decoding})", *rows])

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        rows = "".join(
            f'<tr><th style="text-align:left" title="{escape(a.edits)}">{escape(a.condition)}</th>'
            f"<td>{escape(a.reading)}</td>"
            f'<td style="text-align:left;white-space:pre-wrap">{escape(a.answer)}</td></tr>'
            for a in self.answers
        )
        return (
            f"<p>{escape(self.prompt)}<br><small>{escape(self.model)}, {escape(self.decoding)}; "
            "read by the refusal judge; single answers are examples</small></p>"
            f"<table><tr><th>condition</th><th>reading</th><th>answer</th></tr>{rows}</table>"
        )


def by_name(edits: Mapping[str, Edit] | Sequence[Edit]) -> dict[str, Edit]:
    """Edits by their names; without names, by what they say of themselves."""
    write = '[a, b], or {"name": a}'
    if isinstance(edits, Mapping):
        several(edits.values(), Edit, what="edit", write=write)
        return dict(edits)
    return {repr(edit): edit for edit in several(edits, Edit, what="edit", write=write)}


def read_answer(prompt: str, condition: str, edits: str, answer: str) -> ComparedAnswer:
    """An answer with the refusal judge's reading."""
    return ComparedAnswer(condition, edits, answer, RefusalJudge().judge(prompt, answer))
