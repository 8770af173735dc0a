"""Refusal across languages: in a study's folder, resumed, with other judges, and shown."""

from dataclasses import dataclass

import pytest
from support.tiny_study import Watch, copied

from refusal_lens import InputError, Results, make_judge
from refusal_lens.judges import Verdict
from refusal_lens.report.page import write_report
from refusal_lens.study import run_languages, run_study
from refusal_lens.study.stages.language_ablation import ABLATED, ABLATION
from refusal_lens.study.stages.language_answers import ANSWERS
from refusal_lens.study.stages.language_geometry import COSINES, LAYERS, TRANSFER

FEW = {"languages": ("en", "es"), "language_pairs": 5, "language_tokens": 4, "language_ablated": 2}
STAGES = ["language_answers", "language_geometry", "language_ablation", "language_score"]


@dataclass(frozen=True)
class EveryOther:
    """Refuses prompts of an even length: the tiny model has no language."""

    name: str = "every other"

    def judge(self, prompt: str, answer: str) -> Verdict:
        return Verdict("refused" if len(prompt) % 2 == 0 else "complied", None, ())


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    folder = copied(finished[0], tmp_path_factory.mktemp("languages") / "run").folder
    watch = Watch()
    return run_languages(folder, watch, judge=EveryOther(), **FEW), watch


def test_every_stage_writes_what_it_measures(run):
    results, watch = run
    assert watch.started_stages == STAGES
    assert results.get(ANSWERS).ids[0] == "en/advice-010-refuse"
    assert results.get(COSINES).languages == ("en", "es") and results.get(COSINES).n == 5
    assert results.get(TRANSFER).rows == ("en", "es", "all languages")
    assert len(results.get(LAYERS).sites) == 3
    for stage in STAGES:
        if stage not in watch.gaps:
            assert watch.ticks[stage] == watch.expected[stage], stage


def test_ablation_is_of_refused_prompts_with_both_controls(run):
    results, watch = run
    assert "language_ablation" not in watch.gaps
    ablation = results.get(ABLATION)
    assert ablation.rows[-2:] == ("control: shuffled labels", "control: random")
    assert {rate.n + rate.missing for row in ablation.rates for rate in row} == {2}


def test_what_an_ablated_model_answers_is_not_kept(run, finished):
    results, _ = run
    assert {word for row in results.get(ABLATED).answers for word in row} == {""}
    kept, before = (r.answers_file.read_text().splitlines() for r in (results, finished[0]))
    assert 0 < len(kept) - len(before) <= len(results.get(ANSWERS).ids)


def test_the_same_call_goes_on_and_another_judge_reads_anew(run, tmp_path):
    again = Watch()
    results = copied(run[0], tmp_path / "again")
    run_languages(results.folder, again, judge=EveryOther())  # the sizes stay
    assert again.started_stages == []
    other = Watch()
    with pytest.raises(InputError, match="was read by 'every other"):
        run_languages(results.folder, other)
    assert other.started_stages == [] and results.get(ANSWERS) == run[0].get(ANSWERS)
    run_languages(results.folder, other, judge=make_judge("opening"))
    assert other.started_stages == STAGES
    assert Results.open(results.folder).get(ANSWERS).judge_name.startswith("opening")


def test_the_study_run_again_keeps_them(run, study, tmp_path):
    results = copied(run[0], tmp_path / "again")
    run_study(study, results.folder, Watch())
    assert results.has(ANSWERS) and results.has(ABLATION)
    again = Watch()
    run_languages(results.folder, again, judge=EveryOther())  # the sizes stay
    assert again.started_stages == []


def test_a_judge_of_english_words_ends_before_the_model_is_loaded(run):
    with pytest.raises(InputError, match="reads English words"):
        run_languages(run[0].folder, Watch(), judge=make_judge("refusal"))


def test_a_language_that_is_not_there_ends_before_the_model_is_loaded(run):
    with pytest.raises(InputError, match="language 'xx' is not in the built-in set"):
        run_languages(run[0].folder, Watch(), languages=("xx",))


def test_the_section_stands_in_the_report_where_languages_were_measured(run, finished, tmp_path):
    page = write_report(run[0]).read_text(encoding="utf-8")
    assert 'id="languages"' in page and 'id="plot-languages"' in page
    # In the section and among the methods; five pairs make two folds.
    assert page.count("2 draws of each, one for every fold of pairs") >= 2
    other = write_report(finished[0], tmp_path / "other.html").read_text(encoding="utf-8")
    assert 'id="languages"' not in other
