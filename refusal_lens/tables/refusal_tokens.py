"""Refusal tokens in numbers."""

from collections.abc import Mapping

from refusal_lens.plots.text import (
    interval,
    number,
    percent_interval,
    probability,
    value_interval,
    visible,
)
from refusal_lens.refusal_tokens.carved import Carved
from refusal_lens.refusal_tokens.measure import TokenEffects
from refusal_lens.refusal_tokens.roc import Roc
from refusal_lens.tables.table import Cell, Table


def token_summary_table(roc: Roc) -> Table:
    """The areas and rates, for a terminal and the top of the page."""
    harmful, benign = roc.unedited.text
    token_harmful, token_benign = roc.unedited.token
    rows = (
        ("AUROC of the token's probability", value_interval(roc.area)),
        ("AUROC of the probability of any refusal token", value_interval(roc.any_area)),
        ("AUROC of the token's log-odds against respond", value_interval(roc.margin_area)),
        ("harmful prompts refused, answers read", percent_interval(harmful)),
        ("benign prompts refused, answers read", percent_interval(benign)),
        ("harmful prompts that begin with a refusal token", percent_interval(token_harmful)),
        ("benign prompts that begin with a refusal token", percent_interval(token_benign)),
        ("prompts that begin with neither token", percent_interval(roc.neither)),
        ("mean probability of all named tokens", number(roc.mass, 3)),
    )
    caption = (
        f"{visible(roc.provenance.model)}, unedited; {harmful.n + harmful.missing} harmful and "
        f"{benign.n + benign.missing} benign prompts, 95% intervals. AUROC of harmful against "
        "benign prompts; chance: .5."
    )
    return Table(caption, ("figure", "value"), tuple((Cell(a), Cell(b)) for a, b in rows))


def token_categories_table(roc: Roc, *, titles: Mapping[str, str]) -> Table:
    """Each category's token: whether it is the one that comes, and what taking it away does."""
    head = (
        "category",
        "AUROC of any refusal token",
        "own token the most probable",
        "harmful refused",
        "own token never emitted",
        "other categories then",
        "other categories before",
    )
    rows = tuple(
        (
            Cell(visible(titles.get(r.category, r.category))),
            Cell(value_interval(r.area)),
            Cell(percent_interval(r.named)),
            Cell(percent_interval(r.before)),
            Cell(percent_interval(r.off)),
            Cell(percent_interval(r.others)),
            Cell("–" if r.others.control is None else f"{r.others.control:.0%}"),
        )
        for r in roc.rows
    )
    first = roc.rows[0]
    commonest, n = first.named.control, first.before.n + first.before.missing
    caption = (
        f"Harmful prompts, {n} of the first category; refusals are read answers. "
        "Control of “own token”: always the commonest token, "
        f"{'–' if commonest is None else f'{commonest:.0%}'} of all harmful prompts. “Never "
        "emitted”: the threshold of this category alone is above 1, respond comes in its place; "
        "undefined for a category that has no token."
    )
    return Table(caption, head, rows)


def token_effects_table(effects: TokenEffects) -> Table:
    """What ablating the direction does to the first token, and to the answers behind either."""
    head = (
        "edit",
        "prompts",
        "begin with a refusal token",
        "refused, by itself",
        "refused behind a forced refusal token",
        "refused behind a forced respond",
    )
    rows = tuple(
        (
            Cell(visible(r.edit)),
            Cell("harmful" if r.harmful else "benign"),
            *(
                Cell(percent_interval(e))
                for e in (r.begins, r.text, r.behind_refusal, r.behind_respond)
            ),
        )
        for r in effects.rows
    )
    n = effects.rows[0].behind_refusal
    caption = (
        f"Direction pooled over categories, layer {effects.layer}, ablated at every layer; "
        f"n = {n.n + n.missing} prompts per side; judge: {visible(effects.judge)}. 95% intervals. "
        "Control: a random direction ablated, and the unedited rows."
    )
    return Table(caption, head, rows)


def carved_table(carved: Carved) -> Table:
    """Mean cosine at each place and its change, at quarters of the depth, and what it is like."""
    layers = [site.layer for site in carved.sites]
    quarters = sorted({round(len(layers) * k / 4) - (k == 4) for k in (1, 2, 3, 4)})
    head = (
        "place",
        "layer",
        "mean corrected cosine",
        "minus that before the token",
        "smallest reliability",
        "along its token's row",
        "like the token rows",
        "like the first place",
    )
    rows = tuple(
        (
            Cell(visible(place)),
            Cell(str(layers[s])),
            Cell(_triple(carved.mean[k, s].tolist())),
            Cell(_triple(carved.change[k, s].tolist())),
            Cell(number(float(carved.reliability[k, s].nan_to_num(0).min()))),
            Cell(number(float(carved.aligned[k, s].mean()))),
            Cell(_alike(carved, place, "token rows", layers[s])),
            Cell(_alike(carved, place, carved.places[0], layers[s])),
        )
        for k, place in enumerate(carved.places)
        for s in quarters
    )
    caption = (
        f"{len(carved.categories)} categories, {min(carved.n)} to {max(carved.n)} pairs each. "
        "Cosines are corrected for reliability; a lower mean is more distinct. “Along its token's "
        "row”: mean cosine of a category's direction with what raises its token over respond "
        f"(a random direction: 0 ± {2 * carved.d_model**-0.5:.2f}). “Like”: "
        "correlation of the two cosine matrices, jackknife over categories, q by permutation and "
        "Benjamini-Hochberg over all of them."
    )
    return Table(caption, head, rows)


def _alike(carved: Carved, place: str, against: str, layer: int) -> str:
    for a in carved.agreements:
        if (a.place, a.against, a.layer) == (place, against, layer):
            return f"{value_interval(a.correlation)}, q {probability(a.q)}"
    return "–"


def _triple(values: list[float]) -> str:
    value, low, high = values
    return interval(value, low, high)
