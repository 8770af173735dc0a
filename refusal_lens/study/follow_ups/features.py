"""Sparse features of a finished study, in its folder."""

from pathlib import Path
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.placement import Placement
from refusal_lens.sparse import SparseAutoencoder, load_sae
from refusal_lens.sparse.shipped import shipped_sae
from refusal_lens.study.features import use_sae
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, study_of
from refusal_lens.study.stages.features import SUMMARY

LAST: Final = "sae_folder"
"""In the manifest: the folder of the autoencoder that the run was last given."""


@one_writer
def run_features(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    sae: Path | str | None = None,
) -> Results:
    """Measure what is missing of a run's sparse features and return its results.

    `sae` is a folder in SAELens' format, by default the one that the run was last given, at first
    the autoencoder that comes for the model. With another autoencoder than the one before,
    everything is measured again. Stops at any moment lose at most the stage in flight.

    Raises:
        InputError: no run, one whose study has not finished, no autoencoder that fits its model, or
            none is named and the run's own is not where it was.
    """
    study = study_of(folder)
    loaded = _last_sae(folder, study.source) if sae is None else load_sae(sae)
    bench = begin(study, folder, placement)
    use_sae(bench, loaded)
    stages = stages_of("features", bench.prompts.categories)
    check_finished(bench, stages)
    if sae is not None:
        bench.results.describe({LAST: str(Path(sae).resolve())})
    shown = bench.results.find(SUMMARY)
    if shown is not None and shown.sae != loaded.name:
        for stage in stages:
            bench.results.drop(stage.name)
    return run_stages(bench, stages, watcher)


def _last_sae(folder: Path | str, model: str) -> SparseAutoencoder:
    """The autoencoder that the run was last given, else the one that comes for its model."""
    results = Results.open(folder)
    last = results.manifest.get(LAST)
    if last is None:
        return shipped_sae(model)
    try:
        return load_sae(last)
    except InputError as error:
        raise InputError(
            f"the run's autoencoder can't be read again: {error}; give --sae with the folder where "
            "it is now, or of another one"
        ) from None
