"""Latents of a sparse autoencoder that go with refusal."""

from typing import Final

from refusal_lens.plots.features import plot_features
from refusal_lens.report.methods import n_of
from refusal_lens.report.missing import NOT_SHOWN, Missing
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.feature_effects import EFFECTS
from refusal_lens.study.stages.features import CARDS, FIRING, SUMMARY
from refusal_lens.tables.features import (
    cards_table,
    checks_table,
    contexts_table,
    feature_effects_table,
    listed_table,
)

_NAMES: Final = ("features", "listed", "checks", "cards", "contexts", "feature_effects")


def _parts(run: Run) -> Parts:
    tests, summary, cards = run.get(FIRING), run.get(SUMMARY), run.get(CARDS)
    parts: Parts = dict.fromkeys(_NAMES, "")
    if tests is None or summary is None or cards is None:
        return parts | {"features": run.why("features")}
    parts |= {"listed": listed_table(summary, tests)}
    if not cards.cards:
        none = Missing("no latent is in a list", "lacking:features")
        return parts | {"features": none.within(NOT_SHOWN)}
    label = f"Firing of {len(cards.cards)} latents on refused and answered prompts, by category"
    effects = run.get(EFFECTS)
    return parts | {
        "features": Figure(plot_features(cards, tests, titles=run.titles), label),
        "checks": checks_table(summary),
        "cards": cards_table(cards),
        "contexts": contexts_table(cards),
        "feature_effects": run.why("feature_effects")
        if effects is None
        else feature_effects_table(effects),
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Sparse features: which latents",
            "chosen on train, measured on val",
            n_of(run, "fit_pairs", "pairs of a category at most"),
            "permuted verdicts (exact), Benjamini-Hochberg; Newcombe",
            "verdicts permuted; other latents of equal firing rate",
        ),
        (
            "Sparse features: edits",
            "test",
            n_of(run, "feature_pairs", "pairs at most"),
            "Wilson",
            "other latents of equal firing rate; reconstruction; the unedited model",
        ),
    )


def _shown(run: Run) -> bool:
    return run.results.digest("features") is not None


SECTION: Final = Section(
    id="features",
    title="Sparse features of refusal",
    group="parts",
    place=80,
    parts=_parts,
    methods=_methods,
    shown=_shown,
)
