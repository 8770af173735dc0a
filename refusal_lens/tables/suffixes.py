"""What suffixes did, in numbers."""

from typing import Final

from refusal_lens.plots.suffixes import KINDS
from refusal_lens.plots.text import (
    number,
    percent_interval,
    points_interval,
    probability,
    value_interval,
    visible,
)
from refusal_lens.records import Estimate
from refusal_lens.suffixes import SuffixAnalysis
from refusal_lens.suffixes.flips import Prediction
from refusal_lens.suffixes.records import Against, FlipGroup, SuffixRow
from refusal_lens.tables.table import Cell, Table

_LEVEL: Final = 0.05
_HEAD: Final = (
    "suffix",
    "family",
    "tokens (neutral)",
    "harmful refused",
    "benign refused",
    "change",
    "lost, gained; q",
    "change against neutral",
    "lost, gained; q",
    "push",
    "orthogonal shift",
    "efficiency",
)


def suffixes_table(analysis: SuffixAnalysis) -> Table:
    """A row per suffix: rates, changes with their tests, push, orthogonal shift, efficiency."""
    rows = tuple(
        (
            Cell(visible(row.suffix.text)),
            Cell(visible(row.suffix.family)),
            Cell(f"{row.tokens} ({row.neutral_tokens})"),
            Cell(_rate(row.harmful)),
            Cell(_rate(row.benign)),
            Cell(points_interval(row.change, 1)),
            Cell(_test(row, "no suffix")),
            Cell("–" if row.change_neutral is None else points_interval(row.change_neutral, 1)),
            Cell(_test(row, "neutral text")),
            Cell(value_interval(row.push)),
            Cell(value_interval(row.orthogonal)),
            Cell(number(row.efficiency)),
        )
        for row in analysis.rows
    )
    tests = sum(len(row.tests) for row in analysis.rows)
    caption = (
        f"{visible(analysis.provenance.model)}, layer {analysis.layer}, last token of the "
        f"template; {analysis.n_prompts} test prompts, half of them harmful where they are pairs, "
        f"of which {analysis.n_refused} are refused without a suffix. Judge: "
        f"{visible(analysis.judge)}; {visible(analysis.decoding)}. Change: refusal rate with the "
        "suffix minus without, in percentage points, t interval over pairs. Lost and gained "
        "refusals, prompt by prompt: exact McNemar test, q after Benjamini-Hochberg over all "
        f"{tests} tests; * q ≤ .05. Push and orthogonal shift in distances between the class "
        f"means ({analysis.scale:.3g}). Brackets: 95%."
    )
    return Table(caption, _HEAD, rows)


def families_table(analysis: SuffixAnalysis) -> Table:
    """A row per family of suffixes, the neutral texts last."""
    head = ("family", "suffixes", "change", "change against neutral", "push")
    rows = tuple(
        (
            Cell(visible(row.family)),
            Cell(str(row.n_suffixes)),
            Cell(points_interval(row.change, 1)),
            Cell("–" if row.change_neutral is None else points_interval(row.change_neutral, 1)),
            Cell(value_interval(row.push)),
        )
        for row in analysis.families
    )
    caption = (
        f"Families of suffixes: mean change of the refusal rate of {analysis.n_prompts} prompts in "
        "percentage points, and mean push in distances between the class means (positive: away "
        f"from refusal) at layer {analysis.layer}. Brackets: 95%, bootstrap over prompts and over "
        "suffixes; with five suffixes per family the ends are rough."
    )
    return Table(caption, head, rows)


def predictions_table(analysis: SuffixAnalysis) -> Table:
    """How well each quantity predicts flips on prompts and suffixes that a fit did not see."""
    head = (
        "flips",
        "predicted from",
        "held-out AUROC",
        "shuffled",
        "within prompts",
        "log-odds per standard deviation",
    )
    rows = tuple(
        (
            Cell(f"{KINDS[group.kind]}"),
            Cell(visible(p.name)),
            Cell(value_interval(p.auroc)),
            Cell(number(p.auroc.control)),
            Cell(value_interval(p.within)),
            Cell(_weights(p)),
        )
        for group in analysis.groups
        for p in group.predictions
    )
    caption = (
        f"Logistic regression at layer {analysis.layer}; a fit sees neither the prompt (or its "
        "twin) nor the suffix that it predicts. "
        + " ".join(_count(group) for group in analysis.groups)
        + " Shuffled: the same with outcomes shuffled. Within prompts: rows of one prompt compared "
        "among themselves. Brackets: 95%, bootstrap over prompts and over suffixes. Chance is .5."
    )
    return Table(caption, head, rows)


def flip_sentence(group: FlipGroup) -> str:
    """Why flips of one kind are not predicted, as a sentence; empty where they are."""
    if group.reason is None:
        return ""
    return f"Not predicted: {KINDS[group.kind]} ({group.reason})."


def _count(group: FlipGroup) -> str:
    return (
        f"{KINDS[group.kind].capitalize()}: {group.n_flips} of {group.n_rows} rows, "
        f"{group.n_prompts} prompts."
    )


def _weights(p: Prediction) -> str:
    """Each quantity's standardised weight; those of products are left out."""
    return "; ".join(
        f"{name} {value_interval(c)}"
        for name, c in zip(p.columns, p.coefficients, strict=True)
        if " x " not in name
    )


def _test(row: SuffixRow, against: Against) -> str:
    test = row.test(against)
    if test is None:
        return "–"
    star = "*" if test.q <= _LEVEL else ""
    return f"{test.lost}, {test.gained}; {probability(test.q)}{star}"


def _rate(e: Estimate) -> str:
    beside = "" if e.control is None else f" | {100 * e.control:.0f}%"
    return f"{percent_interval(e)}{beside}, n = {e.n}"
