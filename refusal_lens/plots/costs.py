"""What edits cost, and whether judges agree."""

from collections.abc import Mapping
from typing import Final

from refusal_lens.evaluation import Costs
from refusal_lens.judges import JudgeAgreement
from refusal_lens.plots.tables import Cell, Table
from refusal_lens.plots.text import condition_name, number, percent, told, visible
from refusal_lens.records import Estimate

_WHERE: Final = {
    "behaviour": "answers to the fitting prompts",
    "score": "answers to the held-out prompts",
    "answers": "steered answers shown in this report",
    "manners": "answers under each direction",
    "screening": "scores and read answers, unedited and under each direction, in the model of the "
    "trade-off",
    "full": "scores and generated answers over the whole grid of the trade-off",
}


def cost_table(costs: Costs, *, titles: Mapping[str, str]) -> Table:
    """A row for each edit; behind each number what the unedited model has."""
    rows = tuple(
        (
            Cell(condition_name(row.condition, titles)),
            Cell(told(row.kl)),
            Cell(_beside(row.text)),
            Cell(_beside(row.templated_text)),
            Cell(_rate(row.degenerate)),
            Cell(percent(row.kept)),
            Cell(visible(str(row.verdicts))),
        )
        for row in costs.rows
    )
    head = (
        "edit",
        "KL of the next token, nats",
        "ordinary text, nats a token",
        "the same behind the template",
        "answers without sense",
        "benign prompts still answered",
        "verdicts",
    )
    caption = (
        f"{costs.n_prompts} benign prompts; {costs.decoding}; judge: {costs.judge}. Added: "
        "strength 1, the direction's own length. Brackets: 95%; after the bar: the unedited model, "
        f"whose KL with itself is 0 and whose verdicts are {costs.unedited}."
    )
    return Table(caption, head, rows)


def agreement_table(found: Mapping[str, JudgeAgreement]) -> Table:
    """How far two readings of the same answers agree."""
    rows = tuple(
        (
            Cell(_WHERE.get(where, where)),
            Cell(visible(" and ".join(a.judges))),
            Cell(told(a.kappa)),
            Cell(percent(a.share)),
            Cell(str(a.left_out)),
            Cell(str(a.flagged)),
        )
        for where, a in found.items()
    )
    head = ("answers", "readings", "kappa", "they agree on", "unclear, left out", "flagged")
    caption = (
        "Cohen's kappa of refused or not; 0 is chance, 1 full agreement. It is undefined where one "
        "reading says the same of every answer. Intervals: 95%, over prompts where several answers "
        "were given to each."
    )
    return Table(caption, head, rows)


def _beside(e: Estimate) -> str:
    if e.value is None or e.low is None or e.high is None:
        return f"undefined, n = {e.n}"
    text = f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"
    return f"{text} | {number(e.control)}, n = {e.n}"


def _rate(e: Estimate) -> str:
    return percent(e) if e.control is None else f"{percent(e)} | {100 * e.control:.0f}%"
