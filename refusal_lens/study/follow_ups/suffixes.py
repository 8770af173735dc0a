"""Suffixes behind the test prompts of a finished study, in its folder."""

from collections.abc import Sequence
from pathlib import Path

from refusal_lens.errors import InputError
from refusal_lens.judges import try_judge
from refusal_lens.placement import Placement
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, stale, study_of
from refusal_lens.study.stages.suffix_basis import BASIS, give_suffixes
from refusal_lens.suffixes import Suffix, load_suffixes
from refusal_lens.suffixes.suffix import distinct


@one_writer
def run_suffixes(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    suffixes: Sequence[Suffix] | None = None,
) -> Results:
    """Measure what is missing of a run's analysis of suffixes and return its results.

    By default of the suffixes that the run last had, at first the project's own, which are
    harmless; other suffixes take their place. Stops at any moment lose at most one eighth of the
    prompts.

    Raises:
        InputError: no run, one whose study has not finished, a judge that can't be asked, or a
            suffix that holds a special token of the model.
    """
    chosen = None if suffixes is None else distinct(suffixes)
    study = study_of(folder)
    bench = begin(study, folder, placement)
    if chosen is None:
        chosen = distinct(_measured(bench.results) or load_suffixes())
    give_suffixes(bench, chosen)
    stages = stages_of("suffixes", bench.prompts.categories)
    check_finished(bench, stages)
    if _measured(bench.results) != chosen:
        for stage in stages:
            bench.results.drop(stage.name)
    if stale(bench, stages):
        try_judge(bench.judge)
    return run_stages(bench, stages, watcher)


def _measured(results: Results) -> tuple[Suffix, ...]:
    """The suffixes that a run has measured; none where they can't be read."""
    try:
        basis = results.find(BASIS)
    except InputError:  # damaged
        return ()
    return () if basis is None else basis.suffixes
