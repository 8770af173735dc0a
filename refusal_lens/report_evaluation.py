"""The report's parts on edits: at matched refusal, by manner, by cost, other rules, judges."""

from refusal_lens.evaluation import Costs, MannerMatrix, Matched
from refusal_lens.judges import Agreement
from refusal_lens.plots.costs import agreement_table, cost_table
from refusal_lens.plots.manners import dependence_in_words, manners_table, plot_manners
from refusal_lens.plots.matched import knob_in_words, matched_table, plot_matched
from refusal_lens.plots.text import told
from refusal_lens.prompts import LABELS, Label, load_categories
from refusal_lens.report_figure import Figure, Part
from refusal_lens.report_run import Run
from refusal_lens.selection import CosmicSelection, Separations

_AGREEMENTS = ("behaviour", "score", "answers", "manners", "screening")


def evaluation_parts(run: Run) -> dict[str, Part]:
    """Figures, tables and notes, by name."""
    return {**_matched(run), **_manners(run), **_costs(run), "rules": _rules(run)}


def _matched(run: Run) -> dict[str, Part]:
    found = run.get("trade_off", "matched", Matched)
    if found is None:
        return {"matched": "", "matched_table": "", "knob": run.why("trade_off")}
    return {
        "matched": Figure(
            plot_matched(found, titles=run.titles),
            f"Over-refusal of {len(found.curves)} directions and controls at equal refusal rates",
        ),
        "matched_table": matched_table(found, titles=run.titles),
        "knob": knob_in_words(found, titles=run.titles),
    }


def _manners(run: Run) -> dict[str, Part]:
    found: dict[Label, MannerMatrix] = {}
    for side in LABELS:
        if (m := run.get("manners", side, MannerMatrix)) is not None:
            found[side] = m
    if not found:
        return {"manners": run.why("manners"), "manners_table": "", "dependence": ""}
    manner_of = {k: c.manner for k, c in load_categories().items()} if run.embedded else {}
    return {
        "manners": Figure(
            plot_manners(found, titles=run.titles),
            "Manners of refusal under each direction, on benign and on refuse-side prompts",
        ),
        "manners_table": manners_table(found, titles=run.titles, manner_of=manner_of),
        "dependence": dependence_in_words(found),
    }


def _costs(run: Run) -> dict[str, Part]:
    costs = run.get("costs", "costs", Costs)
    held = {name: run.get("agreement", name, Agreement) for name in _AGREEMENTS}
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
