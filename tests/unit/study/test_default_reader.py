"""A follow-up that names no judge goes on with a run, and drops nothing that another judge read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.synthetic.records import read
from support.synthetic.run import run
from support.tiny_study import Watch

from refusal_lens.errors import InputError
from refusal_lens.judges import Judge, make_judge
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.study import run_full_evaluation, run_languages
from refusal_lens.study.follow_ups.readers import reader_by_default
from refusal_lens.study.key import Key
from refusal_lens.study.stages.full_rates import RATES
from refusal_lens.study.stages.language_answers import ANSWERS

OTHER = "llm judge, 5 samples at T=0.6 + sense check"


def holding(folder: Path, key: Key[Any], reader: str) -> Path:
    """A run whose answers of one stage were read by that judge."""
    answers = replace(read(pairs=1), judged_by=reader)
    return run(folder / "run", {key.stage: {key.name: answers}}).folder


@pytest.fixture
def opening() -> Judge:
    return make_judge("opening")


def test_the_default_reads_where_nothing_or_its_own_reading_is_there(
    opening: Judge, tmp_path: Path
) -> None:
    empty = run(tmp_path / "empty", {}).folder
    assert reader_by_default(opening, "opening", empty, ANSWERS) is opening
    own = holding(tmp_path, ANSWERS, sense_checked(opening).name)
    assert reader_by_default(opening, "opening", own, ANSWERS) is opening


def test_the_default_reads_where_a_record_is_damaged(opening: Judge, tmp_path: Path) -> None:
    folder = holding(tmp_path, ANSWERS, OTHER)
    (folder / "stages" / ANSWERS.stage / f"{ANSWERS.name}.json").write_text("[[")
    assert reader_by_default(opening, "opening", folder, ANSWERS) is opening


@pytest.mark.parametrize(
    ("key", "follow_up", "name"),
    [(ANSWERS, run_languages, "opening"), (RATES, run_full_evaluation, "refusal")],
)
def test_what_another_judge_has_read_is_kept_where_none_is_named(
    key: Key[Any], follow_up: Any, name: str, tmp_path: Path
) -> None:
    folder, watch = holding(tmp_path, key, OTHER), Watch()
    with pytest.raises(InputError, match=f"was read by '{OTHER[:9]}.*--judge {name} to read it"):
        follow_up(folder, watch)
    assert watch.started_stages == [] and (folder / "stages" / key.stage).is_dir()
