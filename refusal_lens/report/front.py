"""What the report opens with: four questions, each with a small figure and its numbers in words."""

from dataclasses import dataclass
from typing import final

from refusal_lens import plots
from refusal_lens.attribution import ComponentMatrix, Decomposition
from refusal_lens.evaluation import Effects
from refusal_lens.evaluation.effects import CONTROLS, UNEDITED, EditName
from refusal_lens.geometry import Geometry, mean_cosine
from refusal_lens.geometry.comparison import BEYOND
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.geometry.nulls import SEPARABLE
from refusal_lens.plots.front import largest
from refusal_lens.plots.front_geometry import BEYOND_CONTROL
from refusal_lens.plots.text import counted, interval, number, visible
from refusal_lens.prompts import Label
from refusal_lens.records import Estimate
from refusal_lens.report.part import Figure, Part
from refusal_lens.report.run import Run
from refusal_lens.selection import Candidate
from refusal_lens.sites import Site


@final
@dataclass(frozen=True)
class Panel:
    """A question, the figure that answers it (or why there is none), and its numbers in words.

    `more` is the section that holds the whole of it.
    """

    name: str
    question: str
    shown: Part
    words: tuple[str, ...]
    more: str


def panels(run: Run) -> tuple[Panel, ...]:
    """The four answers, in the order of the questions."""
    return (
        Panel("front_directions", "How many refusal directions?", *_directions(run), "refusal"),
        Panel("front_cosines", "How similar are they?", *_cosines(run), "cosines"),
        Panel("front_writers", "Which parts write them?", *_writers(run), "attribution"),
        Panel("front_effects", "What does editing them do?", *_effects(run), "effects"),
    )


Answer = tuple[Part, tuple[str, ...]]


def _gap(reason: str) -> Answer:
    return f"Not measured: {reason}.", ()


def _geometry_at(run: Run) -> tuple[Geometry, int] | str:
    """The cosines and the chosen layer, or why one of them is missing."""
    g, layer = run.geometry, run.layer
    if g is None or layer is None:
        return run.reason("geometry")
    if Site(layer) not in g.sites:
        return f"layer {layer}, which was chosen, is not among the layers of the geometry"
    return g, layer


def _directions(run: Run) -> Answer:
    found = _geometry_at(run)
    if isinstance(found, str):
        return _gap(found)
    g, layer = found
    figure = plots.plot_front_directions(
        g, run.verdicts, layer=layer, titles=run.titles, control=run.control
    )
    count = len(_measurable(g, layer))
    pairs = f"{min(g.n)}" if min(g.n) == max(g.n) else f"{min(g.n)} to {max(g.n)}"
    words = (
        f"{count} of {len(g.categories)} categories {'has' if count == 1 else 'have'} a measurable "
        f"direction at layer {layer} "
        f"(lower 95% bound of reliability at least {MEASURABLE:g}, n = {pairs} pairs each).",
        _beyond(run),
    )
    label = f"Reliability of {len(g.categories)} directions at layer {layer}"
    return Figure(figure, label), words


def _measurable(g: Geometry, layer: int) -> tuple[str, ...]:
    kept = g.measurable()[g.sites.index(Site(layer))].tolist()
    return tuple(c for c, k in zip(g.categories, kept, strict=True) if k)


def _beyond(run: Run) -> str:
    if run.tests is None:
        return f"Whether they are refusal directions was not measured: {run.reason('structure')}."
    if run.comparison is None:
        tests = run.tests
        apart = sum(tests.separable(c) for c in tests.categories)
        if run.within is not None:
            count = list(run.verdicts.values()).count(BEYOND_CONTROL)
            return (
                f"{apart} of {len(tests.categories)} separable by intended label; in {count} (★) "
                "harmful prompts that were refused also differ from those that were answered "
                f"(exchanged verdicts, q at most {BEYOND:g}); no control model."
            )
        return (
            f"{apart} of {len(tests.categories)} {'is' if apart == 1 else 'are'} separable (sign "
            f"flips, q at most {SEPARABLE:g}); none is called a refusal direction: "
            f"{run.lacking_reason('control', 'the control has other layers')}."
        )
    count = list(run.verdicts.values()).count(BEYOND_CONTROL)
    return (
        f"{count} of {len(run.verdicts)} {'is a' if count == 1 else 'are'} refusal "
        f"direction{'' if count == 1 else 's'} (★): separable, and beyond the control model, "
        f"{visible(run.names[1])} (q at most {BEYOND:g})."
    )


def _cosines(run: Run) -> Answer:
    found = _geometry_at(run)
    if isinstance(found, str):
        return _gap(found)
    g, layer = found
    kept = _measurable(g, layer)
    label = f"Corrected cosines of {len(g.categories)} directions at layer {layer}"
    figure = Figure(plots.plot_front_cosines(g, layer=layer, titles=run.titles), label)
    if len(kept) < 2:
        mean = f"No mean cosine: {len(kept)} measurable direction{'' if len(kept) == 1 else 's'}."
    else:
        mean = _mean(run, g, layer, kept)
    return figure, (mean, _dimension(run, layer))


def _mean(run: Run, g: Geometry, layer: int, kept: tuple[str, ...]) -> str:
    c = run.control
    other = (
        c if c is not None and Site(layer) in c.sites and set(kept) <= set(c.categories) else None
    )
    e = mean_cosine(g, layer, kept, other)
    beside = f"control model: {number(e.control)}" if other is not None else "no control model"
    return (
        f"Mean corrected cosine of {_each(len(kept))}: {interval(e.value, e.low, e.high)} "
        f"({beside}; n = {e.n} pairs)."
    )


def _each(count: int) -> str:
    return f"the {count} measurable directions"


def _dimension(run: Run, layer: int) -> str:
    found = run.structure
    if found is None or Site(layer) not in found.sites:
        why = run.lacking_reason("structure", run.no_structure)
        return f"Effective dimension: not measured: {why}."
    e = found.dimension[found.sites.index(Site(layer))]
    return (
        f"Effective dimension {interval(e.value, e.low, e.high)} of {len(found.categories)} "
        f"(random directions: {number(e.control)}; n = {e.n} pairs)."
    )


def _writers(run: Run) -> Answer:
    if run.results.digest("attribution") is None and "attribution" not in run.damaged:
        command = f"refusal-lens attribute {visible(run.results.folder.name)}"
        return _gap(f"attribution is a command of its own, `{command}`")
    matrix = run.get("attribution", "matrix", ComponentMatrix)
    if matrix is None:
        reason = "it takes two or more categories with a direction"
        return _gap(run.lacking_reason("attribution", reason))
    plain = run.get("attribution_control", "decomposition", Decomposition)
    held = set() if plain is None else {t.category for t in plain.targets}
    controls = (
        {} if plain is None else {c: plain.attribution(c) for c in matrix.categories if c in held}
    )
    shares = matrix.mean_shares(controls)
    top = largest(shares)
    figure = Figure(
        plots.plot_front_writers(shares),
        f"The {len(top)} heads and MLPs that write most, mean of {len(matrix.categories)} "
        "categories",
    )
    first = shares[top[0]]
    said = (
        f"Of {len(shares)} heads and MLPs, {top[0].name} writes most: "
        f"{_percent(first)} of the difference between the sides, mean of "
        f"{len(matrix.categories)} categories"
    )
    if first.control is None:
        return figure, (
            f"{said} (n = {first.n} pairs).",
            f"Control model: not measured: {run.reason('attribution_control')}.",
        )
    above = sum(_outside(shares[c]) for c in top)
    return figure, (
        f"{said} (control model: {100 * first.control:.1f}%; n = {first.n} pairs).",
        f"{above} of the {len(top)} shown differ from the same part of the control model "
        "(control outside the 95% interval, not corrected for the number of parts).",
    )


def _outside(e: Estimate) -> bool:
    held = (e.low, e.high, e.control)
    return None not in held and not (e.low or 0.0) <= (e.control or 0.0) <= (e.high or 0.0)


def _percent(e: Estimate, digits: int = 1) -> str:
    if e.value is None or e.low is None or e.high is None:
        return "undefined"
    ends = f"[{100 * e.low:.{digits}f}, {100 * e.high:.{digits}f}]"
    return f"{100 * e.value:.{digits}f}% {ends}".replace("-", "−")


def _effects(run: Run) -> Answer:
    held = run.get("effects", "effects", Effects)
    if held is not None:
        label = f"Refusal rates unedited, ablated and added to, at layer {held.layer}"
        return Figure(plots.plot_front_effects(held), label), (
            _change(held, "refuse", "ablated"),
            _change(held, "comply", "added"),
        )
    why = f"Refusal rates by read answers: not measured: {run.reason('effects')}."
    if run.selection is None:
        return _gap(f"{run.reason('effects')}; {run.reason('selection')}")
    choice = run.selection.choice
    return Figure(
        plots.plot_front_scores(choice),
        f"Refusal scores unedited, ablated and added to, at layer {choice.layer}",
    ), (_scores(choice), why)


def _change(held: Effects, side: Label, edit: EditName) -> str:
    """One edit in words: from which rate to which, and what the controls do."""
    plain, edited = held.rate("none", UNEDITED, side), held.rate(edit, held.main, side)
    what = "Ablation" if edit == "ablated" else "Addition"
    where = "the refuse side" if side == "refuse" else "the benign side"
    if plain is None or edited is None:
        return f"{what}: not measured on {where}."
    named = [(name.removeprefix("control: "), held.rate(edit, name, side)) for name in CONTROLS]
    told = "; ".join(f"{name} {_percent(e, 0)}" for name, e in named if e is not None)
    return (
        f"{what} at layer {held.layer} takes refusal of {where} from {_percent(plain, 0)} to "
        f"{_percent(edited, 0)} (controls: {told or 'not measured'}; {counted(edited)})."
    )


def _scores(choice: Candidate) -> str:
    a, b = choice.ablation, choice.addition
    return (
        f"Ablation at layer {choice.layer} takes the refusal score of the refuse side from "
        f"{number(a.control)} to {interval(a.value, a.low, a.high)} nats (n = {a.n}), addition "
        f"that of the benign side from {number(b.control)} to "
        f"{interval(b.value, b.low, b.high)} (n = {b.n}); no random direction was scored."
    )
