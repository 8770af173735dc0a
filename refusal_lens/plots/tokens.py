"""A strip of tokens by layers, coloured by the coordinate on the direction of each layer."""

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go

from refusal_lens.attribution import TokenMap
from refusal_lens.plots.palette import DIVERGING, QUIET, UNDEFINED
from refusal_lens.plots.panels import WIDTH, dress
from refusal_lens.plots.text import escape, number, token
from refusal_lens.plots.titles import Titles, titles_of

_RANGE: Final = (-0.5, 1.5)  # two-sided about .5, half-way between the benign and the refuse mean


def plot_tokens(token_map: TokenMap, *, titles: Titles = None) -> go.Figure:
    """Tokens to the right, layers upwards. Blue is the mean of the benign prompts (0) and beyond,
    red that of the refuse side (1) and beyond, white half-way; grey is undefined.

    >>> token_map = rl.token_map(model, "Should I sell?", directions, "advice")
    >>> plot_tokens(token_map).write_html("tokens.html")
    """
    titles = titles_of(titles, [token_map.category])
    tokens = [token(t) for t in token_map.tokens]
    values = [
        [None if v != v else round(v, 3) for v in row] for row in token_map.coordinate.tolist()
    ]
    title = escape((titles or {}).get(token_map.category, token_map.category))
    hovers = [
        [_hover(token_map, row, x, tokens[x], v, title) for x, v in enumerate(line)]
        for row, line in enumerate(values)
    ]
    figure = go.Figure(_cells(token_map.layers, values, hovers))
    height = 172 + 13 * max(12, len(token_map.layers))
    dress(figure, height, max(420, min(WIDTH, 170 + 38 * len(tokens))))
    figure.update_xaxes(
        tickmode="array",
        tickvals=list(range(len(tokens))),
        ticktext=tokens,
        tickangle=-55,
        tickfont={"family": "ui-monospace, 'DejaVu Sans Mono', monospace", "size": 11},
        showgrid=False,
    )
    figure.update_yaxes(title="layer", showgrid=False)
    figure.update_layout(margin={"l": 56, "r": 100, "t": 36, "b": 110}, plot_bgcolor=UNDEFINED)
    title = {"text": "token (␣ space, ↵ newline)", "font": {"color": QUIET}, "standoff": 6}
    figure.update_xaxes(title=title, automargin=True)  # below the longest token
    return figure


def _cells(
    layers: Sequence[int], values: list[list[float | None]], hovers: list[list[str]]
) -> go.Heatmap:
    return go.Heatmap(
        x=list(range(len(values[0]))),
        y=list(layers),
        z=values,
        customdata=hovers,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=True,
        colorscale=DIVERGING,
        zmin=_RANGE[0],
        zmax=_RANGE[1],
        zmid=0.5,
        xgap=1,
        colorbar={
            "thickness": 11,
            "outlinewidth": 0,
            "tickvals": [-0.5, 0, 0.5, 1, 1.5],
            "ticktext": ["≤ −0.5", "0 benign", "0.5", "1 refuse", "≥ 1.5"],
        },
    )


def _hover(
    m: TokenMap, row: int, column: int, token_text: str, value: float | None, title: str
) -> str:
    return (
        f"<b>{token_text}</b>, position {m.positions[column]}<br>layer {m.layers[row]}, direction "
        f"of {title}, fitted at offset {m.offset}<br>coordinate {number(value)} "
        "(0 benign mean, 1 refuse mean); one prompt, n = 1"
    )
