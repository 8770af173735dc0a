"""What the report shows of a run, by name."""

from refusal_lens import plots
from refusal_lens.attribution import TokenMap
from refusal_lens.evaluation import Answers, TradeOff
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.judges import ScoreTrust
from refusal_lens.plots import methods, tables
from refusal_lens.plots.behaviour import cell_gaps_table, cells_table
from refusal_lens.plots.text import visible
from refusal_lens.prompts.files import load_categories
from refusal_lens.report.attribution import attribution_parts
from refusal_lens.report.evaluation import evaluation_parts
from refusal_lens.report.geometry import geometry_parts
from refusal_lens.report.part import Figure, Part
from refusal_lens.report.run import Run
from refusal_lens.report.structure import structure_parts
from refusal_lens.selection import LayerCurve


def parts(run: Run) -> dict[str, Part]:
    """Everything the page shows, by name.

    Raises:
        ValueError: two rooms of the page give one name, so that one would hide the other's.
    """
    rooms: tuple[dict[str, Part], ...] = (
        _behaviour_parts(run),
        geometry_parts(run),
        structure_parts(run),
        _edit_parts(run),
        attribution_parts(run),
        evaluation_parts(run),
        {
            "methods": methods.methods_table(
                run.question,
                controlled=run.control is not None,
                attributed=bool(run.results.digest("attribution")),
                compared=_compared(run),
            ),
            "question": tables.plain_table("The question", ("parameter", "value"), run.question),
            "provenance": methods.provenance_table(run.results.manifest),
            "offsets": methods.offsets_table(run.results.manifest),
        },
    )
    found: dict[str, Part] = {}
    for room in rooms:
        if twice := found.keys() & room.keys():
            raise ValueError(f"parts of the page named twice: {sorted(twice)}")
        found |= room
    return found


def _compared(run: Run) -> str | None:
    """The model of the trade-off, where it is not the study's own."""
    found = run.get("trade_off", "trade_off", TradeOff)
    own = run.results.manifest.get("model")
    return None if found is None or found.model == own else found.model


def _behaviour_parts(run: Run) -> dict[str, Part]:
    read = run.behaviour
    if read is None:
        return dict.fromkeys(("behaviour", "cells", "gaps"), run.why("behaviour"))
    found: dict[str, Part] = {
        "behaviour": tables.behaviour_table(read, run.titles, run.kept),
        "cells": cells_table(read, run.titles, LEAST_PAIRS),
    }
    if run.planted:
        gaps = tables.gap_table(read, run.titles, run.kept, LEAST_PAIRS, load_categories())
    else:
        gaps = cell_gaps_table(read, run.titles, LEAST_PAIRS, load_categories())
    found["gaps"] = gaps if gaps.rows else "No gap: every category has enough prompts."
    return found


def _edit_parts(run: Run) -> dict[str, Part]:
    titles = run.titles
    names = {"trust": "score"} | {n: n for n in ("layers", "trade_off", "answers", "tokens")}
    found: dict[str, Part] = {}
    if (trust := run.get("score", "trust", ScoreTrust)) is not None:
        found["trust"] = tables.trust_table(trust, titles)
    curve = run.get("layers", "curve", LayerCurve)
    if curve is not None and curve.candidates:
        found["layers"] = Figure(
            plots.plot_layers(curve.candidates, selection=run.selection),
            "Refusal score by layer with the direction ablated and added, and the divergence",
        )
    if (trade_off := run.get("trade_off", "trade_off", TradeOff)) is not None:
        found["trade_off"] = Figure(
            plots.plot_trade_off(trade_off, titles=titles),
            f"Refusal against over-refusal at layer {trade_off.layer} as strength grows",
        )
    if (answers := run.get("answers", "answers", Answers)) is not None:
        found["answers"] = tables.answers_table(answers, titles, load_categories())
    if (tokens := run.get("tokens", "tokens", TokenMap)) is not None:
        found["tokens"] = Figure(
            plots.plot_tokens(tokens, titles=titles),
            f"Tokens of one prompt by layer, along the direction of {tokens.category}",
        )
        found["token_prompt"] = visible(tokens.prompt)
    missing = {name: run.why(stage) for name, stage in names.items() if name not in found}
    return {"token_prompt": "", **found, **missing}
