"""One prompt before and under each of several edits, side by side."""

from collections.abc import Mapping, Sequence

from refusal_lens.arguments import several
from refusal_lens.errors import InputError
from refusal_lens.evaluation.answering import decoding_text
from refusal_lens.evaluation.answers import UNEDITED, Answers
from refusal_lens.interventions import Edit
from refusal_lens.judges import Judge, make_judge
from refusal_lens.judges.registry import DEFAULT
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.generate import GREEDY


def compare(
    model: LensModel,
    prompt: str,
    edits: Mapping[str, Edit] | Sequence[Edit],
    decoding: Decoding = GREEDY,
    *,
    judge: Judge | None = None,
) -> Answers:
    """The answer to one prompt as the model is ("none"), and under each edit by itself, judged.

    Edits that are on stay on, also under "none". `judge` reads the answers, by default the refusal
    judge. Single answers are examples, no measurement; a notebook shows them as a table.

    Raises:
        InputError: an edit that this model can't have, a lone edit in place of several, an edit
            named "none", or edits without names that are alike in words.

    >>> edits = {"ablated": rl.Ablate(direction)}
    >>> answers = rl.compare(model, "Is this mole dangerous?", edits, rl.Decoding(4))
    >>> answers.conditions, len(answers.verdicts("ablated"))
    (('none', 'ablated'), 1)
    """
    named = _named(edits)
    answers, in_force = model.generate([prompt], decoding), [model.edits_text]
    for edit in named.values():
        with model.editing(edit):
            answers += model.generate([prompt], decoding)
            in_force.append(model.edits_text)
    unread = Answers(
        conditions=(UNEDITED, *named),
        edits=tuple(in_force),
        decoding=decoding_text(decoding),
        ids=("prompt",),
        texts=(prompt,),
        categories=("",),
        labels=(None,),
        answers=tuple((answer,) for answer in answers),
        senseless=None,
        provenance=model.provenance(seed=decoding.seed),
    )
    return unread.judge(make_judge(DEFAULT) if judge is None else judge)


def _named(edits: Mapping[str, Edit] | Sequence[Edit]) -> dict[str, Edit]:
    """Edits by their names; without names, by what they say of themselves."""
    write = '[a, b], or {"name": a}'
    if isinstance(edits, Mapping):
        several(edits.values(), Edit, what="edit", write=write)
        if UNEDITED in edits:
            raise InputError(
                f"an edit is named {UNEDITED!r}, as the model without an edit is; rename it"
            )
        return dict(edits)
    named: dict[str, Edit] = {}
    for edit in several(edits, Edit, what="edit", write=write):
        if repr(edit) in named:  # two directions of one category and place are written alike
            raise InputError(
                f"two edits are both {edit!r} in words; give each a name: "
                '{"mean": a, "median": b}'
            )
        named[repr(edit)] = edit
    return named
