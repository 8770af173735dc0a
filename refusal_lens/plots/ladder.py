"""Refusal as ever more directions are ablated: a panel per question, a line per model or span."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.defence import BeforeAfter, LadderReading, Rung
from refusal_lens.plots.palette import CONTROL, REFUSE
from refusal_lens.plots.panels import WIDTH, dress
from refusal_lens.plots.text import escape, estimate_text, number
from refusal_lens.records import Estimate

_COLOURS: Final = (REFUSE, "#332288", "#117733", "#ee7733", "#0077bb")
_SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "x")
RungEstimate = Callable[[Rung, int], Estimate | None]
PANELS: Final[dict[str, RungEstimate]] = {
    "harmful prompts refused": lambda rung, _: rung.refusal,
    "harmful prompts answered": lambda rung, _: rung.answered,
    "benign prompts refused": lambda rung, _: rung.over_refusal,
    "refused at over-refusal {rate}": lambda rung, middle: rung.matched[middle],
    "KL of benign next tokens, nats": lambda rung, _: rung.kl,
}


@final
@dataclass(frozen=True)
class _Line:
    """One line of every panel."""

    name: str
    rungs: Sequence[Rung]
    look: dict[str, Any]
    symbol: str


def plot_ladder(reading: LadderReading | Mapping[str, LadderReading]) -> go.Figure:
    """Against the number of directions ablated: refusal, answers, over-refusal and damage.

    Solid: the span of the refusal directions, of one set or of several by name. Dashed grey:
    random spans. Bars are 95% intervals.

    >>> plot_ladder(ladder).write_html("ladder.html")
    """
    if isinstance(reading, LadderReading):
        reading = {reading.directions: reading}
    return _figure(reading)


def plot_before_after(compared: BeforeAfter) -> go.Figure:
    """The ladders of several models, each with directions fitted on itself, in common panels.

    >>> plot_before_after(before_after).write_html("defence.html")
    """
    return _figure(dict(zip(compared.names, compared.readings, strict=True)))


def _figure(readings: Mapping[str, LadderReading]) -> go.Figure:
    first = next(iter(readings.values()))
    middle = len(first.over_refusal_rates) // 2
    rate = f"{first.over_refusal_rates[middle]:.0%}"
    figure = make_subplots(
        rows=1,
        cols=len(PANELS),
        horizontal_spacing=0.035,
        subplot_titles=[_wrapped(heading.format(rate=rate)) for heading in PANELS],
    )
    dress(figure, 372, WIDTH)
    for column, read in enumerate(PANELS.values(), 1):
        for i, line in enumerate(_lines(readings)):
            estimates = [read(rung, middle) for rung in line.rungs]
            figure.add_trace(_trace(line, estimates, i, column == 1), row=1, col=column)
    rungs = sorted({r.dimension for reading in readings.values() for r in reading.main})
    figure.update_xaxes(tickvals=rungs, title={"text": "directions ablated", "standoff": 4})
    rates = {"range": [-0.03, 1.03], "tickformat": ".0%", "tickvals": [0, 0.25, 0.5, 0.75, 1]}
    for column in range(1, len(PANELS)):
        figure.update_yaxes(rates, row=1, col=column)
    figure.update_yaxes(rangemode="tozero", row=1, col=len(PANELS))
    legend = {"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"}
    figure.update_layout(margin={"l": 48, "r": 14, "t": 92, "b": 46}, legend=legend)
    return figure


def _lines(readings: Mapping[str, LadderReading]) -> list[_Line]:
    lines: list[_Line] = []
    for i, (name, reading) in enumerate(readings.items()):
        look = {"color": _COLOURS[i % len(_COLOURS)], "width": 2}
        lines.append(_Line(name, reading.main, look, _SYMBOLS[i % len(_SYMBOLS)]))
    several = len(readings) > 1
    for i, (name, reading) in enumerate(readings.items()):
        look = {"color": CONTROL, "width": 1.3, "dash": "dash"}
        label = f"random spans, {name}" if several else "random spans"
        lines.append(_Line(label, reading.random, look, f"{_SYMBOLS[i % len(_SYMBOLS)]}-open"))
    return lines


def _trace(line: _Line, estimates: Sequence[Estimate | None], i: int, legend: bool) -> go.Scatter:
    shift = 0.06 * i - 0.06
    return go.Scatter(
        x=[rung.dimension + shift for rung in line.rungs],
        y=[None if e is None else e.value for e in estimates],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [_length(e, "high") for e in estimates],
            "arrayminus": [_length(e, "low") for e in estimates],
            "thickness": 1.1,
            "width": 0,
        },
        mode="lines+markers",
        name=escape(line.name),
        legendgroup=line.name,
        showlegend=legend,
        line=line.look,
        marker={"symbol": line.symbol, "size": 7, "color": line.look["color"]},
        customdata=[
            f"<b>{escape(line.name)}</b>, {rung.dimension} ablated<br>{_rung_text(e)}"
            for rung, e in zip(line.rungs, estimates, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _rung_text(e: Estimate | None) -> str:
    return f"not reached ({number(None)})" if e is None else estimate_text(e)


def _length(e: Estimate | None, end: str) -> float | None:
    if e is None or e.value is None or (limit := getattr(e, end)) is None:
        return None
    return abs(limit - e.value)


def _wrapped(heading: str) -> str:
    """A heading in two lines."""
    words = heading.split(" ")
    half = (len(words) + 1) // 2
    return " ".join(words[:half]) + "<br>" + " ".join(words[half:])
