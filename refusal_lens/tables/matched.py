"""Over-refusal at matched refusal rates."""

from collections.abc import Callable, Mapping

from refusal_lens.evaluation import Matched
from refusal_lens.plots.matched import plain_name
from refusal_lens.plots.text import number, percent_interval, visible
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table


def matched_table(matched: Matched, *, titles: Mapping[str, str]) -> Table:
    """Over-refusal at each rate, and the mean over the rates that all directions reach."""
    common = matched.common
    area = "mean over the common range"
    if common is not None:
        area += f", {common[0]:.0%} to {common[1]:.0%}"
    head = (
        "direction",
        "refusal rates reached",
        *(f"over-refusal at {rate:.0%} refusal" for rate in matched.rates),
        area,
    )
    rows = tuple(
        (
            Cell(visible(plain_name(c.name, titles))),
            Cell("none" if c.reach is None else f"{c.reach[0]:.0%} to {c.reach[1]:.0%}"),
            *(Cell("not reached" if e is None else _with_controls(e)) for e in c.over_refusal),
            Cell("not reached" if c.area is None else _with_controls(c.area)),
        )
        for c in matched.curves
    )
    caption = (
        f"{visible(matched.model)}; {matched.n_pairs} pairs, the same for every direction; "
        f"{matched.draws} draws of pairs, each through every curve. 95% intervals "
        f"{matched.scope}. Nothing is extrapolated."
    )
    return Table(caption, head, rows)


def knob_in_words(matched: Matched, *, titles: Mapping[str, str]) -> str:
    """The answer on one shared knob, its margin, what was compared, and the power."""
    where = f"Measured in {visible(matched.model)}."
    margin = f"±{100 * matched.margin:g} percentage points, stated beforehand"
    if matched.answer == "not reached":
        names = sorted({n for _, names in matched.outside for n in names})
        who = ", ".join(visible(plain_name(n, titles)) for n in names) or "too few directions"
        return (
            f"{where} Not reached: none of the rates is reached by two of the "
            f"{len(matched.compared)} directions (outside some rate: {who}). Margin {margin}."
        )
    low = min(d.low for d in matched.differences)
    high = max(d.high for d in matched.differences)
    apart = sum(d.low > 0 or d.high < 0 for d in matched.differences)
    n = len(matched.compared)
    reach = reach_in_words(matched.outside, n, lambda name: plain_name(name, titles))
    alone = "; it says nothing of the others" if any(names for _, names in matched.outside) else ""
    meaning = {
        "equivalent": "every difference lies within the margin",
        "different": "at least one difference lies wholly outside the margin",
        "unresolved": "these prompts can show neither that all differences lie within the margin "
        "nor that one lies outside",
    }[matched.answer]
    return (
        f"{where} {matched.answer.capitalize()}: {meaning} ({margin}). Compared two by two were "
        f"the directions that reach a refusal rate, {reach}{alone}. The simultaneous 95% band of "
        f"all these differences, over pairs of these categories, reaches from {number(low)} to "
        f"{number(high)}, and leaves out 0 for {apart} of {len(matched.differences)}. "
        f"Power: {matched.power}."
    )


def reach_in_words(
    outside: tuple[tuple[float, tuple[str, ...]], ...], n: int, name: Callable[[str], str]
) -> str:
    """How many of `n` directions are compared at each rate, and whose curves do not include it."""
    words: list[str] = []
    for rate, names in outside:
        reach = n - len(names)
        if reach < 2:
            words.append(f"none at {rate:.0%} ({reach} of {n} reach it)")
            continue
        lacking = ", ".join(visible(name(one)) for one in names)
        beside = f" (not at it: {lacking})" if names else ""
        words.append(f"{reach} of {n} at {rate:.0%}{beside}")
    return ", ".join(words)


def _with_controls(e: Estimate) -> str:
    text = percent_interval(e)
    return text if e.control is None else f"{text}; controls {100 * e.control:.0f}%"
