"""Ways of finding directions side by side, in numbers."""

from typing import Final

from refusal_lens.evaluation.estimators import (
    LEAST_COMMON,
    EstimatorComparison,
    EstimatorMetric,
    EstimatorRow,
    MatchedAt,
)
from refusal_lens.geometry.split_halves import LEAST_UNITS
from refusal_lens.plots.estimators import estimator_name
from refusal_lens.plots.text import (
    number,
    percent_interval,
    probability,
    reached,
    value_interval,
    visible,
    whole_percent,
)
from refusal_lens.records import Estimate
from refusal_lens.tables.matched import reach_in_words
from refusal_lens.tables.table import Cell, Table

LABELS = {
    "behaviour": "harmful prompts that were refused, benign ones that were answered",
    "intended": "the intended labels",
}

DIRECTIONS_OF: Final = (
    "Of a control everything is of its first draw; of a subspace (dimension above 1) everything is "
    "of its first direction."
)
EDITS_OF: Final = (
    "Of a control the rates are over its draws in turn, at the budget each at its own strength; "
    "strengths, KL, text and the matched column are of the first draw. Of a subspace the first "
    "rate, KL and text are of the whole span, everything else is of its first direction."
)
"""Which draw of a control, and which direction of a subspace, the columns of a table are of."""
LEARNED: Final = {"rdo": "RDO", "cone_3": "a cone of RDO"}
"""Whose ablation term is not the paper's, and what they are."""
JUMPS: Final = "it jumps where a pair is left out, and the jackknife does not hold"
TOGETHER: Final = "; those of erm are of all four invariant probes together"
"""Whose cost is that of several rows."""


def directions_table(comparison: EstimatorComparison) -> Table:
    """What each finds: reliability, cosine to the mean difference, separation, cost of fitting."""
    head = (
        "estimator",
        "dimension",
        "reliability",
        "cosine to the mean difference",
        "uncorrected",
        "held-out AUROC",
        "category left out",
        "seconds to fit",
        "MiB",
    )
    rows = tuple(
        (
            Cell(estimator_name(row.name)),
            Cell(str(row.n_directions)),
            Cell(_maybe(row.reliability)),
            Cell(_maybe(row.cosine)),
            Cell(number(row.naive)),
            Cell(_maybe(row.separation)),
            Cell(_maybe(row.left_out_separation)),
            Cell(f"{row.seconds:.2f}"),
            Cell(f"{row.peak_mib:.0f}"),
        )
        for row in comparison.rows
    )
    return Table(_directions_caption(comparison), head, rows)


def _directions_caption(comparison: EstimatorComparison) -> str:
    first = comparison.rows[0]
    units = sorted({row.reliability.n for row in comparison.rows if row.reliability is not None})
    groups = " to ".join(map(str, units[:1] + units[1:][-1:]))
    halves = (
        "Reliability and corrected cosine by random halves, jackknife over groups of the "
        f"{groups} pairs and unpaired prompts that it was fitted on (control: 0)"
        if units
        else f"Reliability is not measured: no category has {LEAST_UNITS} pairs or unpaired prompts"
    )
    bare = (r for r in comparison.rows if without_interval(r.reliability))
    if names := ", ".join(estimator_name(row.name) for row in bare):
        halves += f", without an interval for {names}: {JUMPS}"
    return (
        f"{visible(comparison.provenance.model)}, layer {comparison.layer}, last token; sides: "
        f"{LABELS.get(comparison.labels, comparison.labels)}. {halves}; "
        f"AUROC within categories, on {first.separation.n} prompts that nothing was fitted on "
        f"(control: .5). {DIRECTIONS_OF}{_learned(comparison)} Seconds and memory are of the "
        "machine that made this page, with one fit for each category left out"
        f"{_together(comparison)}."
    )


def _together(comparison: EstimatorComparison) -> str:
    return TOGETHER if any(row.name == "erm" for row in comparison.rows) else ""


def without_interval(e: Estimate | None) -> bool:
    """Whether it has a value and no interval."""
    return e is not None and e.value is not None and e.low is None


def _learned(comparison: EstimatorComparison) -> str:
    """What is learned with the refusal score in place of the paper's ablation term."""
    names = {row.name for row in comparison.rows}
    return "".join(
        f" {estimator_name(name)} is {what} with the refusal score as its ablation term, in place "
        "of the paper's answers to harmful prompts."
        for name, what in LEARNED.items()
        if name in names
    )


def fitted_table(comparison: EstimatorComparison) -> Table:
    """What was fitted under each name, in the words of the fit itself."""
    rows = tuple(
        (Cell(estimator_name(row.name)), Cell(visible(row.method))) for row in comparison.rows
    )
    return Table("What was fitted under each name.", ("estimator", "fitted"), rows)


def edits_table(comparison: EstimatorComparison) -> Table:
    """What each does in edits; behind a rate its q against the reference, and a star below .05."""
    head = (
        "estimator",
        "ablated: harmful refused",
        "the same, category left out",
        "KL under ablation, nats",
        "more on ordinary text, nats",
        "added at its own length: benign refused",
        "strength at the budget",
        "the same in residual units",
        "harmful refused there",
        "benign refused there",
        f"benign refused at matched refusal{_at(comparison.matched)}",
    )
    rows = tuple(
        (
            Cell(estimator_name(row.name)),
            Cell(_rate(row, row.removed, "removed")),
            Cell(_rate(row, row.left_out_removed, "left_out_removed")),
            Cell(_maybe(row.kl)),
            Cell(_maybe(row.text_change)),
            Cell(percent_interval(row.added) + _unread(row.added)),
            Cell(number(row.strength) if row.strength is not None else _none(row)),
            Cell("–" if row.strength is None else number(row.strength * row.length)),
            Cell(_rate(row, row.damage_refusal, "damage_refusal") + _draws(row)),
            Cell(_rate(row, row.damage_over_refusal, "damage_over_refusal")),
            Cell(reached(row.matched_over_refusal)),
        )
        for row in comparison.rows
    )
    return Table(_edits_caption(comparison), head, rows)


def _edits_caption(comparison: EstimatorComparison) -> str:
    plain = comparison.rows[0]
    return (
        f"Read answers, judge: {visible(comparison.judge)}, {visible(comparison.decoding)}; n = "
        f"{_asked(plain.removed)} harmful and {_asked(plain.added)} benign test prompts, of which "
        f"the unedited model refuses {whole_percent(plain.removed.control)} and "
        f"{whole_percent(plain.added.control)}. KL under ablation: over {plain.kl.n} of the "
        "benign ones. More on ordinary text: edited minus unedited cross-entropy a token, over "
        f"{plain.text_change.n} windows. The budget: KL of the next token is "
        f"{comparison.damage_kl:g} nats at the 95th percentile of benign prompts; strengths are in "
        "lengths of each direction. q: exact McNemar test against the mean difference on the same "
        f"prompts ({LEAST_COMMON} in common or more, else it could not come out), "
        "Benjamini-Hochberg over the estimators' tests, and over the controls' by themselves; "
        f"* q ≤ .05. {EDITS_OF}{_learned(comparison)}{_where(comparison.matched)} Intervals: 95%, "
        "of controls for these draws."
    )


def _at(matched: MatchedAt | None) -> str:
    return "" if matched is None or matched.rate is None else f" ({matched.rate:.0%})"


def _where(matched: MatchedAt | None) -> str:
    """In which model, on how many pairs and by what the matched column was measured."""
    if matched is None:
        return ""
    text = (
        f" At matched refusal: {visible(matched.model)}, strengths around the budget's, "
        f"{matched.n_pairs} of {matched.asked} pairs, of which "
        f"{matched.read} were read and the others scored"
    )
    if matched.rate is not None:
        text += f"; shown is the set rate that most rows reach, {matched.rate:.0%}"
    if matched.low is None or matched.high is None:
        return f"{text}; no differences are tested, as no two estimators reach one rate."
    reach = reach_in_words(matched.outside, matched.estimators, estimator_name)
    return (
        f"{text}. Compared two by two were the estimators that reach a rate, {reach}; the "
        f"simultaneous 95% band of all these differences reaches from {number(matched.low)} to "
        f"{number(matched.high)} and leaves out 0 for {matched.apart} of {matched.differences}."
    )


def estimator_summary_table(comparison: EstimatorComparison) -> Table:
    """The rows in few and short columns, for a terminal."""
    head = (
        "estimator",
        "AUROC",
        "ablated: harmful refused",
        "KL, nats",
        "at the budget: harmful, benign refused",
    )
    rows = tuple(
        (
            Cell(estimator_name(row.name)),
            Cell(number(row.separation.value)),
            Cell(percent_interval(row.removed)),
            Cell(number(row.kl.value)),
            Cell(f"{_short(row.damage_refusal)}, {_short(row.damage_over_refusal)}"),
        )
        for row in comparison.rows
    )
    plain = comparison.rows[0]
    caption = (
        f"{visible(comparison.provenance.model)}, layer {comparison.layer}; unedited: "
        f"{whole_percent(plain.removed.control)} of {_asked(plain.removed)} harmful and "
        f"{whole_percent(plain.added.control)} of {_asked(plain.added)} benign prompts refused; "
        f"KL over {plain.kl.n} of the benign ones; 95% intervals, of controls for these draws"
    )
    return Table(caption, head, rows)


def _short(e: Estimate | None) -> str:
    return "–" if e is None else whole_percent(e.value)


def _maybe(e: Estimate | None) -> str:
    return "–" if e is None else value_interval(e)


def _none(row: EstimatorRow) -> str:
    return f"none: {visible(row.no_strength or 'not measured')}"


def _rate(row: EstimatorRow, e: Estimate | None, metric: EstimatorMetric) -> str:
    if e is None:
        return "–"
    test = row.test(metric)
    rate = percent_interval(e) + _unread(e)
    if test is None:
        return rate
    if test.q is None:
        return f"{rate}, n in common: {test.n}, no test"
    return f"{rate}, q {probability(test.q)}{' *' if test.q <= 0.05 else ''}"


def _unread(e: Estimate) -> str:
    return f", {e.missing} left out" if e.missing else ""


def _draws(row: EstimatorRow) -> str:
    """How many draws of a control reach the budget, where it isn't all or none of them."""
    some = 0 < row.draws_at_budget < row.draws
    return f", {row.draws_at_budget} of {row.draws} draws" if some else ""


def _asked(e: Estimate) -> int:
    """The prompts behind a rate, with those whose answers could not be read."""
    return e.n + e.missing
