"""Figures of patching: layer x position, blocks by layer, first-order estimates by head."""

from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go

from refusal_lens.attribution import AttributionPatch, PatchMap, PatchSite
from refusal_lens.plots.attribution.grid import (
    MENU_TOP,
    Heatmap,
    HeatmapFrame,
    choose,
    plot_grids,
    reach_of,
)
from refusal_lens.plots.palette import BENIGN, CONTROL, QUIET, REFUSE
from refusal_lens.plots.panels import band, dress
from refusal_lens.plots.text import escape, estimate_text, token
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.records import Estimate

ALL = "all pairs"
_BLOCKS = {"attn_out": ("attention", BENIGN), "mlp_out": ("MLP", REFUSE)}


def plot_patches(patches: PatchMap, *, titles: Titles = None) -> go.Figure:
    """Mean recovery when the stream entering a layer is patched at one position, and the placebo.

    Tokens of the template's end to the right, layers upwards; the range is fixed at -1 to 1.

    >>> plot_patches(patches).write_html("patches.html")
    """
    titles = titles_of(titles, patches.categories)
    layers = sorted({s.layer for s in patches.sites if s.point == "resid_pre"})
    grids: dict[str, list[Heatmap]] = {}
    for name, category in _choices(patches.categories, titles):
        at = dict(zip(patches.sites, patches.estimates(category), strict=True))
        grids[name] = [_positions(patches, layers, at, placebo) for placebo in (False, True)]
    frame = HeatmapFrame(
        ("recovery", "placebo: a random difference of the same length"),
        tuple(
            f"{token(t)} ({o})".replace("-", "−")
            for t, o in zip(patches.tokens, patches.offsets, strict=True)
        ),
        tuple(map(str, layers)),
        ("token (offset)", "layer"),
        1.0,
        "recovery",
        (58, 25),
        written=len(patches.offsets) < 13,
    )
    return plot_grids(grids, frame)


def _positions(
    patches: PatchMap, layers: Sequence[int], at: Mapping[PatchSite, Estimate], placebo: bool
) -> Heatmap:
    values: list[list[float | None]] = []
    hovers: list[list[str]] = []
    for layer in layers:
        row = [at[PatchSite("resid_pre", layer, o)] for o in patches.offsets]
        values.append([_rounded(e.control if placebo else e.value) for e in row])
        hovers.append(
            [
                f"<b>layer {layer}, {token(t)}</b> (offset {o})<br>recovery {estimate_text(e)}"
                for t, o, e in zip(patches.tokens, patches.offsets, row, strict=True)
            ]
        )
    return Heatmap(values, hovers)


def plot_blocks(patches: PatchMap, *, titles: Titles = None) -> go.Figure:
    """Mean recovery when a layer's attention or MLP is patched at all positions, with the placebo.

    Bands are 95% t intervals over pairs, dashed lines the placebo.

    >>> plot_blocks(patches).write_html("blocks.html")
    """
    titles = titles_of(titles, patches.categories)
    figure, owners, ends = go.Figure(), list[str](), [0.0, 1.0]
    for name, category in _choices(patches.categories, titles):
        at = dict(zip(patches.sites, patches.estimates(category), strict=True))
        for point, (block, colour) in _BLOCKS.items():
            by_layer = {s.layer: e for s, e in at.items() if s.point == point}
            for trace in _block(by_layer, block, colour):
                figure.add_trace(trace)
                owners.append(name)
            ends += [v for e in by_layer.values() for v in (e.value, e.control) if v is not None]
    dress(figure, 430, 900)
    figure.update_xaxes(title={"text": "layer", "standoff": 4})
    figure.update_yaxes(title="recovery", range=[min(ends) - 0.12, max(ends) + 0.12])
    figure.add_hline(y=0, line={"color": QUIET, "width": 0.8})
    figure.update_layout(
        margin={"l": 62, "r": 20, "t": MENU_TOP, "b": 46},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"},
    )
    choose(figure, owners)
    return figure


def _block(by_layer: Mapping[int, Estimate], block: str, colour: str) -> list[go.Scatter]:
    layers = sorted(by_layer)
    row = [by_layer[layer] for layer in layers]
    low, high = [e.low for e in row], [e.high for e in row]
    line = go.Scatter(
        x=layers,
        y=[e.value for e in row],
        mode="lines+markers",
        name=block,
        legendgroup=block,
        line={"color": colour, "width": 2},
        marker={"size": 5, "symbol": "circle" if block == "MLP" else "square"},
        customdata=[estimate_text(e) for e in row],
        hovertemplate=f"<b>{block} of layer %{{x}}</b><br>recovery %{{customdata}}<extra></extra>",
    )
    placebo = go.Scatter(
        x=layers,
        y=[e.control for e in row],
        mode="lines",
        name=f"{block}, placebo",
        line={"color": CONTROL, "width": 1.5, "dash": "dash" if block == "MLP" else "dot"},
        hovertemplate=f"{block} of layer %{{x}}, placebo: %{{y:.2f}}<extra></extra>",
    )
    return [band(layers, low, high, colour, block), line, placebo]


def plot_estimates(fast: AttributionPatch, *, titles: Titles = None) -> go.Figure:
    """Layer x head: the share of the score's gap that patching a head should recover, first order.

    A first-order estimate: the agreement table gives its correlation with real patches elsewhere.

    >>> plot_estimates(fast_patches).write_html("estimates.html")
    """
    titles = titles_of(titles, fast.categories)
    heads = [s for s in fast.sites if s.point == "head"]
    n_layers = 1 + max((s.layer for s in heads), default=0)  # a state space has no heads
    n_heads = 1 + max((s.head or 0 for s in heads), default=0)
    grids: dict[str, list[Heatmap]] = {}
    for name, category in _choices(fast.categories, titles):
        at = dict(zip(fast.sites, fast.estimates(category), strict=True))
        row_of = [
            [at.get(PatchSite("head", layer, None, h)) for h in range(n_heads)]
            for layer in range(n_layers)
        ]
        grids[name] = [
            Heatmap(
                [[None if e is None else _rounded(e.value) for e in row] for row in row_of],
                [
                    [
                        "" if e is None else f"<b>L{n}H{h}</b><br>{estimate_text(e)}"
                        for h, e in enumerate(r)
                    ]
                    for n, r in enumerate(row_of)
                ],
            )
        ]
    frame = HeatmapFrame(
        ("estimated recovery",),
        tuple(map(str, range(n_heads))),
        tuple(map(str, range(n_layers))),
        ("head", "layer"),
        reach_of(grids),
        "estimate",
        (34, 15),
    )
    return plot_grids(grids, frame)


def _choices(categories: Iterable[str], titles: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """What a menu offers: all pairs, then each category (escaped), with its key."""
    per_category: list[tuple[str, str | None]] = [
        (escape(titles.get(c, c)), c) for c in dict.fromkeys(categories)
    ]
    return [(ALL, None), *per_category]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
