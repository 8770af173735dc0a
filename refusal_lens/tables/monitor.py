"""A monitor's false alarms, and what it makes of edited variants, in numbers."""

from refusal_lens.monitor.measure import MonitorTrial, VariantRow
from refusal_lens.plots.text import (
    percent,
    percent_interval,
    probability,
    value_interval,
    visible,
    whole_percent,
)
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table

KINDS = {"suppression": "suppression", "control": "control", "evasion": "evasion"}


def false_alarms_table(trial: MonitorTrial) -> Table:
    """Shares of unedited test prompts with an alarm, by what was asked and done."""
    head = ("unedited test prompts", "flagged")
    rows = tuple((Cell(name), Cell(percent(e))) for name, e in trial.false_alarms.items())
    each = trial.calibrated
    caption = (
        f"False alarms over the prompt's last token and the first {trial.tokens - 1} answer "
        f"tokens, bound {trial.alpha:.1%} for both detectors together. Each is calibrated to "
        f"{trial.alpha / 2:.1%} on {trial.counts['calibration']} unedited prompts: over such "
        f"calibration sets its own rate lies in {percent_interval(each)} (95%). Judge: "
        f"{visible(trial.judge)}. The bound is on all prompts together, not on each row."
    )
    return Table(caption, head, rows)


def variants_table(trial: MonitorTrial) -> Table:
    """What each variant does, what is flagged, and how soon."""
    head = (
        "variant",
        "kind",
        "harmful still refused",
        "harmful flagged",
        "q",
        "flagged where refusal is gone",
        "benign flagged",
        "AUROC Mahalanobis",
        "AUROC logistic",
        "answer tokens until flagged",
    )
    rows = tuple(_row(row) for row in trial.rows)
    first = trial.rows[0]
    plain = trial.false_alarms
    caption = (
        f"{visible(trial.provenance.model)}. n = "
        f"{first.flagged.n} harmful test prompts that the unedited model refuses and "
        f"{first.benign.n} benign ones that it answers; unedited, "
        f"{whole_percent(first.flagged.control)} and {whole_percent(first.benign.control)} of "
        f"these are flagged, of all {plain['all'].n} test prompts "
        f"{percent_interval(plain['all'])}. q: exact McNemar test "
        "against the same prompts unedited, Benjamini-Hochberg over the variants; * q ≤ .05. "
        "AUROC against the same prompts unedited, jackknife over prompts (control: .5). Tokens "
        "until half of those that are ever flagged are flagged; 0: before the first token. "
        "Intervals: 95%."
    )
    return Table(caption, head, rows)


def layers_table(trial: MonitorTrial) -> Table:
    """How well each later layer alone tells a variant from the same prompts unedited."""
    head = ("variant", *(f"layer {layer}" for layer in trial.late))
    rows = tuple(
        (Cell(visible(row.title)), *(Cell(value_interval(e)) for e in row.by_layer))
        for row in trial.rows
    )
    caption = (
        "AUROC of each later layer's deviation alone (less refusal than expected counts as high), "
        f"at the prompt's last token, n = {trial.rows[0].flagged.n} harmful prompts against "
        "themselves unedited; control: .5. What is expected comes of the projections at layers "
        f"{', '.join(map(str, trial.early))}."
    )
    return Table(caption, head, rows)


def monitor_summary_table(trial: MonitorTrial) -> Table:
    """The rows in few columns, for a terminal."""
    head = ("variant", "still refused", "harmful flagged", "benign flagged")
    rows = tuple(
        (
            Cell(visible(row.title)),
            *(Cell(percent_interval(e)) for e in (row.refused, row.flagged, row.benign)),
        )
        for row in trial.rows
    )
    caption = (
        f"{visible(trial.provenance.model)}: false alarms {percent(trial.false_alarms['all'])} "
        f"(bound {trial.alpha:.0%}); 95% intervals"
    )
    return Table(caption, head, rows)


def _row(row: VariantRow) -> tuple[Cell, ...]:
    star = " *" if row.q <= 0.05 else ""
    late = row.latency
    return (
        Cell(visible(row.title)),
        Cell(KINDS[row.kind]),
        Cell(_counted(row.refused)),
        Cell(percent_interval(row.flagged)),
        Cell(f"{probability(row.q)}{star}"),
        Cell(f"{percent_interval(row.caught)}, n = {row.caught.n}" if row.caught.n else "–"),
        Cell(percent_interval(row.benign)),
        *(Cell(value_interval(e)) for e in row.auroc),
        Cell("–" if late is None else str(late)),
    )


def _counted(e: Estimate) -> str:
    left_out = f", {e.missing} unclear" if e.missing else ""
    return percent_interval(e) + left_out
