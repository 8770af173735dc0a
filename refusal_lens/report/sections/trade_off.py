"""Refusal against over-refusal as strength grows."""

from typing import Final

from refusal_lens import plots
from refusal_lens.evaluation import TradeOff
from refusal_lens.plots.text import visible
from refusal_lens.report.methods import compared_split, n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.trade_off import COMPARED_TRUST, TRADE_OFF
from refusal_lens.tables.score import trust_table


def _parts(run: Run) -> Parts:
    trade_off, trust = run.get(TRADE_OFF), run.get(COMPARED_TRUST)
    if trade_off is None:
        empty: Parts = {"compared_on": "", "compared_trust": ""}
        return empty | {"trade_off": run.why("trade_off")}
    measured = f"read answers of {trade_off.model} to fitting prompts"
    return {
        "compared_on": _compared_on(run, trade_off, trust is not None),
        "compared_trust": "" if trust is None else trust_table(trust, run.titles, measured),
        "trade_off": Figure(
            plots.plot_trade_off(trade_off, titles=run.titles),
            f"Refusal against over-refusal at layer {trade_off.layer} as strength grows",
        ),
    }


def _compared_on(run: Run, curves: TradeOff, other: bool) -> str:
    """Which model the curves are of, whose directions and scores, and what judges refusals."""
    model, judged = curves.model, f" Refusals are judged by {visible(curves.judged_by)}."
    if not other:
        return f"Measured in {visible(model)}.{judged}"
    studied = visible(run.model)
    return (
        f"Measured in {visible(model)}: of the scales of its card the one at which this model's "
        f"refusal of the refuse side is nearest one half, where curves have room on both sides. "
        f"The directions are those of {studied}. The scores were calibrated anew for this scale, "
        "by its own read answers; in categories whose scores do not agree with them answers are "
        "generated and read, and one with too few refusals for an area of its own is taken with "
        f"all others.{judged}"
    )


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Trade-off",
            compared_split(run),
            n_of(run, "trade_off_pairs", "pairs, the same for every direction"),
            "Wilson",
            "strength 0; three control directions of equal length",
        ),
    )


SECTION: Final = Section(
    id="trade-off",
    title="Refusal against over-refusal",
    group="edits",
    place=40,
    parts=_parts,
    methods=_methods,
)
