"""Tests of ways of finding directions against the reference: McNemar's, corrected by kind."""

import pytest
from scipy.stats import binomtest, false_discovery_control
from support.synthetic.estimators import NAMES, comparison, row

from refusal_lens.evaluation.estimators import EstimatorComparison, with_paired_tests


def test_p_is_the_exact_test_of_the_prompts_that_differ():
    """The first refuses prompts 0-1 of 20, the second 0-9: eight differ, all one way."""
    rows = comparison().rows
    second = rows[1].test("removed")
    assert (second.only_here, second.only_reference) == (8, 0)
    assert second.p == pytest.approx(binomtest(0, 8).pvalue)
    assert rows[0].tests == () and rows[1].test("damage_refusal") is None


def test_estimators_and_controls_are_corrected_apart():
    """However far controls are from the reference, no estimator's q becomes any smaller."""
    ids = [f"p{i}" for i in range(20)]
    hits = {"mean_difference": 0, "linear_discriminant": 6, "som": 7}
    controls = {f"control: {name}": 20 for name in ("random", "shuffled labels", "within-class")}

    def tests(names):
        flags = [{"removed": {key: i < names[n] for i, key in enumerate(ids)}} for n in names]
        rows = with_paired_tests([row(n) for n in names], flags, "mean_difference")[1:]
        return [r.test("removed") for r in rows]

    both = tests(hits | controls)
    alone = tests(hits)
    assert [t.q for t in both[:2]] == [t.q for t in alone]
    assert [t.q for t in alone] == pytest.approx(false_discovery_control([t.p for t in alone]))
    assert [t.q for t in both[2:]] == pytest.approx([t.p for t in both[2:]])  # equal p: equal q


def test_only_prompts_that_both_have_count_and_equal_rows_differ_in_nothing():
    rows = [row(name) for name in NAMES[:2]]
    flags = [
        {"removed": {"a": True, "b": False, "c": True}},
        {"removed": {"a": True, "b": False, "d": False}},
    ]
    test = with_paired_tests(rows, flags, NAMES[0])[1].test("removed")
    assert (test.n, test.only_here, test.only_reference, test.p) == (2, 0, 0, 1.0)


def test_a_test_that_could_not_come_out_has_no_q_and_takes_no_part_in_the_correction():
    """Five prompts in common, all of them split one way: p is .0625 at the least."""
    ids = [f"p{i}" for i in range(20)]
    rows = [row(name) for name in (*NAMES[:2], "erm", "som")]
    flags = [
        {"removed": dict.fromkeys(ids, False)},
        {"removed": dict.fromkeys(ids[:5], True)},
        {"removed": dict.fromkeys(ids[:6], True)},
        {"removed": dict.fromkeys(ids, True)},
    ]
    tests = [r.test("removed") for r in with_paired_tests(rows, flags, NAMES[0])[1:]]
    assert [t.n for t in tests] == [5, 6, 20]
    assert (tests[0].p, tests[0].q) == (0.0625, None)
    assert tests[1].p == pytest.approx(0.03125)
    able = [t.p for t in tests[1:]]
    assert [t.q for t in tests[1:]] == pytest.approx(list(false_discovery_control(able)))


def test_the_record_is_read_back(tmp_path):
    saved = comparison()
    saved.save(tmp_path / "comparison")
    read = EstimatorComparison.load(tmp_path / "comparison")
    assert read.rows == saved.rows and read.row(NAMES[1]).naive == 0.7
