"""From verdicts and shifts to rows, families and predictions: what is planted is what is shown."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.synthetic import suffixes as synthetic

from refusal_lens.records import load_record, save_record
from refusal_lens.suffixes.analysis import analyse
from refusal_lens.suffixes.neutral import neutral_of
from refusal_lens.suffixes.records import SuffixAnalysis


@pytest.fixture(scope="module")
def planted() -> SuffixAnalysis:
    return synthetic.analysis(draws=40)


def test_the_family_that_pushes_loses_refusals_and_the_idle_one_does_not(planted):
    pushing, idle, neutral = planted.families
    assert (pushing.family, idle.family, neutral.family) == ("pushing", "idle", "neutral")
    assert pushing.change.high < -0.15 < idle.change.value
    assert pushing.change_neutral.high < 0 and neutral.change_neutral is None
    assert pushing.push.value == pytest.approx(1.0, abs=0.15) and pushing.push.low > 0.7
    assert idle.push.low < 0 < idle.push.high and idle.push.control == neutral.push.value
    assert planted.n_prompts == 60 and planted.n_refused == 30


def test_rows_have_their_tests_rates_and_the_neutral_text_of_their_length(planted):
    assert len(planted.rows) == 8 + 2
    first, idle, neutral = planted.rows[0], planted.rows[4], planted.rows[8]
    assert first.harmful.control == 1.0 and first.benign.value == 0.0
    lost = first.test("no suffix")
    assert lost.lost == 30 - round(30 * first.harmful.value) and lost.gained == 0
    assert lost.q >= lost.p and lost.q < 0.01 and first.test("neutral text").q < 0.05
    assert idle.test("no suffix").q > 0.05 and neutral.test("neutral text") is None
    assert first.change.value == pytest.approx((first.harmful.value - 1.0) / 2)
    assert first.push.control == pytest.approx(neutral.push.value)
    assert (first.tokens, first.neutral_tokens, neutral.tokens) == (4, 4, 4)
    assert first.efficiency == pytest.approx(first.push.value / first.orthogonal.value)


def test_push_predicts_lost_refusals_and_what_has_no_part_in_them_does_not(planted):
    lost, gained = planted.group("lost"), planted.group("gained")
    assert lost.reason is None and lost.n_rows == 8 * 30 and lost.n_prompts == 30
    by_name = {p.name: p for p in lost.predictions}
    assert by_name["push"].auroc.low > 0.7 and by_name["push"].within.low > 0.6
    for idle in ("orthogonal shift", "push, control: random", "connectivity"):
        assert by_name[idle].auroc.low < 0.6, idle
    _, push, shift = by_name["connectivity, push, orthogonal shift"].coefficients
    assert push.low > 0.5 and shift.low < 0 < shift.high
    assert lost.by_site[1].low > 0.7 and lost.by_site[0].value == 0.5
    assert gained.n_flips == 0 and gained.predictions == () and "0 of 240" in gained.reason


def test_curves_are_of_refused_prompts_in_class_distances(planted):
    assert planted.n_curves == 30 and planted.curves.shape == (3, 3, 2)
    assert planted.curves[0, 0, 1] == pytest.approx(1.0, abs=0.2) and planted.curves[0, 0, 0] == 0
    low, high = planted.curves[:, 1], planted.curves[:, 2]
    assert bool((low <= planted.curves[:, 0]).all() and (planted.curves[:, 0] <= high).all())
    assert planted.points.shape == (240, 3)
    assert planted.points[:, 2].sum() == planted.group("lost").n_flips


def test_parts_in_any_order_give_what_the_whole_gives():
    basis = synthetic.basis(n_pairs=3)
    whole = synthetic.readings(basis)

    def part(rows):
        kept = {name: getattr(whole, name)[:, rows] for name in ("push", "orthogonal")}
        return replace(
            whole,
            **kept,
            ids=tuple(whole.ids[i] for i in rows),
            refused=tuple(tuple(row[i] for i in rows) for row in whole.refused),
            connectivity=whole.connectivity[rows],
            cosine=whole.cosine[rows],
            control_push=whole.control_push[:, :, rows],
        )

    parts = [part([2, 3, 4, 5]), part([0, 1])]
    one, two = analyse(basis, [whole], draws=5), analyse(basis, parts, draws=5)
    assert one.rows == two.rows and torch.equal(one.points, two.points)
    half = analyse(basis, parts[:1], draws=5)
    assert half.n_prompts == 4 and half.rows[0].harmful.n == 2


def test_answers_that_could_not_be_read_are_left_out_and_counted():
    basis = synthetic.basis(n_pairs=3)
    read = synthetic.readings(basis)
    unclear = tuple((None, *row[1:]) for row in read.refused)
    analysis = analyse(basis, [replace(read, refused=unclear)], draws=5)
    row = analysis.rows[0]
    assert row.harmful.n == 2 and row.harmful.missing == 1 and row.benign.n == 3
    assert analysis.group("lost").n_rows == 8 * 2


def test_the_record_comes_back_from_its_file(planted, tmp_path):
    save_record(planted, tmp_path / "analysis")
    again = load_record(SuffixAnalysis, tmp_path / "analysis")
    assert again.rows == planted.rows and again.groups == planted.groups
    assert np.array_equal(again.curves, planted.curves)


def test_neutral_texts_come_as_near_to_a_length_as_statements_do():
    statements = [("a.", 4), ("b.", 5), ("c.", 9)]
    texts = [s.text for s in neutral_of([4, 5, 9, 13, 14, 60, 3], statements)]
    assert texts[:5] == ["a.", "b.", "c.", "a. c.", "b. c."]
    lengths = dict(statements)
    assert sum(lengths[part] for part in texts[5].split()) == 59
    assert texts[6] == "a."
