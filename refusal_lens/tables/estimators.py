"""Ways of finding directions side by side, in numbers."""

from refusal_lens.evaluation.estimators import EstimatorComparison, EstimatorRow, Metric
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
from refusal_lens.tables.table import Cell, Table

LABELS = {
    "behaviour": "harmful prompts that were refused, benign ones that were answered",
    "intended": "the intended labels",
}


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
    first = comparison.rows[0]
    units = sorted({row.reliability.n for row in comparison.rows if row.reliability is not None})
    groups = " to ".join(map(str, units[:1] + units[1:][-1:]))
    caption = (
        f"{visible(comparison.provenance.model)}, layer {comparison.layer}, last token; sides: "
        f"{LABELS.get(comparison.labels, comparison.labels)}. Reliability and corrected cosine by "
        f"random halves, jackknife over groups of the {groups} pairs and unpaired prompts that it "
        "was fitted on (control: 0); "
        f"AUROC within categories, on {first.separation.n} prompts that nothing was fitted on "
        "(control: .5). Seconds and memory are of the machine that made "
        "this page, with one fit for each category left out."
    )
    return Table(caption, head, rows)


def edits_table(comparison: EstimatorComparison) -> Table:
    """What each does in edits; behind a rate its q against the reference, and a star below .05."""
    at = comparison.matched_at
    matched = "benign refused at matched refusal"
    head = (
        "estimator",
        "ablated: harmful refused",
        "the same, category left out",
        "KL under ablation, nats",
        "strength at the budget",
        "harmful refused there",
        "benign refused there",
        matched if at is None else f"{matched} ({at:.0%})",
    )
    rows = tuple(
        (
            Cell(estimator_name(row.name)),
            Cell(_rate(row, row.removed, "removed")),
            Cell(_rate(row, row.left_out_removed, "left_out_removed")),
            Cell(_maybe(row.kl)),
            Cell(number(row.strength) if row.strength is not None else _none(row)),
            Cell(_rate(row, row.damage_refusal, "damage_refusal")),
            Cell(_rate(row, row.damage_over_refusal, "damage_over_refusal")),
            Cell(reached(row.matched_over_refusal)),
        )
        for row in comparison.rows
    )
    plain = comparison.rows[0]
    caption = (
        f"Read answers, judge: {visible(comparison.judge)}, {visible(comparison.decoding)}; n = "
        f"{_asked(plain.removed)} harmful and {_asked(plain.added)} benign test prompts, of which "
        f"the unedited model refuses {whole_percent(plain.removed.control)} and "
        f"{whole_percent(plain.added.control)}. The budget: KL of the next "
        f"token is {comparison.damage_kl:g} nats at the 95th percentile of benign prompts. q: "
        "exact McNemar test against the mean difference on the same prompts, "
        "Benjamini-Hochberg over all tests of the table; * q ≤ .05. At matched refusal, strengths "
        "around the budget's, first draws of controls. Intervals: 95%."
    )
    return Table(caption, head, rows)


def summary_table(comparison: EstimatorComparison) -> Table:
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
        "95% intervals"
    )
    return Table(caption, head, rows)


def _short(e: Estimate | None) -> str:
    return "–" if e is None else whole_percent(e.value)


def _maybe(e: Estimate | None) -> str:
    return "–" if e is None else value_interval(e)


def _none(row: EstimatorRow) -> str:
    return f"none: {visible(row.no_strength or 'not measured')}"


def _rate(row: EstimatorRow, e: Estimate | None, metric: Metric) -> str:
    if e is None:
        return "–"
    test = row.test(metric)
    missing = f", {e.missing} left out" if e.missing else ""
    if test is None:
        return percent_interval(e) + missing
    return (
        f"{percent_interval(e)}{missing}, q {probability(test.q)}{' *' if test.q <= 0.05 else ''}"
    )


def _asked(e: Estimate) -> int:
    """The prompts behind a rate, with those whose answers could not be read."""
    return e.n + e.missing
