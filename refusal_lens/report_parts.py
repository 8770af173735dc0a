"""What the report shows of a run: the facts of the summary, figures and tables."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import plotly.graph_objects as go

from refusal_lens import plots
from refusal_lens.attribution import TokenMap
from refusal_lens.directions import DirectionSet
from refusal_lens.evaluation import SideBySide, TradeOff
from refusal_lens.geometry import Geometry
from refusal_lens.geometry.base import LEAST_PAIRS
from refusal_lens.geometry.structure import participation_ratio
from refusal_lens.judges import ScoreTrust
from refusal_lens.plots import methods, tables
from refusal_lens.plots.tables import Table
from refusal_lens.plots.text import interval, number, percent, visible
from refusal_lens.prompts import load_categories
from refusal_lens.records import Estimate
from refusal_lens.report_run import Run
from refusal_lens.selection import LayerCurve


@final
@dataclass(frozen=True)
class Figure:
    """A figure with the words that stand for it where it can't be seen."""

    figure: go.Figure
    label: str

    @property
    def json(self) -> str:
        """The figure as JSON that can stand inside a script element."""
        text = self.figure.to_json() or ""
        for character in "<>&\u2028\u2029":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return text

    @property
    def interactive(self) -> bool:
        """Whether it has a slider."""
        return bool(self.figure["layout"]["sliders"])


Part = Figure | Table | str  # text is a note in place of what is missing


def facts(run: Run) -> list[tuple[str, str]]:
    """The rows of the summary: what, and the number with n and interval."""
    rows: list[tuple[str, str]] = []
    if (g := run.geometry) is not None:
        pairs = f"{min(g.n)}" if min(g.n) == max(g.n) else f"{min(g.n)} to {max(g.n)}"
        rows.append(("Categories", f"{len(g.categories)}, {pairs} pairs each to fit directions"))
    rows.append(("Layer", _chosen(run)))
    if (read := run.behaviour) is not None:
        judged = f"(judge: {read.judge})"
        rows.append(("Refusal, refuse side", f"{percent(read.rate('refuse'))} prompts {judged}"))
        rows.append(
            ("Over-refusal, benign side", f"{percent(read.rate('comply'))} prompts {judged}")
        )
    if run.selection is not None:
        best = run.selection.choice
        rows.append(("Refusal score, direction ablated", f"{_score(best.ablation)}, refuse side"))
        rows.append(("Refusal score, direction added", f"{_score(best.addition)}, benign side"))
    if run.geometry is not None and run.layer is not None:
        rows.append(("Measurable directions", _measurable(run.geometry, run.layer)))
        rows.append(("Effective dimension", _dimension(run, run.layer)))
    return rows


def _score(e: Estimate) -> str:
    text = f"{interval(e.value, e.low, e.high)} nats, n = {e.n}"
    return text if e.control is None else f"{text}; unedited {number(e.control)}"


def _chosen(run: Run) -> str:
    if run.layer is None:
        return "none: no geometry and no choice in this run"
    n_layers = run.results.manifest.get("n_layers")
    text = f"{run.layer}" + (f" of {n_layers} (counted from 0)" if n_layers else "")
    if run.selection is None:
        return f"{text}: the most reliable one; no layer was selected. {run.why('selection')}"
    s = run.selection
    return (
        f"{text}, offset {number(s.choice.offset, 0)}: the best of {len(s.candidates)} candidates, "
        f"{'none' if s.relaxed else len(s.survivors)} of which passes the rule of Arditi et al."
    )


def _measurable(g: Geometry, layer: int) -> str:
    s = [site.layer for site in g.sites].index(layer)
    count = int(g.measurable()[s].sum())
    return (
        f"{count} of {len(g.categories)} at layer {layer} (lower 95% bound of reliability at "
        "least 0.5)"
    )


def _dimension(run: Run, layer: int) -> str:
    """Participation ratio of the naive matrix where it is defined, beside the control's."""
    own = run.geometry and dimension(run.geometry, layer)
    if not own:
        return f"undefined at layer {layer}: fewer than two directions are defined there"
    text = (
        f"{number(own[0])} of {own[1]} (participation ratio of the naive cosines at layer {layer}"
    )
    if run.control is not None and (other := dimension(run.control, layer)):
        text += f"; {run.names[1]}: {number(other[0])} of {other[1]}"
    return f"{text}; noise raises it, and it has no interval here)"


def dimension(g: Geometry, layer: int) -> tuple[float, int] | None:
    """Effective dimension over the categories defined at a layer, and how many those are."""
    layers = [site.layer for site in g.sites]
    if layer not in layers:
        return None
    naive = g.naive[layers.index(layer)].double().numpy()
    defined = np.isfinite(naive.diagonal())
    if defined.sum() < 2:
        return None
    value = participation_ratio(naive[np.ix_(defined, defined)])
    return None if math.isnan(value) else (value, int(defined.sum()))


def parts(run: Run) -> dict[str, Part]:
    """Everything the page shows, by name."""
    return {
        **_behaviour_parts(run),
        **_geometry_parts(run),
        **_edit_parts(run),
        "methods": methods.methods_table(run.question, controlled=run.control is not None),
        "question": tables.plain_table("The question", ("parameter", "value"), run.question),
        "provenance": methods.provenance_table(run.results.manifest),
        "offsets": methods.offsets_table(run.results.manifest),
    }


def _behaviour_parts(run: Run) -> dict[str, Part]:
    read = run.behaviour
    if read is None:
        return dict.fromkeys(("behaviour", "gaps"), run.why("behaviour"))
    found: dict[str, Part] = {"behaviour": tables.behaviour_table(read, run.titles, run.kept)}
    gaps = tables.gap_table(read, run.titles, run.kept, LEAST_PAIRS, load_categories())
    found["gaps"] = gaps if gaps.rows else "No gap: every category has enough pairs as intended."
    return found


def _geometry_parts(run: Run) -> dict[str, Part]:
    g, control, titles = run.geometry, run.control, run.titles
    shared: dict[str, Any] = {"titles": titles, "control": control, "names": run.names}
    found: dict[str, Part] = dict.fromkeys(
        ("cosines", "cosines_naive", "reliability", "lengths", "behaviour_cosines"),
        run.why("geometry"),
    )
    if g is not None:
        found["cosines"] = Figure(
            plots.plot_cosines(g, layer=run.layer, **shared),
            f"Corrected cosines between {len(g.categories)} categories at each of {len(g.sites)} "
            "layers, with a slider over layers, and reliability beside",
        )
        found["cosines_naive"] = Figure(
            plots.plot_cosines(g, value="naive", layer=run.layer, **shared),
            "The same matrices of naive cosines",
        )
        found["reliability"] = Figure(
            plots.plot_reliability(g, **shared), "Reliability by layer, a panel for each category"
        )
        found["lengths"] = Figure(
            plots.plot_lengths(g, **shared), "Noise-free length of each direction by layer"
        )
    if (b := run.get("geometry", "behaviour", Geometry)) is not None:
        found["behaviour_cosines"] = Figure(
            plots.plot_cosines(b, titles=titles, layer=run.layer, names=run.names),
            f"Corrected cosines by what the model did, {len(b.categories)} categories",
        )
    elif g is not None:
        found["behaviour_cosines"] = (
            f"A gap: fewer than two categories have {LEAST_PAIRS} pairs whose refuse side this "
            "model refused and whose twin it answered."
        )
    found["separation"] = run.why("directions")
    if run.directions is not None:
        shared["control"] = run.get("control", "directions", DirectionSet)
        found["separation"] = Figure(
            plots.plot_separation(run.directions, **shared),
            "Mean coordinate of either side on its category's direction, by layer",
        )
    found["control"] = "" if control is not None else run.why("control").removeprefix("Not shown: ")
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
    if (answers := run.get("answers", "answers", SideBySide)) is not None:
        found["answers"] = tables.answers_table(answers, titles, load_categories())
    if (tokens := run.get("tokens", "tokens", TokenMap)) is not None:
        found["tokens"] = Figure(
            plots.plot_tokens(tokens, titles=titles),
            f"Tokens of one prompt by layer, along the direction of {tokens.category}",
        )
        found["token_prompt"] = visible(tokens.prompt)
    missing = {name: run.why(stage) for name, stage in names.items() if name not in found}
    return {"token_prompt": "", **found, **missing}
