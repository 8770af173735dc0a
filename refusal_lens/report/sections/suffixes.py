"""What suffixes do to refusal and to the residual stream."""

from typing import Final

from refusal_lens.plots.suffixes import (
    plot_suffix_areas,
    plot_suffix_layers,
    plot_suffix_rates,
    plot_suffix_shifts,
)
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.suffixes import SUFFIXES
from refusal_lens.suffixes import SuffixAnalysis
from refusal_lens.tables.suffixes import (
    families_table,
    flip_sentence,
    predictions_table,
    suffixes_table,
)

_NAMES: Final = (
    *("suffix_findings", "suffix_families", "suffix_rates", "suffix_layers"),
    *("suffix_predictions", "suffix_gaps", "suffix_areas", "suffix_shifts", "suffix_table"),
)


def _parts(run: Run) -> Parts:
    analysis = run.get(SUFFIXES)
    if analysis is None:
        missing: Parts = dict.fromkeys(_NAMES, "")
        missing["suffix_rates"] = run.why("suffixes")
        return missing
    predicted = any(group.predictions for group in analysis.groups)
    rows = f"{len(analysis.rows)} suffixes and neutral texts: refusal rates, changes and push"
    return {
        "suffix_findings": _findings(analysis),
        "suffix_families": families_table(analysis),
        "suffix_rates": Figure(plot_suffix_rates(analysis), rows),
        "suffix_layers": Figure(
            plot_suffix_layers(analysis), "Mean push of each family of suffixes, layer by layer"
        ),
        "suffix_predictions": predictions_table(analysis) if predicted else "",
        "suffix_gaps": " ".join(filter(None, map(flip_sentence, analysis.groups))),
        "suffix_areas": Figure(plot_suffix_areas(analysis), "AUROC of push (−push: gained)")
        if predicted
        else "",
        "suffix_shifts": Figure(
            plot_suffix_shifts(analysis),
            "Push against orthogonal shift of each prompt that is refused without a suffix",
        ),
        "suffix_table": suffixes_table(analysis),
    }


def _findings(analysis: SuffixAnalysis) -> str:
    """How many suffixes changed the refusal rate, after correction."""
    suffixes = [row for row in analysis.rows if row.test("neutral text") is not None]
    changed = [row for row in suffixes if (t := row.test("no suffix")) and t.q <= 0.05]
    lower = sum(row.change.value is not None and row.change.value < 0 for row in changed)
    beyond = sum((t := row.test("neutral text")) is not None and t.q <= 0.05 for row in suffixes)
    return (
        f"{len(changed)} of {len(suffixes)} suffixes change how often the model refuses "
        f"(q ≤ .05 against no suffix; {lower} lower it, {len(changed) - lower} raise it), and "
        f"{beyond} differ from a neutral text of the same length."
    )


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Suffixes",
            "test",
            n_of(run, "suffix_pairs", "pairs at most"),
            "Wilson; t over pairs; bootstrap over prompts and suffixes",
            "no suffix; a neutral text of equal length; shuffled outcomes; control directions",
        ),
    )


def _shown(run: Run) -> bool:
    return run.results.digest("suffixes") is not None


SECTION: Final = Section(
    id="suffixes",
    title="Suffixes: what is put behind a request",
    group="edits",
    place=85,
    parts=_parts,
    methods=_methods,
    shown=_shown,
)
