"""Refusal across languages, in the folder of a finished study."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from refusal_lens.judges import Judge, make_judge, try_judge
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.languages import check_any_language
from refusal_lens.placement import Placement
from refusal_lens.study.follow_ups.readers import reader_by_default, reader_of
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import stages_of
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, study_of
from refusal_lens.study.stages.language_answers import ANSWERS, LanguageSizes

DEFAULT: Final = "opening"
"""The judge of languages by default."""


@one_writer
def run_languages(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    judge: Judge | None = None,
    **sizes: object,
) -> Results:
    """Measure what is missing of a run's languages and return its results.

    `judge` reads the answers, by default by their openings; what another one has read is read anew
    only by one that is given. `sizes` are those of the stages
    (`languages=("en", "de")`, `language_folder=...`), and stay as the run last had them where none
    is given. Stops at any moment lose at most the stage in flight.

    Raises:
        InputError: no run, one whose study has not finished, prompts that can't be read, a judge
            that reads English words alone or can't be asked, none where another than the default
            has read the run, or an unknown size.
    """
    study = _with_prompts(study_of(folder), sizes)
    judge = _default_judge(folder) if judge is None else judge
    check_any_language(judge)
    try_judge(judge)
    bench = begin(study, folder, placement)
    bench.judge = judge
    stages = stages_of("languages", bench.prompts.categories)
    check_finished(bench, stages)
    if reader_of(bench.results, ANSWERS) not in (None, sense_checked(judge).name):
        for stage in stages:
            bench.results.drop(stage.name)
    return run_stages(bench, stages, watcher)


def _default_judge(folder: Path | str) -> Judge:
    return reader_by_default(make_judge(DEFAULT), DEFAULT, folder, ANSWERS)


def _with_prompts(study: Study, sizes: dict[str, object]) -> Study:
    """The study with these sizes, and the digest of the parallel prompts that they name."""
    changed = study.sizes.changed(**sizes)
    digest = changed.of(LanguageSizes).prompts.digest
    return replace(study, sizes=changed.changed(language_digest=digest))
