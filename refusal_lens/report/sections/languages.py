"""Refusal across languages."""

from typing import Final

from refusal_lens.plots.languages import plot_language_layers, plot_language_means, plot_languages
from refusal_lens.plots.text import estimate_text
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.language_ablation import ABLATION
from refusal_lens.study.stages.language_answers import ANSWERS
from refusal_lens.study.stages.language_geometry import COSINES, LAYERS, TRANSFER
from refusal_lens.study.stages.language_score import TRUST
from refusal_lens.tables.languages import means_table, refusals_table

_NAMES: Final = (
    "languages_refusals",
    "languages",
    "languages_ablation",
    "languages_means",
    "languages_means_table",
    "languages_layers",
    "languages_cosines",
)


def _parts(run: Run) -> Parts:
    parts: Parts = dict.fromkeys(_NAMES, "")
    read, cosines, transfer = run.get(ANSWERS), run.get(COSINES), run.get(TRANSFER)
    parts["languages_refusals"] = (
        run.why("language_answers") if read is None else refusals_table(read, run.get(TRUST))
    )
    layers, ablation = run.get(LAYERS), run.get(ABLATION)
    parts["languages_ablation"] = (
        run.why("language_ablation")
        if ablation is None
        else f"Controls of the ablation, the same in every language: {_draws(run)}."
    )
    if cosines is None or transfer is None or layers is None:
        parts["languages"] = run.why("language_geometry")
        return parts
    parts["languages"] = Figure(
        plot_languages(cosines, transfer, ablation),
        "Cosines between languages' directions, their AUROC on each language, and ablation",
    )
    parts["languages_means"] = Figure(
        plot_language_means(transfer), "AUROC across languages before and after removing means"
    )
    parts["languages_means_table"] = means_table(transfer, cosines)
    parts["languages_layers"] = Figure(
        plot_language_layers(layers, cosines, layer=transfer.site.layer), "Languages by layer"
    )
    apart, k = cosines.excluding(1.0, transfer.site.layer)
    beside, _ = cosines.excluding(0.0, transfer.site.layer)
    parts["languages_cosines"] = (
        f"Of {k} pairs of languages, the simultaneous 95% interval (Bonferroni) leaves out 0 in "
        f"{beside} and 1 in {apart}. AUROC on a direction's own language: "
        f"{estimate_text(transfer.same_language)}; on the others: "
        f"{estimate_text(transfer.other_language)}; "
        f"{int((transfer.q < 0.05).sum())} of {transfer.q.numel()} cells are above shuffled labels "
        f"at a false discovery rate of .05 ({transfer.draws} draws)."
    )
    return parts


def _methods(run: Run) -> tuple[Method, ...]:
    transfer = run.get(TRANSFER)
    return (
        (
            "Languages: cosines and transfer",
            "parallel pairs, cross-fitted by pair",
            "–" if transfer is None else f"{transfer.n} pairs per language",
            "delete-one-pair jackknife, a pair left out of all languages",
            "shuffled labels; chance",
        ),
        (
            "Languages: ablation",
            "refused prompts of each language",
            n_of(run, "language_ablated", "prompts per language at most"),
            "Wilson",
            f"ablated in the same prompts: {_draws(run)}",
        ),
    )


def _draws(run: Run) -> str:
    """The directions that are ablated as controls, and how many there are."""
    transfer = run.get(TRANSFER)
    each = "one of each" if transfer is None else f"{transfer.n_folds} draws of each, one"
    return f"a direction of shuffled labels and a random one, {each} for every fold of pairs"


def _shown(run: Run) -> bool:
    stages = ("language_answers", "language_geometry", "language_ablation")
    return any(run.results.digest(stage) is not None for stage in stages)


SECTION: Final = Section(
    id="languages",
    title="Refusal across languages",
    group="directions",
    place=95,
    parts=_parts,
    methods=_methods,
    shown=_shown,
)
