"""The rows of the report's summary: what, and the number with n and interval."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.evaluation import Answers
from refusal_lens.geometry import Geometry
from refusal_lens.geometry.comparison import BEYOND
from refusal_lens.geometry.nulls import SEPARABLE
from refusal_lens.geometry.within import DIFFERS
from refusal_lens.plots.text import number, percent, value_interval
from refusal_lens.records import Estimate
from refusal_lens.report.missing import Missing
from refusal_lens.report.run import Run
from refusal_lens.report.verdict_words import n_tested, refusal_directions
from refusal_lens.sites import Site

_NAMES: Final = {
    "categories": "Categories",
    "pairs": "Pairs",
    "layer": "Layer",
    "refusal": "Refusal, refuse side",
    "over-refusal": "Over-refusal, benign side",
    "accuracy": "Accuracy",
    "score-ablated": "Refusal score, direction ablated",
    "score-added": "Refusal score, direction added",
    "measurable": "Measurable directions",
    "separable": "Separable",
    "refusal-directions": "Refusal directions",
    "dimension": "Effective dimension",
}


@final
@dataclass(frozen=True)
class Fact:
    """A row of the summary: what it is in code and in words, and its number with n and interval."""

    key: str
    name: str
    value: str


def facts(run: Run) -> list[Fact]:
    """The rows of the summary, those of a kind of record only where it is there."""
    rows: list[tuple[str, str]] = []
    if (g := run.geometry) is not None:
        pairs = f"{min(g.n)}" if min(g.n) == max(g.n) else f"{min(g.n)} to {max(g.n)}"
        rows.append(("categories", f"{len(g.categories)}, {pairs} pairs each to fit directions"))
    if note := run.results.manifest.get("prompts_note"):
        rows.append(("pairs", str(note)))
    rows.append(("layer", _chosen(run)))
    if (read := run.behaviour) is not None:
        judged = f"(prompts; judge: {read.judge_name})"
        rows.append(("refusal", f"{percent(read.rate(label='refuse'))} {judged}"))
        rows.append(("over-refusal", f"{percent(read.rate(label='comply'))} {judged}"))
        rows.append(("accuracy", _accuracy(read)))
    if run.selection is not None:
        best = run.selection.choice
        rows.append(("score-ablated", f"{_score(best.ablation)}, refuse side"))
        rows.append(("score-added", f"{_score(best.addition)}, benign side"))
    if run.geometry is not None and run.layer is not None:
        rows.append(("measurable", _measurable(run.geometry, run.layer)))
        rows += [("separable", _separable(run)), ("refusal-directions", _refusal(run))]
        rows.append(("dimension", _dimension(run, run.layer)))
    return [Fact(key, _NAMES[key], value) for key, value in rows]


def _score(e: Estimate) -> str:
    text = f"{value_interval(e)} nats, n = {e.n}"
    return text if e.control is None else f"{text}; unedited {number(e.control)}"


def _accuracy(read: Answers) -> str:
    """Share as intended; where the sides count as many, half of refusal and what was answered."""
    rates = read.rate(label="refuse"), read.rate(label="comply")
    how = "(refusal + 1 − over-refusal) / 2" if rates[0].n == rates[1].n else "unequal sides"
    return f"{percent(read.accuracy())} (prompts that went as intended; {how})"


def _chosen(run: Run) -> str:
    if run.layer is None:
        return "none: no geometry and no choice in this run"
    n_layers = run.results.manifest.get("n_layers")
    text = f"{run.layer}" + (f" of {n_layers} (counted from 0)" if n_layers else "")
    if run.selection is None:
        among = "of the layers asked for" if run.question.get("layers") else "one"
        unselected = f"{text}: the most reliable {among}; none was selected by what edits do. "
        return run.why("selection").within(unselected, "")
    s = run.selection
    return (
        f"{text}, offset {number(s.choice.offset, 0)}: the best of {len(s.candidates)} candidates, "
        f"{'none' if s.relaxed else len(s.survivors)} of which passes the rule of Arditi et al."
    )


def _measurable(g: Geometry, layer: int) -> str:
    s = [site.layer for site in g.sites].index(layer)
    count = int(g.measurable()[s].sum())
    return (
        f"{count} of {len(g.categories)} at layer {layer} (lower 95% bound of reliability at "
        "least 0.5)"
    )


def _separable(run: Run) -> str:
    if run.tests is None:
        return run.why("structure")
    tests = run.tests
    count = sum(tests.separable(c) for c in tests.categories)
    return (
        f"{count} of {len(tests.categories)} categories: their two sides differ (q at most "
        f"{SEPARABLE:g}, {tests.draws} sign flips, over all layers and offsets)"
    )


def _refusal(run: Run) -> str:
    if run.tests is None:
        return run.why("structure")
    if run.comparison is None and n_tested(run):
        return (
            f"{refusal_directions(run)} categories: separable, and refused harmful prompts differ "
            f"from answered ones (q at most {DIFFERS:g}); no control model"
        )
    if run.comparison is None:
        words = "no control: without a control model nothing is called a refusal direction"
        return Missing(words, run.lacking_reason("control", words).key)
    return (
        f"{refusal_directions(run)} categories: separable, and beyond {run.names[1]} (q at most "
        f"{BEYOND:g})"
    )


def _dimension(run: Run, layer: int) -> str:
    """The corrected matrix's, beside that of random directions."""
    structure = run.structure
    if structure is None or Site(layer) not in structure.sites:
        return run.lacking("structure", run.no_structure)
    e = structure.dimension[structure.sites.index(Site(layer))]
    if e.value is None:
        return f"undefined at layer {layer}: so is a category, or its noise is too large"
    return (
        f"{value_interval(e)} of {len(structure.categories)} at layer {layer}, n = "
        f"{e.n} pairs (participation ratio of the corrected cosines; random directions: "
        f"{number(e.control)})"
    )
