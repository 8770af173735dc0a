"""Tables of what the model did against what was asked: the four cells, and tests on them."""

from collections.abc import Mapping

from refusal_lens.evaluation import Answers
from refusal_lens.geometry import WithinTests
from refusal_lens.geometry.within import DIFFERS, LEAST_A_GROUP
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.tables import Cell, Table, rate_cell
from refusal_lens.plots.text import number, probability, visible
from refusal_lens.prompts import LABELS, Category


def cells_table(read: Answers, titles: Mapping[str, str], needed: int) -> Table:
    """Harmful and benign prompts, refused and answered, by category.

    The last column says whether a direction can be fitted by what the model did: `needed` harmful
    prompts that it refused and as many benign ones that it answered.
    """
    rows = [
        (
            Cell("all" if c is None else visible(titles.get(c, c))),
            *(Cell(str(n)) for n in _cells(read, c)),
            rate_cell(read.rate(label="refuse", category=c), REFUSE),
            rate_cell(read.rate(label="comply", category=c), BENIGN),
            Cell("" if c is None else _fitted(_cells(read, c), needed)),
        )
        for c in (None, *dict.fromkeys(read.categories))
    ]
    head = (
        "category",
        "harmful, refused",
        "harmful, answered",
        "benign, refused",
        "benign, answered",
        "harmful refused",
        "benign refused",
        "direction",
    )
    caption = (
        "Counts of prompts by intended label and by what this model did; partly refused counts as "
        f"answered, unclear answers are left out. Judge: {visible(read.judge_name)}; decoding: "
        f"{visible(read.decoding)}. Rates with Wilson 95% intervals. A direction by behaviour "
        f"needs {needed} harmful prompts that were refused and {needed} benign ones that were "
        "answered."
    )
    return Table(caption, head, tuple(rows))


def cell_gaps_table(
    read: Answers, titles: Mapping[str, str], needed: int, categories: Mapping[str, Category]
) -> Table:
    """For each category without a direction by behaviour: what is there, and what would fill it."""
    rows: list[tuple[Cell, ...]] = []
    for c in dict.fromkeys(read.categories):
        refused, _, _, answered = _cells(read, c)
        if min(refused, answered) < needed:
            source = categories[c].source if c in categories else "prompts of the same kind"
            texts = (titles.get(c, c), str(refused), str(answered), source)
            rows.append(tuple(Cell(visible(text)) for text in texts))
    head = ("category", "harmful refused", "benign answered", "public source of the same kind")
    return Table(f"Categories with fewer than {needed} prompts in either group.", head, tuple(rows))


def within_table(found: WithinTests, titles: Mapping[str, str]) -> Table:
    """Whether refused and answered harmful prompts of one category differ inside the model."""
    rows = [
        (
            Cell(visible(titles.get(c, c))),
            Cell(f"{found.refused[i]} and {found.answered[i]}"),
            Cell(_largest(found, i)),
            Cell(probability(found.p[i].item())),
            Cell(probability(found.q[i].item())),
            Cell(_verdict(found, i)),
        )
        for i, c in enumerate(found.categories)
    ]
    head = ("category", "refused and answered", "largest z, layer", "p", "q", "verdict")
    caption = (
        f"{visible(found.provenance.model)}: harmful prompts that were refused against those that "
        "were answered, within each category. "
        f"Verdicts were exchanged {found.draws} times; p is that of the largest z over all layers, "
        f"q after Benjamini-Hochberg over categories. Fewer than {LEAST_A_GROUP} prompts in a "
        "group are not tested."
    )
    return Table(caption, head, tuple(rows))


def _cells(read: Answers, category: str | None) -> tuple[int, int, int, int]:
    """Harmful refused, harmful answered, benign refused, benign answered."""
    sides = [read.counts(label=label, category=category).outcomes for label in LABELS]
    (a, b), (c, d) = (
        (n.get("refused", 0), n.get("complied", 0) + n.get("partial", 0)) for n in sides
    )
    return a, b, c, d


def _fitted(cells: tuple[int, int, int, int], needed: int) -> str:
    refused, _, _, answered = cells
    if refused >= needed and answered >= needed:
        return "fitted"
    return f"gap: {min(refused, answered)} of {needed}"


def _largest(found: WithinTests, i: int) -> str:
    z = found.z[i].nan_to_num(float("-inf"))
    s = int(z.argmax())
    return "–" if z[s] == float("-inf") else f"{number(float(z[s]))}, layer {found.sites[s].layer}"


def _verdict(found: WithinTests, i: int) -> str:
    if found.q[i] != found.q[i]:
        return "not tested: too few in a group"
    return "differ" if found.q[i] <= DIFFERS else "not shown to differ"
