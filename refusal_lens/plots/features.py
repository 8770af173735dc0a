"""Latents by categories: how much more each fires on refused prompts, and which lists it is in."""

from typing import Final

import plotly.graph_objects as go

from refusal_lens.plots.palette import DIVERGING, UNDEFINED
from refusal_lens.plots.panels import dress
from refusal_lens.plots.text import escape, number, probability, tick
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.sparse import FeatureCards, FiringTests

_ROW: Final = 24


def plot_features(cards: FeatureCards, tests: FiringTests, *, titles: Titles = None) -> go.Figure:
    """P(z > 0 | refused) - P(z > 0 | answered) of each latent with a card (rows) by category.

    A dot marks categories in whose list the latent is. Red is more on refused prompts; grey was
    not tested, since the latent fires too rarely there.

    >>> plot_features(cards, latent_tests).write_html("features.html")
    """
    titles = titles_of(titles, tests.categories)
    latents = [card.latent for card in cards.cards]
    difference = tests.difference[:, latents].T
    tested, listed = tests.tested[:, latents].T, tests.listed[:, latents].T
    names = [f"{card.latent} ({card.role}, {card.n_lists})" for card in cards.cards]
    z = [
        [round(v, 3) if there else None for v, there in zip(row, mask, strict=True)]
        for row, mask in zip(difference.tolist(), tested.tolist(), strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=z,
            text=[["•" if one else "" for one in row] for row in listed.tolist()],
            texttemplate="%{text}",
            customdata=[_hovers(tests, latent, titles) for latent in latents],
            hovertemplate="%{customdata}<extra></extra>",
            colorscale=DIVERGING,
            zmin=-1,
            zmax=1,
            zmid=0,
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "difference"}, "thickness": 11, "outlinewidth": 0},
        )
    )
    dress(figure, 170 + _ROW * len(latents), 900)
    figure.update_xaxes(
        tickvals=list(range(len(tests.categories))),
        ticktext=[tick(titles.get(c, c)) for c in tests.categories],
        tickangle=-35,
        showgrid=False,
    )
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, autorange="reversed", showgrid=False
    )
    figure.update_layout(margin={"l": 130, "r": 20, "t": 16, "b": 120}, plot_bgcolor=UNDEFINED)
    return figure


def _hovers(tests: FiringTests, latent: int, titles: Titles) -> list[str]:
    """Rates, n and q of one latent, a text per category."""
    words: list[str] = []
    for i, category in enumerate(tests.categories):
        on, off = float(tests.refused_rate[i, latent]), float(tests.answered_rate[i, latent])
        q = float(tests.q[i, latent])
        judged = "not tested: fires too rarely" if q != q else f"q {probability(q)}"
        words.append(
            f"latent <b>{latent}</b>, {escape((titles or {}).get(category, category))}<br>"
            f"fires on {number(on)} of {tests.n_refused[i]} refused and {number(off)} of "
            f"{tests.n_answered[i]} answered prompts<br>{judged}"
        )
    return words
