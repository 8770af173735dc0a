"""Refusal under ablation and addition of one direction."""

from collections.abc import Callable
from typing import Final

from refusal_lens import plots
from refusal_lens.evaluation import Effects
from refusal_lens.evaluation.effects import CONTROLS, UNEDITED, EditName
from refusal_lens.plots.effects import plot_effects
from refusal_lens.plots.text import counted, number, percent, value_interval
from refusal_lens.prompts import Label
from refusal_lens.records import Estimate
from refusal_lens.report.front import Front, FrontAnswer, not_measured, percent_of
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.selection import Candidate
from refusal_lens.study.stages.effects import EFFECTS
from refusal_lens.tables.effects import effects_table


def _parts(run: Run) -> Parts:
    effects = run.get(EFFECTS)
    if effects is None:
        return {"effects": run.why("effects"), "effects_table": ""}
    label = (
        f"Refusal rates with {len(effects.directions)} directions ablated and added, either side"
    )
    return {
        "effects": Figure(plot_effects(effects), label),
        "effects_table": effects_table(effects),
    }


def _answer(run: Run) -> FrontAnswer:
    effects = run.get(EFFECTS)
    if effects is not None:
        label = f"Refusal rates unedited, ablated and added to, at layer {effects.layer}"
        return Figure(plots.plot_front_effects(effects), label), (
            _change(effects, "refuse", "ablated"),
            _change(effects, "comply", "added"),
        )
    unread = run.reason("effects")
    why = unread.within("Refusal rates by read answers: not measured: ")
    if run.selection is None:
        return not_measured(unread.beside(run.reason("selection")))
    choice = run.selection.choice
    return Figure(
        plots.plot_front_scores(choice),
        f"Refusal scores unedited, ablated and added to, at layer {choice.layer}",
    ), (_scores(choice), why)


def _change(effects: Effects, side: Label, edit: EditName) -> str:
    """One edit in words: from which rate to which, and what the controls do."""
    plain, edited = effects.rate("none", UNEDITED, side), effects.rate(edit, effects.main, side)
    what = "Ablation" if edit == "ablated" else "Addition"
    where = "the refuse side" if side == "refuse" else "the benign side"
    if plain is None or edited is None:
        return f"{what}: not measured on {where}."
    named = [(name.removeprefix("control: "), effects.rate(edit, name, side)) for name in CONTROLS]
    controls = "; ".join(f"{name} {percent_of(e, 0)}" for name, e in named if e is not None)
    return (
        f"{what} at layer {effects.layer} takes refusal of {where} from {percent_of(plain, 0)} to "
        f"{percent_of(edited, 0)} (controls: {controls or 'not measured'}; {counted(edited)})."
    )


def _scores(choice: Candidate) -> str:
    a, b = choice.ablation, choice.addition
    return (
        f"Ablation at layer {choice.layer} takes the refusal score of the refuse side from "
        f"{number(a.control)} to {value_interval(a)} nats (n = {a.n}), addition "
        f"that of the benign side from {number(b.control)} to "
        f"{value_interval(b)} (n = {b.n}); no random direction was scored."
    )


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Refusals with a direction ablated or added",
            "test, read answers",
            n_of(run, "effect_pairs", "prompts per side at most"),
            "Wilson",
            "unedited; random, shuffled labels, within-class, of equal length",
        ),
    )


def _edited(edit: EditName, side: Label) -> Callable[[Run], str]:
    def row(run: Run) -> str:
        effects = run.get(EFFECTS)
        if effects is None:
            return run.why("effects")
        plain = effects.rate("none", UNEDITED, side)
        main = effects.main
        parts = [
            f"unedited {_maybe(plain)}",
            f"{edit} ({main}) {_maybe(effects.rate(edit, main, side))}",
        ]
        parts += [
            f"{name.removeprefix('control: ')} control {_maybe(effects.rate(edit, name, side))}"
            for name in CONTROLS
        ]
        others = [d for d in effects.directions[1:] if d not in CONTROLS]
        parts += [f"{name} {_maybe(effects.rate(edit, name, side))}" for name in others]
        return "; ".join(parts)

    return row


def _maybe(e: Estimate | None) -> str:
    return "not measured" if e is None else percent(e)


SECTION: Final = Section(
    id="effects",
    title="Refusal under ablation and addition",
    group="edits",
    place=10,
    parts=_parts,
    methods=_methods,
    front=Front("front_effects", "What does editing them do?", 40, _answer),
    findings=(
        Finding(
            50,
            "Ablate one direction: harmful prompts refused",
            _edited("ablated", "refuse"),
            short=True,
        ),
        Finding(
            60, "Add one direction: benign prompts refused", _edited("added", "comply"), short=True
        ),
    ),
)
