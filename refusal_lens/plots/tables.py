"""Tables of the report: a result record in, rows of plain text out (the page escapes them)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, final

from refusal_lens.evaluation import Answers
from refusal_lens.judges import CLASSES, ScoreTrust, Verdict, VerdictCounts
from refusal_lens.judges.coherence import MOST_NATS
from refusal_lens.plots.palette import BENIGN, CONTROL, REFUSE, Mark, marks
from refusal_lens.plots.text import number, percent, told, visible
from refusal_lens.prompts import Category, Label
from refusal_lens.records import Estimate

_CONDITIONS: Final = {
    "none": "before (unedited)",
    "ablated": "direction ablated",
    "steered": "direction added",
}
_OUTCOMES: Final = {
    "refused": "refused",
    "complied": "answered",
    "partial": "partly refused",
    "unclear": "unclear",
}
_CLASSES: Final = _OUTCOMES | {"unclear": "otherwise unclear"}


@final
@dataclass(frozen=True)
class Cell:
    """Text, with a coloured tag before it or an interval drawn beside it."""

    text: str
    tag: str | None = None
    colour: str = CONTROL
    bar: tuple[float, float, float] | None = None


@final
@dataclass(frozen=True)
class Table:
    """Rows under real headers; the first cell of each row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    kind: str = "numbers"


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
        f"Decoding: {read.decoding}; judge: {read.judge_name}. Partly refused counts as not "
        "refused; what could not be read is left out of the rates, gibberish included. "
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
        found = most if kept is None else kept.get(c, 0)
        if found >= needed:
            continue
        answered, _ = _outcomes(read, c, "refuse")
        _, refused = _outcomes(read, c, "comply")
        source = categories[c].source if c in categories else "prompts of the same kind"
        rows.append(
            (
                Cell(visible(titles.get(c, c))),
                Cell(f"at most {found}" if kept is None else str(found)),
                Cell(str(needed - found)),
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


def verdicts_table(found: Mapping[str, VerdictCounts]) -> Table:
    """What a judge made of each set of answers: nothing is dropped, a row adds up to its n."""
    rows = tuple(
        (
            Cell(visible(where)),
            Cell(visible(counts.judge)),
            Cell(str(counts.n)),
            *(Cell(str(n)) for n in counts.by_class.values()),
            Cell(", ".join(f"{visible(k)} {n}" for k, n in counts.flags.items()) or "–"),
        )
        for where, counts in found.items()
    )
    head = ("answers", "judge", "n", *(_CLASSES.get(c, c) for c in CLASSES), "flags")
    caption = (
        "Only what is refused, partly refused or answered stands in rates. Gibberish: loops, "
        "repetition, no words and, under an edit, words too improbable in the unedited model (over "
        f"{MOST_NATS:g} nats a token); unparsed: the judge said something else than a verdict; "
        "missing: it said nothing. A flag changes no verdict."
    )
    return Table(caption, head, rows)


def trust_table(
    trust: ScoreTrust, titles: Mapping[str, str], measured: str = "held-out prompts"
) -> Table:
    """Which score stands for a read verdict in each category, and how well it agrees.

    `measured` says on what.
    """
    rows = tuple(
        (
            Cell(visible(titles.get(c, c))),
            Cell(mode),
            _area(trust.auroc.get(c)),
            _area(trust.opening_auroc.get(c)),
            Cell(number(trust.threshold.get(c))),
        )
        for c, mode in trust.mode.items()
    )
    caption = (
        f"Agreement with read verdicts on {visible(measured)} (AUROC, percentile bootstrap over "
        "prompts; chance is .5)."
    )
    if trust.trusted():
        texts = ", ".join(f"“{visible(t)}”" for t in trust.token_texts)
        caption += f" First tokens of refusals, from the fitting prompts: {texts}."
    else:
        caption += " First tokens alone do not show refusals here: no category is scored by them."
    return Table(
        caption,
        ("category", "score used", "first token, AUROC", "opening, AUROC", "threshold, nats"),
        rows,
    )


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
        prompt = Cell(_lines(text), tag=tag, colour=_own(category, of_key))
        read = [answers.verdicts(name)[i] for name in answers.conditions]
        said = [row[i] for row in answers.answers]
        rows.append((prompt, *(_answer(*cell, colours) for cell in zip(said, read, strict=True))))
    head = ("prompt", *(_CONDITIONS.get(name, name) for name in answers.conditions))
    return Table(
        f"Decoding: {answers.decoding}; judge: {answers.judge_name}. The tag is the judge's "
        "reading, with the manner of a refusal. Single answers: examples, no measurement.",
        head,
        tuple(rows),
        kind="answers",
    )


def plain_table(caption: str, head: tuple[str, ...], rows: Mapping[str, Any]) -> Table:
    """A table of names and values, nested values as `name: value` pairs."""
    return Table(caption, head, tuple((Cell(k), Cell(_spelled(v))) for k, v in rows.items()))


def _lines(text: str) -> str:
    """Visible text that keeps its line breaks."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _own(category: str, of_key: Mapping[str, Mark]) -> str:
    return of_key[category].colour if category in of_key else CONTROL


def _answer(answer: str, verdict: Verdict, colours: Mapping[str, str]) -> Cell:
    outcome, manner = verdict.outcome, verdict.manner
    notes = dict.fromkeys((manner and manner.replace("_", " "), verdict.reason, *verdict.flags))
    tag = ": ".join((_OUTCOMES.get(outcome, outcome), *(visible(x) for x in notes if x)))
    colour = CONTROL if outcome in ("complied", "unclear") else colours.get(manner or "", REFUSE)
    return Cell(_lines(answer) or "(empty)", tag=tag, colour=colour)


def rate_cell(estimate: Estimate, colour: str) -> Cell:
    """A rate, its interval drawn beside it."""
    e = estimate
    bar = None
    if e.value is not None and e.low is not None and e.high is not None:
        bar = (e.value, e.low, e.high)
    return Cell(percent(e), colour=colour, bar=bar)


def _area(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell("not needed")
    return Cell(told(replace(estimate, control=None)))


def _unread(read: Answers, category: str | None) -> str:
    """What is left out of the rates, by why, and what is flagged."""
    counts = read.counts(category=category)
    rest = {name: n for name, n in counts.by_class.items() if n and name in CLASSES[3:]}
    flags = {name: n for name, n in counts.flags.items() if n}
    told = [", ".join(f"{visible(k)} {n}" for k, n in part.items()) for part in (rest, flags)]
    return f"{told[0] or '0'}; {told[1]}" if flags else told[0] or "0"


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


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_spelled(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_spelled(v) for v in value)
    return "–" if value is None else visible(str(value))
