"""What a model did: cells of intended label and behaviour, and what would fill them."""

from collections import Counter
from collections.abc import Mapping

from refusal_lens.evaluation import Answers
from refusal_lens.geometry import WithinTests
from refusal_lens.geometry.within import DIFFERS, LEAST_A_GROUP
from refusal_lens.judges import CLASSES
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.text import number, probability, visible
from refusal_lens.prompts import LABELS, Category, Label
from refusal_lens.tables.table import Cell, Table, rate_cell


def behaviour_table(
    read: Answers, titles: Mapping[str, str], kept: Mapping[str, int] | None
) -> Table:
    """Rates of both sides by category, manners, and pairs that went as intended.

    `kept` holds the number of such pairs by category, None where the prompts are not at hand.
    """
    rows = [
        (
            Cell("all" if c is None else visible(titles.get(c, c))),
            rate_cell(read.rate(label="refuse", category=c), REFUSE),
            rate_cell(read.rate(label="comply", category=c), BENIGN),
            Cell(_unread(read, c)),
            Cell(_kept(kept, c)),
            Cell(_manners(read, c)),
        )
        for c in (None, *dict.fromkeys(read.categories))
    ]
    return Table(
        f"Decoding: {read.decoding}; judge: {visible(read.judge_name)}. Partly refused counts as "
        "not refused; what could not be read is left out of the rates, gibberish included. "
        "Intervals: Wilson, 95%.",
        (
            "category",
            "refuse side refused",
            "benign side refused",
            "left out; flags",
            "pairs as intended",
            "manners of refusal (count)",
        ),
        tuple(rows),
    )


def gap_table(
    read: Answers,
    titles: Mapping[str, str],
    kept: Mapping[str, int] | None,
    needed: int,
    categories: Mapping[str, Category],
) -> Table:
    """For each category with too few pairs as intended: how many, and what would fill the gap."""
    rows: list[tuple[Cell, ...]] = []
    for c in dict.fromkeys(read.categories):
        most = _at_most(read, c)
        n_pairs = most if kept is None else kept.get(c, 0)
        if n_pairs >= needed:
            continue
        answered, _ = _outcomes(read, c, "refuse")
        _, refused = _outcomes(read, c, "comply")
        source = categories[c].source if c in categories else "prompts of the same kind"
        rows.append(
            (
                Cell(visible(titles.get(c, c))),
                Cell(f"at most {n_pairs}" if kept is None else str(n_pairs)),
                Cell(str(needed - n_pairs)),
                Cell(str(answered)),
                Cell(str(refused)),
                Cell(source),
            )
        )
    head = (
        "category",
        "pairs as intended",
        "more needed",
        "refuse-side prompts that were answered",
        "benign prompts that were refused",
        "public source of the same kind",
    )
    return Table(f"Categories with fewer than {needed} pairs as intended.", head, tuple(rows))


def _unread(read: Answers, category: str | None) -> str:
    """What is left out of the rates, by why, and what is flagged."""
    counts = read.counts(category=category)
    rest = {name: n for name, n in counts.by_class.items() if n and name in CLASSES[3:]}
    flags = {name: n for name, n in counts.flags.items() if n}
    lists = [", ".join(f"{visible(k)} {n}" for k, n in part.items()) for part in (rest, flags)]
    return f"{lists[0] or '0'}; {lists[1]}" if flags else lists[0] or "0"


def _kept(kept: Mapping[str, int] | None, category: str | None) -> str:
    if kept is None:
        return "not known"
    return str(sum(kept.values()) if category is None else kept.get(category, 0))


def _at_most(read: Answers, category: str) -> int:
    _, refused = _outcomes(read, category, "refuse")
    answered, _ = _outcomes(read, category, "comply")
    return min(refused, answered)


def _outcomes(read: Answers, category: str, label: Label) -> tuple[int, int]:
    """How many prompts of one side were answered, in part too, and how many refused."""
    n = read.counts(label=label, category=category).outcomes
    return n.get("complied", 0) + n.get("partial", 0), n.get("refused", 0)


def _manners(read: Answers, category: str | None) -> str:
    one = read.only(category=category)
    refusals = [v.manner for v in one.verdicts() if v.outcome == "refused"]
    counts = Counter(manner for manner in refusals if manner is not None)
    return ", ".join(f"{visible(m).replace('_', ' ')} {n}" for m, n in counts.most_common()) or "–"


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


def within_table(tests: WithinTests, titles: Mapping[str, str]) -> Table:
    """Whether refused and answered harmful prompts of one category differ inside the model."""
    rows = [
        (
            Cell(visible(titles.get(c, c))),
            Cell(f"{tests.refused[i]} and {tests.answered[i]}"),
            Cell(_largest(tests, i)),
            Cell(probability(tests.p[i].item())),
            Cell(probability(tests.q[i].item())),
            Cell(_verdict(tests, i)),
        )
        for i, c in enumerate(tests.categories)
    ]
    head = ("category", "refused and answered", "largest z, layer", "p", "q", "verdict")
    caption = (
        f"{visible(tests.provenance.model)}: harmful prompts that were refused against those that "
        "were answered, within each category. "
        f"Verdicts were exchanged {tests.draws} times; p is that of the largest z over all layers, "
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


def _largest(tests: WithinTests, i: int) -> str:
    z = tests.z[i].nan_to_num(float("-inf"))
    s = int(z.argmax())
    return "–" if z[s] == float("-inf") else f"{number(float(z[s]))}, layer {tests.sites[s].layer}"


def _verdict(tests: WithinTests, i: int) -> str:
    if tests.q[i] != tests.q[i]:
        return "not tested: too few in a group"
    return "differ" if tests.q[i] <= DIFFERS else "not shown to differ"
