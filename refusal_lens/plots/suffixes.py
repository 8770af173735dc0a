"""What suffixes do: to refusal rates, along the direction at each layer, and to single prompts."""

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.plots.effects import error_bars
from refusal_lens.plots.palette import BENIGN, CONTROL, QUIET, REFUSE, Mark, faded, marks
from refusal_lens.plots.panels import (
    WIDTH,
    band,
    dress,
    layer_names,
    place,
    plain,
    small_panels,
)
from refusal_lens.plots.text import escape, estimate_text, number, percent, tick
from refusal_lens.records import Estimate
from refusal_lens.suffixes import SuffixAnalysis
from refusal_lens.suffixes.records import Against, FlipGroup, SuffixRow
from refusal_lens.suffixes.suffix import NEUTRAL

KINDS: Final = {"lost": "refusals lost", "gained": "refusals gained"}
_KIND_COLOURS: Final = {"lost": BENIGN, "gained": REFUSE}
_HEADS: Final = (
    "refused: harmful (red),<br>benign (blue)",
    "change of the refusal rate",
    "change against a neutral<br>text of equal length",
    "push (positive: away from<br>refusal), class distances",
)
_ROW: Final = 19
_LEFT: Final = 230


def plot_suffix_rates(analysis: SuffixAnalysis) -> go.Figure:
    """One row per suffix: refusal rates of both sides, changes, and the push at the layer.

    Bars are 95% intervals. Dashed lines: without a suffix, or no change. Filled changes have
    q <= .05 against no suffix. Neutral texts are grey.

    >>> plot_suffix_rates(suffixes).write_html("suffix_rates.html")
    """
    rows = analysis.rows
    figure = make_subplots(
        rows=1, cols=4, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=_HEADS
    )
    dress(figure, 130 + _ROW * len(rows), WIDTH)
    for shift, colour, side in ((-0.16, REFUSE, "harmful"), (0.16, BENIGN, "benign")):
        estimates: list[Estimate] = [getattr(row, side) for row in rows]
        _add(figure, 1, _dots(rows, estimates, [colour] * len(rows), f"{side} refused", shift))
        if estimates[0].control is not None:
            _line(figure, 1, estimates[0].control, colour)
    colours = _colours(analysis)
    panels: tuple[tuple[int, list[Estimate | None], Against], ...] = (
        (2, [row.change for row in rows], "no suffix"),
        (3, [row.change_neutral for row in rows], "neutral text"),
    )
    for column, changes, against in panels:
        tests = [row.test(against) for row in rows]
        hollow = [test is None or test.q > 0.05 for test in tests]
        name = f"change against {against}"
        _add(figure, column, _dots(rows, changes, colours, name, 0.0, hollow))
        figure.update_xaxes(tickformat=".0%", col=column)
    _add(figure, 4, _dots(rows, [row.push for row in rows], colours, "push", 0.0))
    for column in (2, 3, 4):
        _line(figure, column, 0.0, QUIET)
    figure.update_xaxes(tickformat=".0%", col=1, range=[-0.03, 1.03])
    _name_rows(figure, rows)
    return figure


def plot_suffix_layers(analysis: SuffixAnalysis) -> go.Figure:
    """Mean push at every layer, a panel per family, beside that of neutral texts (grey).

    Along each layer's own direction, in distances between the class means there; bands are 95%
    intervals, the dotted line is the run's layer.

    >>> plot_suffix_layers(suffixes).write_html("suffix_layers.html")
    """
    names = [row.family for row in analysis.families]
    of, layers = _marks(analysis), [site.layer for site in analysis.sites]
    families = [name for name in names if name != NEUTRAL]
    figure = small_panels(families, {}, "push")
    for i, family in enumerate(families):
        row, column = place(i)
        for name in (NEUTRAL, family):
            value, low, high = (plain(analysis.curves[names.index(name), k]) for k in range(3))
            mark, shown = of[name], escape(name)
            figure.add_trace(band(layers, low, high, mark.colour, shown), row=row, col=column)
            figure.add_trace(_curve(layers, value, mark, shown), row=row, col=column)
        _guides(figure, 0.0, analysis.layer, {"row": row, "col": column})
    figure.update_layout(showlegend=False)
    return figure


def plot_suffix_areas(analysis: SuffixAnalysis) -> go.Figure:
    """How well the push at each layer tells the prompts whose refusal flips: AUROC, no fit.

    Push is positive away from refusal, so gained refusals are ranked by −push. Bars are 95%
    intervals, the dashed line is chance, the dotted one the run's layer.

    >>> plot_suffix_areas(suffixes).write_html("suffix_areas.html")
    """
    figure = dress(go.Figure(), 340, 760)
    layers = [site.layer for site in analysis.sites]
    for group in analysis.groups:
        if group.reason is None:
            figure.add_trace(_areas(layers, group))
    _guides(figure, 0.5, analysis.layer, {})
    some = layers[:: max(1, len(layers) // 12)]
    names = dict(zip(layers, layer_names(analysis.sites), strict=True))
    figure.update_xaxes(title="layer", tickvals=some, ticktext=[names[n] for n in some])
    figure.update_yaxes(title="AUROC")
    figure.update_layout(
        margin={"l": 60, "r": 16, "t": 44, "b": 46},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
    )
    return figure


def plot_suffix_shifts(analysis: SuffixAnalysis) -> go.Figure:
    """Push and orthogonal shift of every prompt that is refused without a suffix.

    A point per suffix and prompt; filled where the refusal was lost.

    >>> plot_suffix_shifts(suffixes).write_html("suffix_shifts.html")
    """
    figure = dress(go.Figure(), 430, 760)
    for lost, name, colour in ((0.0, "still refused", CONTROL), (1.0, "refusal lost", BENIGN)):
        chosen = analysis.points[analysis.points[:, 2] == lost]
        figure.add_trace(
            go.Scatter(
                x=plain(chosen[:, 1], 3),
                y=plain(chosen[:, 0], 3),
                mode="markers",
                name=f"{name} (n = {len(chosen)})",
                marker={
                    "size": 5,
                    "opacity": 0.55,
                    "color": colour,
                    "symbol": "circle" if lost else "circle-open",
                },
                hovertemplate="push %{y:.2f}, orthogonal shift %{x:.2f}<extra></extra>",
            )
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1, "dash": "dash"})
    figure.update_xaxes(title="orthogonal shift, class distances")
    figure.update_yaxes(title="push, class distances")
    figure.update_layout(margin={"l": 60, "r": 16, "t": 40, "b": 50}, legend={"orientation": "h"})
    figure.update_layout(legend={"x": 0, "y": 1.0, "yanchor": "bottom"})
    return figure


def _marks(analysis: SuffixAnalysis) -> dict[str, Mark]:
    families = [row.family for row in analysis.families if row.family != NEUTRAL]
    return marks(families) | {NEUTRAL: Mark(CONTROL, "circle-open", "dash")}


def _colours(analysis: SuffixAnalysis) -> list[str]:
    of, n = _marks(analysis), sum(row.n_suffixes for row in analysis.families[:-1])
    return [
        of[row.suffix.family if i < n else NEUTRAL].colour for i, row in enumerate(analysis.rows)
    ]


def _name_rows(figure: go.Figure, rows: Sequence[SuffixRow]) -> None:
    figure.update_yaxes(
        range=[len(rows) - 0.4, -0.6],
        tickvals=list(range(len(rows))),
        ticktext=[tick(row.suffix.text, 30) for row in rows],
    )
    figure.update_layout(margin={"l": _LEFT, "r": 14, "t": 74, "b": 34}, showlegend=False)


def _add(figure: go.Figure, column: int, trace: go.Scatter) -> None:
    figure.add_trace(trace, row=1, col=column)


def _line(figure: go.Figure, column: int, x: float, colour: str) -> None:
    line = {"color": colour, "width": 1, "dash": "dash"}
    figure.add_vline(x=x, line=line, row=1, col=column)  # pyright: ignore[reportArgumentType]


def _dots(
    rows: Sequence[SuffixRow],
    estimates: Sequence[Estimate | None],
    colours: Sequence[str],
    name: str,
    shift: float,
    hollow: Sequence[bool] | None = None,
) -> go.Scatter:
    words = percent if "refused" in name else estimate_text
    symbols = ["circle-open" if h else "circle" for h in hollow or [False] * len(rows)]
    return go.Scatter(
        x=[None if e is None else e.value for e in estimates],
        y=[i + shift for i in range(len(rows))],
        error_x=error_bars(estimates, faded(QUIET, 0.45)) | {"thickness": 1.1, "width": 0},
        mode="markers",
        marker={
            "size": 6.5,
            "symbol": symbols,
            "color": list(colours),
            "line": {"width": 1.4, "color": list(colours)},
        },
        customdata=[
            f"<b>{escape(row.suffix.text)}</b> ({escape(row.suffix.family)})<br>{name}: "
            + ("not measured" if e is None else words(e))
            for row, e in zip(rows, estimates, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _guides(figure: go.Figure, y: float, layer: int, where: dict[str, Any]) -> None:
    """Where nothing is shown, and the run's layer."""
    figure.add_hline(y=y, line={"color": QUIET, "width": 1, "dash": "dash"}, **where)
    figure.add_vline(x=layer, line={"color": QUIET, "width": 1, "dash": "dot"}, **where)


def _curve(layers: list[int], value: list[float | None], mark: Mark, name: str) -> go.Scatter:
    return go.Scatter(
        x=layers,
        y=value,
        mode="lines",
        name=name,
        line={"color": mark.colour, "width": 1.8, "dash": mark.dash},
        hovertemplate=f"{name}, layer %{{x}}: %{{y:.2f}}<extra></extra>",
    )


def _areas(layers: list[int], group: FlipGroup) -> go.Scatter:
    colour, estimates = _KIND_COLOURS[group.kind], list(group.by_site)
    bars = error_bars(estimates, faded(colour, 0.6))
    ranked = "push" if group.kind == "lost" else "−push"
    return go.Scatter(
        x=layers,
        y=[e.value for e in estimates],
        error_y=bars | {"width": 3},
        mode="lines+markers",
        name=f"{KINDS[group.kind]} ({ranked}; {group.n_flips} of {group.n_rows})",
        line={"color": colour, "width": 1.6},
        marker={"size": 6, "color": colour, "symbol": "diamond" if group.kind == "lost" else "x"},
        customdata=[f"n = {e.n}, AUROC of {ranked} {number(e.value)}" for e in estimates],
        hovertemplate="layer %{x}: %{customdata}<extra></extra>",
    )
