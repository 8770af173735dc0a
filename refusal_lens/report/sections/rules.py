"""The layer by other rules than the one that was taken."""

from typing import Final

from refusal_lens.plots.text import estimate_text
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Parts, Section
from refusal_lens.selection import Selection, Separations
from refusal_lens.study.stages.rules import COSMIC, SEPARATION


def _rules(run: Run) -> str:
    """What the other rules for the layer choose, beside the one that was taken."""
    cosmic = run.get(COSMIC)
    separations = run.get(SEPARATION)
    if cosmic is None or separations is None:
        return run.why("rules")
    if (c := cosmic.choice) is None:
        text = f"COSMIC: none of {len(cosmic.candidates)} candidates passes its rule."
    else:
        text = (
            f"COSMIC, which reads no outputs: layer {c.layer}, offset {c.offset} (similarity to "
            f"answering with it ablated {estimate_text(c.comply)}; to refusing with it added "
            f"{estimate_text(c.refuse)})."
        )
    best = separations.best
    distance = estimate_text(best.distance)
    text += f" Best separation: layer {best.layer}, offset {best.offset} ({distance})."
    return text + _acting(separations, run.selection)


def _acting(separations: Separations, selection: Selection | None) -> str:
    """How far the layer that was taken separates, where another one does so best."""
    if selection is None:
        return ""
    taken, best = selection.choice, separations.best
    acting = separations.at(taken.layer, taken.offset)
    if acting is None or acting == best:
        return ""
    shown = (
        "the intervals do not meet: where refusal can be read best is not where edits act best"
        if separations.best_exceeds(acting)
        else "the intervals overlap, so that these prompts do not show which of the two is larger"
    )
    where = f"layer {acting.layer}, offset {acting.offset}, which was taken for its effects"
    return f" At {where}: {estimate_text(acting.distance)}; {shown}."


def _parts(run: Run) -> Parts:
    return {"rules": _rules(run)}


def _cosmic(run: Run) -> str:
    cosmic = run.get(COSMIC)
    if cosmic is None:
        return run.why("rules")
    c = cosmic.choice
    none = f"none of {len(cosmic.candidates)} candidates passes its rule"
    return none if c is None else f"layer {c.layer}, offset {c.offset}"


SECTION: Final = Section(
    id="rules",
    title="Layer selection by other rules",
    group="edits",
    place=30,
    parts=_parts,
    findings=(Finding(40, "Layer by COSMIC", _cosmic),),
)
