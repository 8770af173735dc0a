"""The page on refusal tokens: the records of a folder in, one self-contained HTML file out."""

from pathlib import Path
from typing import Final

from plotly.offline import get_plotlyjs

from refusal_lens.evaluation import Matched
from refusal_lens.files import write_atomic
from refusal_lens.plots.matched import plain_name
from refusal_lens.plots.refusal_tokens import plot_carved, plot_token_roc, plot_tokens_chosen
from refusal_lens.plots.text import interval, percent_interval, value_interval, visible
from refusal_lens.plots.titles import titles_of
from refusal_lens.plots.trade_off import plot_trade_off
from refusal_lens.refusal_tokens.carved import BEFORE, OWN_TOKEN, Carved
from refusal_lens.refusal_tokens.measure import NATS, TokenEffects
from refusal_lens.report.page import templates
from refusal_lens.report.part import Figure
from refusal_lens.report.section import Parts
from refusal_lens.study.refusal_tokens import TokenRun
from refusal_lens.tables.matched import knob_in_words, matched_table
from refusal_lens.tables.refusal_tokens import (
    carved_table,
    token_categories_table,
    token_effects_table,
    token_summary_table,
)
from refusal_lens.tables.table import plain_table

PAGE: Final = "refusal_tokens.html"
_FEW: Final = "Not compared: fewer than two pairs have a verdict under every edit and strength."
_ONE: Final = "Not measured: fewer than two categories of these prompts have a token."


def write_tokens_page(run: TokenRun) -> Path:
    """Write the page of a folder, `refusal_tokens.html` in it, and return its path."""
    path = run.folder / PAGE
    html = (
        templates()
        .get_template(PAGE)
        .render(
            question=run.question,
            planted=run.question.get("planted", False),
            words=in_words(run),
            layer=run.grid.layer,
            nats=f"{NATS:g}",
            parts=_parts(run),
            plotly=get_plotlyjs().replace("\r\n", "\n"),
        )
    )
    write_atomic(path, html.encode())
    return path


def in_words(run: TokenRun) -> list[str]:
    """What was found, in a few sentences."""
    harmful, benign = run.roc.unedited.text
    words = [
        f"Unedited, {percent_interval(harmful)} of harmful prompts (n = {harmful.n}) and "
        f"{percent_interval(benign)} of benign ones (n = {benign.n}) are refused; the token's "
        f"probability separates them with an AUROC of {value_interval(run.roc.area)}."
    ]
    if run.matched is not None:
        words.append(_matched_words(run.matched))
    words.append(_effect_words(run.effects))
    if run.carved is not None:
        words.append(_carved_words(run.carved))
    return words


def _matched_words(matched: Matched) -> str:
    by_rate = [
        (rate, [c.over_refusal[i] for c in matched.curves if c.kind == "direction"])
        for i, rate in enumerate(matched.rates)
    ]
    both = [(rate, rates) for rate, rates in by_rate if all(e is not None for e in rates)]
    if not both:
        return (
            "The token and the direction reach none of the compared refusal rates "
            f"({', '.join(f'{r:.0%}' for r in matched.rates)}) together. {_alone(matched)}"
        )
    rate, estimates = both[-1]
    names = [c.name for c in matched.curves if c.kind == "direction"]
    shown = "; ".join(
        f"{visible(plain_name(n, {}))} {percent_interval(e)}"
        for n, e in zip(names, estimates, strict=True)
        if e is not None
    )
    return f"At {rate:.0%} of harmful prompts refused, benign prompts refused: {shown}."


def _alone(matched: Matched) -> str:
    """The over-refusal of each that reaches a rate, at the highest of those that it reaches."""
    shown: list[str] = []
    for curve in matched.curves:
        pairs = zip(matched.rates, curve.over_refusal, strict=True)
        reached = [(rate, e) for rate, e in pairs if e is not None]
        if curve.kind == "direction" and reached:
            rate, over = max(reached, key=lambda one: one[0])
            name = visible(plain_name(curve.name, {}))
            shown.append(f"{name}, {rate:.0%}: {percent_interval(over)}")
    if not shown:
        return "Neither reaches any of them, so that there is nothing to compare."
    return f"Benign prompts refused where one reaches a rate by itself: {'; '.join(shown)}."


def _effect_words(effects: TokenEffects) -> str:
    rows = {(r.edit, r.harmful): r for r in effects.rows}
    plain, ablated = rows["none", True], rows["direction ablated", True]
    return (
        "Ablating the direction takes the share of harmful prompts that begin with a refusal token "
        f"from {percent_interval(plain.begins)} to {percent_interval(ablated.begins)}; behind a "
        f"forced refusal token {percent_interval(ablated.behind_refusal)} are still refused "
        f"(unedited {percent_interval(plain.behind_refusal)})."
    )


def _carved_words(carved: Carved) -> str:
    s = round(len(carved.sites) * 0.75)
    at = {p: carved.mean[k, s].tolist() for k, p in enumerate(carved.places)}
    others = [p for p in carved.places if "," in p]
    listed = [*others, BEFORE, OWN_TOKEN]
    shown = "; ".join(f"{visible(p)} {interval(*at[p])}" for p in listed)
    return f"Mean corrected cosine between categories at layer {carved.sites[s].layer}: {shown}."


def _parts(run: TokenRun) -> Parts:
    titles = titles_of(None, run.roc.tokens)
    roc, matched, carved = run.roc, run.matched, run.carved
    asked = {k: v for k, v in run.question.items() if k not in ("tokens", "planted")}
    asked |= {"tokens": _named(run)}
    return {
        "summary": token_summary_table(roc),
        "token_roc": Figure(
            plot_token_roc(roc), "Refusal against over-refusal by threshold and by bias"
        ),
        "categories": token_categories_table(roc, titles=titles),
        "tokens_chosen": Figure(
            plot_tokens_chosen(roc, titles=titles), "The most probable refusal token by category"
        ),
        "trade_off": Figure(
            plot_trade_off(run.grid.trade_off()), "Trade-off of the token's bias and the direction"
        ),
        "knob": _FEW if matched is None else knob_in_words(matched, titles=titles),
        "matched": "" if matched is None else matched_table(matched, titles=titles),
        "effects": token_effects_table(run.effects),
        "carved": _ONE
        if carved is None
        else Figure(plot_carved(carved), "Mean cosine between categories by layer and place"),
        "carved_table": "" if carved is None else carved_table(carved),
        "asked": plain_table("The question of this folder.", ("what", "value"), asked),
    }


def _named(run: TokenRun) -> dict[str, str]:
    tokens = run.question["tokens"]
    return dict(zip(["respond", *tokens["categories"]], tokens["pieces"], strict=True))
