"""The report's parts on edits: at matched refusal, by manner, by cost, other rules, judges."""

from refusal_lens.evaluation import (
    Answers,
    Costs,
    Effects,
    MannerMatrix,
    Matched,
    TradeOff,
)
from refusal_lens.judges import JudgeAgreement, ScoreTrust
from refusal_lens.plots.costs import agreement_table, cost_table
from refusal_lens.plots.effects import effects_table, plot_effects
from refusal_lens.plots.manners import dependence_table, manners_table, plot_manners
from refusal_lens.plots.matched import knob_in_words, matched_table, plot_matched
from refusal_lens.plots.rates import rates_table
from refusal_lens.plots.tables import trust_table, verdicts_table
from refusal_lens.plots.text import told, visible
from refusal_lens.prompts import LABELS, Label
from refusal_lens.report.part import Figure, Part
from refusal_lens.report.run import Run
from refusal_lens.selection import CosmicSelection, Separations
from refusal_lens.study.stages.full_grid import GRID
from refusal_lens.study.stages.full_rates import RATES
from refusal_lens.study.verdicts import held_verdicts

_AGREEMENTS = ("behaviour", "score", "answers", "manners", "screening")
_FEW_VERDICTS = "fewer than two pairs have a verdict under every direction at every strength"
_NOT_GENERATED = (
    "Not generated in this run: `refusal-lens evaluate RUN --full` generates and reads the answers "
    "of the whole grid instead of scoring them."
)


def evaluation_parts(run: Run) -> dict[str, Part]:
    """Figures, tables and notes, by name."""
    found = {
        **_effects(run),
        **_matched(run),
        **_full(run),
        **_manners(run),
        **_costs(run),
        "rules": _rules(run),
    }
    counts = held_verdicts(run.get)
    return found | {"verdict_counts": verdicts_table(counts) if counts else run.why("behaviour")}


def _effects(run: Run) -> dict[str, Part]:
    found = run.get("effects", "effects", Effects)
    if found is None:
        return {"effects": run.why("effects"), "effects_table": ""}
    label = f"Refusal rates with {len(found.directions)} directions ablated and added, either side"
    return {"effects": Figure(plot_effects(found), label), "effects_table": effects_table(found)}


def _matched(run: Run) -> dict[str, Part]:
    found = run.get("trade_off", "matched", Matched)
    if found is None:
        names = ("matched", "matched_table", "compared_on", "compared_trust")
        return {**dict.fromkeys(names, ""), "knob": run.lacking("trade_off", _FEW_VERDICTS)}
    trust = run.get("trade_off", "trust", ScoreTrust)
    measured = f"read answers of {found.model} to fitting prompts"
    return {
        "matched": Figure(
            plot_matched(found, titles=run.titles),
            f"Over-refusal of {len(found.curves)} directions and controls at equal refusal rates",
        ),
        "matched_table": matched_table(found, titles=run.titles),
        "knob": knob_in_words(found, titles=run.titles),
        "compared_on": _compared_on(run, found.model, trust is not None),
        "compared_trust": "" if trust is None else trust_table(trust, run.titles, measured),
    }


def _full(run: Run) -> dict[str, Part]:
    """The evaluation by generated answers, where one was made."""
    parts: dict[str, Part] = dict.fromkeys(("full", "full_matched", "full_rates"), "")
    if run.results.digest(GRID) is None and run.results.digest(RATES) is None:
        return parts | {"full": _NOT_GENERATED}
    if (shown := run.get(RATES, "evaluation", Answers)) is not None:
        parts["full_rates"] = rates_table(shown, titles=run.titles)
    found = run.get(GRID, "matched", Matched)
    if found is None:
        return parts | {"full": run.lacking(GRID, _FEW_VERDICTS)}
    return parts | {
        "full": knob_in_words(found, titles=run.titles),
        "full_matched": Figure(
            plot_matched(found, titles=run.titles),
            f"By generated answers: over-refusal of {len(found.curves)} directions and controls "
            "at equal refusal rates",
        ),
    }


def _compared_on(run: Run, model: str, other: bool) -> str:
    """Which model the curves are of, whose directions and scores, and how refusals are told."""
    curves = run.get("trade_off", "trade_off", TradeOff)
    judged = "" if curves is None else f" Refusals are told by {visible(curves.judged_by)}."
    if not other:
        return f"Measured in {visible(model)}.{judged}"
    own = visible(str(run.results.manifest.get("model")))
    return (
        f"Measured in {visible(model)}: of the scales of its card the one at which this model's "
        f"refusal of the refuse side is nearest one half, where curves have room on both sides. "
        f"The directions are those of {own}. The scores were calibrated anew for this scale, by "
        "its own read answers; in categories whose scores do not agree with them answers are "
        "generated and read, and one with too few refusals for an area of its own is taken with "
        f"all others.{judged}"
    )


def _manners(run: Run) -> dict[str, Part]:
    models: list[dict[Label, MannerMatrix]] = []
    for prefix in ("", "control_"):
        found: dict[Label, MannerMatrix] = {}
        for side in LABELS:
            if (m := run.get("manners", f"{prefix}{side}", MannerMatrix)) is not None:
                found[side] = m
        models.append(found)
    own, control = models
    names = ("manners", "dependence", "manners_table", "manners_control")
    if not own:
        return {**dict.fromkeys(names, ""), "manners": run.why("manners")}
    return {
        "manners": Figure(
            plot_manners(models, titles=run.titles),
            "Manners of refusal under each direction, on benign and on refuse-side prompts",
        ),
        "dependence": dependence_table(models),
        "manners_table": manners_table(own, titles=run.titles),
        "manners_control": manners_table(control, titles=run.titles) if control else "",
    }


def _costs(run: Run) -> dict[str, Part]:
    costs = run.get("costs", "costs", Costs)
    held = {name: run.get("agreement", name, JudgeAgreement) for name in _AGREEMENTS}
    held["full"] = run.get(GRID, "screening", JudgeAgreement)
    agreements = {name: a for name, a in held.items() if a is not None}
    return {
        "costs": run.why("costs") if costs is None else cost_table(costs, titles=run.titles),
        "agreement": agreement_table(agreements) if agreements else run.why("agreement"),
    }


def _rules(run: Run) -> str:
    """What the other rules for the layer choose, beside the one that was taken."""
    cosmic = run.get("rules", "cosmic", CosmicSelection)
    separations = run.get("rules", "separation", Separations)
    if cosmic is None or separations is None:
        return run.why("rules")
    if (c := cosmic.choice) is None:
        text = f"COSMIC: none of {len(cosmic.candidates)} candidates passes its rule."
    else:
        text = (
            f"COSMIC, which reads no outputs: layer {c.layer}, offset {c.offset} (similarity to "
            f"answering with it ablated {told(c.comply)}; to refusing with it added "
            f"{told(c.refuse)})."
        )
    best = separations.best
    text += f" Best separation: layer {best.layer}, offset {best.offset} ({told(best.distance)})."
    note = None if run.selection is None else separations.note(run.selection)
    return text if note is None else f"{text} Note: {note}."
