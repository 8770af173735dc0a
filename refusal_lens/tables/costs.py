"""What edits cost."""

from collections.abc import Mapping

from refusal_lens.evaluation import Costs
from refusal_lens.plots.text import condition_name, estimate_text, number, percent, visible
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table


def cost_table(costs: Costs, *, titles: Mapping[str, str]) -> Table:
    """A row for each edit; behind each number what the unedited model has."""
    rows = tuple(
        (
            Cell(condition_name(row.condition, titles)),
            Cell(estimate_text(row.kl)),
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
        "ordinary text, nats per token",
        "the same behind the template",
        "answers without sense",
        "benign prompts still answered",
        "verdicts",
    )
    caption = (
        f"{costs.n_prompts} benign prompts; {costs.decoding}; judge: {visible(costs.judge)}. "
        "Added: strength 1, the direction's own length. Brackets: 95%; after the bar: the unedited "
        f"model, whose KL with itself is 0 and whose verdicts are {costs.unedited}."
    )
    return Table(caption, head, rows)


def _beside(e: Estimate) -> str:
    if e.value is None or e.low is None or e.high is None:
        return f"undefined, n = {e.n}"
    text = f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"
    return f"{text} | {number(e.control)}, n = {e.n}"


def _rate(e: Estimate) -> str:
    return percent(e) if e.control is None else f"{percent(e)} | {100 * e.control:.0f}%"
