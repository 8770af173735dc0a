"""Refusal as ever more directions are ablated, in numbers."""

from collections.abc import Sequence

from refusal_lens.defence import BeforeAfter, Change, LadderReading, Rung
from refusal_lens.plots.text import (
    percent_interval,
    points_interval,
    probability,
    reached,
    value_interval,
    visible,
    whole_percent,
)
from refusal_lens.tables.table import Cell, Table


def ladder_table(reading: LadderReading) -> Table:
    """A row per rung: what is refused and answered, at what damage, beside random spans."""
    head = (
        "directions ablated",
        "harmful refused",
        "the same, random span",
        "harmful answered",
        "neither",
        "benign refused",
        *(f"harmful refused at {r:.0%} benign refused" for r in reading.over_refusal_rates),
        "KL, nats",
        "KL, random span",
    )
    rows = tuple(
        (
            Cell(str(rung.dimension)),
            Cell(percent_interval(rung.refusal)),
            Cell(percent_interval(control.refusal)),
            Cell(percent_interval(rung.answered)),
            Cell(percent_interval(rung.unclear)),
            Cell(percent_interval(rung.over_refusal)),
            *(Cell(reached(e)) for e in rung.matched),
            Cell(value_interval(rung.kl)),
            Cell(value_interval(control.kl)),
        )
        for rung, control in zip(reading.main, reading.random, strict=True)
    )
    plain = reading.main[0]
    caption = (
        f"{visible(reading.provenance.model)}, {visible(reading.directions)}, layer "
        f"{reading.layer}, n = {plain.refusal.n} pairs; judge: {visible(reading.judge)}, "
        f"{visible(reading.decoding)}. Random spans: {reading.draws} draws per dimension, which "
        "the pairs take in turn. At matched over-refusal: by refusal scores, whose threshold is "
        f"moved{_scored([reading])}. {_ends(reading)} Intervals: 95%."
    )
    return Table(caption, head, rows)


def damage_table(reading: LadderReading) -> Table:
    """Refusal of harmful prompts at equal damage, beside random spans of equal damage."""
    rows = tuple(
        (
            Cell(f"{budget:g} nats"),
            Cell(reached(e)),
            Cell("not reached" if e is None or e.control is None else f"{e.control:.0%}"),
        )
        for budget, e in zip(reading.budgets, reading.at_damage, strict=True)
    )
    caption = (
        "Refusal of harmful prompts where ablation moves the next token of benign prompts by so "
        "much on average, read between the rungs; not reached: no rung does that damage. "
        "Percentile bootstrap over pairs."
    )
    return Table(caption, ("damage", "harmful refused", "random spans at that damage"), rows)


def before_after_table(compared: BeforeAfter) -> Table:
    """A row per model and rung, with the difference from the reference and its test."""
    head = (
        "model",
        "directions ablated",
        "harmful refused",
        "random span",
        "harmful answered",
        "benign refused",
        "KL, nats",
        "more refused than the reference, points",
        "q",
    )
    rows: list[tuple[Cell, ...]] = []
    for name, reading in zip(compared.names, compared.readings, strict=True):
        changes = {c.dimension: c for c in compared.changes if c.model == name}
        for rung, control in zip(reading.main, reading.random, strict=True):
            rows.append(_compared(name, rung, control, changes.get(rung.dimension)))
    first = compared.readings[0]
    layers = ", ".join(
        f"{visible(n)} {r.layer}" for n, r in zip(compared.names, compared.readings, strict=True)
    )
    caption = (
        f"Directions ({visible(first.directions)}) fitted on each model itself, at its layer: "
        f"{layers}. n = {first.main[0].refusal.n} pairs; judge: {visible(first.judge)}. q: exact "
        f"McNemar test against {visible(compared.names[0])} on the same harmful prompts, "
        "Benjamini-Hochberg over all rows; * q ≤ .05. Intervals: 95%."
    )
    return Table(caption, head, tuple(rows))


def matched_ladders_table(compared: BeforeAfter) -> Table:
    """Refusal at matched over-refusal per model and rung, and at matched damage per model."""
    first = compared.readings[0]
    head = (
        "model",
        "directions ablated",
        *(f"harmful refused at {r:.0%} benign refused" for r in first.over_refusal_rates),
        *(f"harmful refused at {b:g} nats of damage" for b in first.budgets),
    )
    rows: list[tuple[Cell, ...]] = []
    for name, reading in zip(compared.names, compared.readings, strict=True):
        for rung in reading.main:
            cells = [Cell(reached(e)) for e in rung.matched]
            damage = reading.at_damage if rung.dimension == 0 else (None,) * len(first.budgets)
            texts = ["" if rung.dimension else reached(e) for e in damage]
            names = Cell(visible(name)), Cell(str(rung.dimension))
            rows.append((*names, *cells, *map(Cell, texts)))
    caption = (
        "At matched over-refusal: by the score of the first token, whose threshold is moved for "
        "each model and rung, so that it says what is still told apart and not what is done"
        f"{_scored(compared.readings)}; "
        "bootstrap over pairs and jackknife over categories. At matched damage: verdicts, read "
        "between the rungs of a model where benign next tokens move by so much; one row per model."
    )
    return Table(caption, head, tuple(rows))


def ladder_summary_table(readings: list[LadderReading]) -> Table:
    """The rungs in few and short columns, for a terminal."""
    head = ("directions", "ablated", "harmful refused", "random", "answered", "benign", "KL, nats")
    rows = tuple(
        (
            Cell(visible(reading.directions)),
            Cell(str(rung.dimension)),
            Cell(percent_interval(rung.refusal)),
            Cell(whole_percent(control.refusal.value)),
            Cell(whole_percent(rung.answered.value)),
            Cell(whole_percent(rung.over_refusal.value)),
            Cell("–" if rung.kl.value is None else f"{rung.kl.value:.2f}"),
        )
        for reading in readings
        for rung, control in zip(reading.main, reading.random, strict=True)
    )
    first = readings[0]
    caption = (
        f"{visible(first.provenance.model)}, layer {first.layer}, n = "
        f"{first.main[0].refusal.n} pairs; 95% intervals"
    )
    return Table(caption, head, rows)


def _compared(name: str, rung: Rung, control: Rung, change: Change | None) -> tuple[Cell, ...]:
    more = "–"
    if change is not None and change.refusal.value is not None:
        e = change.refusal
        more = points_interval(e)
    star = " *" if change is not None and change.q <= 0.05 else ""
    return (
        Cell(visible(name)),
        Cell(str(rung.dimension)),
        Cell(percent_interval(rung.refusal)),
        Cell(whole_percent(control.refusal.value)),
        Cell(percent_interval(rung.answered)),
        Cell(percent_interval(rung.over_refusal)),
        Cell(value_interval(rung.kl)),
        Cell(more),
        Cell("–" if change is None else f"{probability(change.q)}{star}"),
    )


def _scored(readings: Sequence[LadderReading]) -> str:
    """How many pairs the columns at matched over-refusal are of: those with trusted scores."""
    estimates = (e for r in readings for rung in r.rungs for e in rung.matched if e is not None)
    numbers = sorted({e.n for e in estimates})
    shown = " to ".join(dict.fromkeys(map(str, (*numbers[:1], *numbers[-1:]))))
    return f" (n = {shown} pairs with trusted scores)" if numbers else ""


def _ends(reading: LadderReading) -> str:
    if reading.halved is None:
        halved = "No rung takes away half of the refusals."
    else:
        halved = f"Half of the refusals are gone from {reading.halved} on."
    return f"{reading.available} directions could be fitted. {halved}"
