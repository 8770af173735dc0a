"""Sparse features of a finished study, in its folder."""

from pathlib import Path

from refusal_lens.placement import Placement
from refusal_lens.sparse import load_sae
from refusal_lens.sparse.shipped import shipped_sae
from refusal_lens.study.features import use_sae
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, study_of
from refusal_lens.study.stages.features import SUMMARY


def run_features(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    sae: Path | str | None = None,
) -> Results:
    """Measure what is missing of a run's sparse features and return its results.

    `sae` is a folder in SAELens' format, by default the autoencoder that comes for the model. With
    another autoencoder than the one before, everything is measured again. Stops at any moment lose
    at most the stage in flight.

    Raises:
        InputError: no run, one whose study has not finished, or no autoencoder that fits its model.
    """
    study = study_of(folder)
    loaded = shipped_sae(study.source) if sae is None else load_sae(sae)  # the model takes longer
    bench = begin(study, folder, placement)
    use_sae(bench, loaded)
    stages = stages_of("features", bench.prompts.categories)
    check_finished(bench, stages)
    shown = bench.results.find(SUMMARY)
    if shown is not None and shown.sae != loaded.name:
        for stage in stages:
            bench.results.drop(stage.name)
    return run_stages(bench, stages, watcher)
