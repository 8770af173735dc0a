"""What judges made of answers, and whether they agree."""

from collections.abc import Mapping
from typing import Final

from refusal_lens.judges import CLASSES, JudgeAgreement, VerdictCounts
from refusal_lens.judges.coherence import MOST_NATS
from refusal_lens.plots.text import estimate_text, percent, visible
from refusal_lens.tables.answers import OUTCOMES
from refusal_lens.tables.table import Cell, Table

_CLASSES: Final = OUTCOMES | {"unclear": "otherwise unclear"}


def verdicts_table(by_answers: Mapping[str, VerdictCounts]) -> Table:
    """What a judge made of each set of answers: nothing is dropped, a row adds up to its n."""
    rows = tuple(
        (
            Cell(visible(where)),
            Cell(visible(counts.judge)),
            Cell(str(counts.n)),
            *(Cell(str(n)) for n in counts.by_class.values()),
            Cell(", ".join(f"{visible(k)} {n}" for k, n in counts.flags.items()) or "–"),
        )
        for where, counts in by_answers.items()
    )
    head = ("answers", "judge", "n", *(_CLASSES.get(c, c) for c in CLASSES), "flags")
    caption = (
        "Only what is refused, partly refused or answered stands in rates. Gibberish: loops, "
        "repetition, no words and, under an edit, words too improbable in the unedited model (over "
        f"{MOST_NATS:g} nats per token); unparsed: the judge said something else than a verdict; "
        "missing: it said nothing. A flag changes no verdict."
    )
    return Table(caption, head, rows)


_WHERE: Final = {
    "behaviour": "answers to the fitting prompts",
    "score": "answers to the held-out prompts",
    "answers": "steered answers shown in this report",
    "manners": "answers under each direction",
    "screening": "scores and read answers, unedited and under each direction, in the model of the "
    "trade-off",
    "full": "scores and generated answers over the whole grid of the trade-off",
}


def judge_agreement_table(agreements: Mapping[str, JudgeAgreement]) -> Table:
    """How far two readings of the same answers agree."""
    rows = tuple(
        (
            Cell(_WHERE.get(where, where)),
            Cell(visible(" and ".join(a.judges))),
            Cell(estimate_text(a.kappa)),
            Cell(percent(a.share)),
            Cell(str(a.left_out)),
            Cell(str(a.flagged)),
        )
        for where, a in agreements.items()
    )
    head = ("answers", "readings", "kappa", "they agree on", "unclear, left out", "flagged")
    caption = (
        "Cohen's kappa of refused or not; 0 is chance, 1 full agreement. It is undefined where one "
        "reading says the same of every answer. Intervals: 95%, over prompts where several answers "
        "were given to each."
    )
    return Table(caption, head, rows)
