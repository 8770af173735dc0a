"""Ladders of ablated directions: in a study's folder, resumed, and in its report."""

import pytest
from support.tiny_study import Watch, copied

from refusal_lens.defence import read_ladder
from refusal_lens.defence.place import layer_of_selection
from refusal_lens.errors import InputError
from refusal_lens.report.page import write_report
from refusal_lens.study import run_defence
from refusal_lens.study.stages.ladder import LADDER, READING, stage_name
from refusal_lens.study.stages.selection import SELECTION

DEFLATION = stage_name("deflation")


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    folder = copied(finished[0], tmp_path_factory.mktemp("defended") / "run").folder
    watch = Watch()
    return run_defence(folder, watch), watch


def test_a_finished_run_climbs_the_ladder(run):
    results, watch = run
    assert watch.started_stages == [DEFLATION] and not watch.gaps
    ladder = results.get(LADDER.of(DEFLATION))
    reading = results.get(READING.of(DEFLATION))
    assert reading == read_ladder(ladder)
    assert reading.layer == layer_of_selection(results.get(SELECTION))
    assert ladder.dimensions[0] == 0 and len(ladder.dimensions) > 1
    ticks, planned = watch.ticks[DEFLATION], watch.expected[DEFLATION]
    # Where a direction to fit is not there, its rung is not climbed.
    assert ticks == planned if ladder.dimensions[-1] == 3 else 0 < ticks < planned
    assert float(ladder.kl[0, 1:].mean()) > 0
    assert reading.main[0].refusal.value == reading.random[0].refusal.value


def test_no_answer_of_an_ablated_model_is_kept(run, finished):
    results, _ = run
    assert results.answers_file.read_bytes() == finished[0].answers_file.read_bytes()
    fields = vars(results.get(LADDER.of(DEFLATION)))
    assert not [name for name, value in fields.items() if name in ("answers", "texts")]
    text = "".join(p.read_text() for p in (results.folder / "stages" / DEFLATION).glob("*.json"))
    assert "Sure:" not in text and "I can't help" not in text


def test_it_is_measured_once_and_other_sets_join_it(run, tmp_path):
    results = copied(run[0], tmp_path / "run")
    again, more = Watch(), Watch()
    run_defence(results.folder, again)
    assert again.started_stages == []
    both = run_defence(results.folder, more, directions=("deflation", "whitened"))
    assert more.started_stages == [stage_name("whitened")]
    page = write_report(both).read_text(encoding="utf-8")
    assert page.count("whitened") > 0 and 'id="plot-ladder"' in page


def test_the_report_shows_it_where_it_was_measured(run, finished, tmp_path):
    page = write_report(run[0]).read_text(encoding="utf-8")
    assert 'id="plot-ladder"' in page and 'h3 id="ladder"' in page
    plain = write_report(finished[0], tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="plot-ladder"' not in plain and 'h3 id="ladder"' not in plain


def test_an_unknown_set_is_one_clear_line(finished):
    with pytest.raises(InputError, match="unknown; use some of") as raised:
        run_defence(finished[0].folder, Watch(), directions=("other",))
    assert "\n" not in str(raised.value)
