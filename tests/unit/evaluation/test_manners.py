"""Direction x manner: against scikit-learn, uniform p under the null, and what was planted."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, mutual_info_score
from support.synthetic.answers import steered

from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.evaluation.dependence import (
    adjusted,
    dependence_of,
    information,
    permutation_test,
    table,
)
from refusal_lens.evaluation.manners import Taught, answer_steered, manner_matrix, share_in
from refusal_lens.intervals import wilson
from refusal_lens.interventions import Add
from refusal_lens.judges import PhraseJudge
from refusal_lens.model import Decoding

MANNERS = ("harm", "law", "plain")


def cells(rng, n_prompts=12, n_directions=5, planted=0.0):
    """A manner for each prompt that most directions follow; with `planted` the direction's own."""
    rows = []
    for p in range(n_prompts):
        usual = rng.integers(3)
        for d in range(n_directions):
            if rng.uniform() < 0.8:  # some answers are no refusals
                manner = usual if rng.uniform() < 0.6 else rng.integers(3)
                rows.append((p, d, d % 3 if rng.uniform() < planted else manner))
    return np.array(rows)


def test_values_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    c = cells(rng, n_prompts=40, planted=0.7)
    dependence, p = dependence_of(c, draws=199, rng=rng)
    assert dependence.value == pytest.approx(adjusted_mutual_info_score(c[:, 1], c[:, 2]))
    counts = table(c[:, 1], c[:, 2], (5, 3))
    seen = information(counts)
    assert float(seen) == pytest.approx(mutual_info_score(c[:, 1], c[:, 2]))
    assert float(adjusted(counts, seen)) == pytest.approx(dependence.value)
    assert dependence.low < dependence.value < dependence.high and dependence.n == 40
    assert dependence.control < dependence.low and p < 0.05


def test_p_is_uniform_where_only_prompts_decide():
    """A plain test of independence would see the prompts' manners; permuting within does not."""
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        p.append(permutation_test(cells(rng, n_prompts=6), 99, rng)[0])
    for level in (0.1, 0.25, 0.5):
        share = np.mean(np.array(p) <= level)
        # 200 draws: three standard errors; ties make it a little smaller than the level.
        assert level - 0.06 - 3 * np.sqrt(level * (1 - level) / 200) < share
        assert share < level + 3 * np.sqrt(level * (1 - level) / 200)


def test_clusters_that_hold_the_manner_are_found_and_others_are_not():
    clusters = {f"d{i}": 1 + (i > 2) for i in range(6)}
    follows = steered(lambda d, p: MANNERS[int(d > 2)] if p % 5 else None)
    matrix = manner_matrix(follows, "comply", clusters=clusters, draws=999)
    assert matrix.cluster_share.value == pytest.approx(1.0)
    # Of the 20 ways to deal three and three, two hold the manner.
    assert matrix.cluster_p == pytest.approx(0.1, abs=0.03)
    across = steered(lambda d, p: MANNERS[d % 2])
    assert manner_matrix(across, "comply", clusters=clusters, draws=999).cluster_p > 0.3
    assert [e.value for e in matrix.refused] == [pytest.approx(0.75)] * 6
    assert matrix.refused[0].control == 0.0


def test_planted_manners_stand_beside_their_control():
    taught = Taught({"d0": "harm", "d1": "law", "d2": "decency"}, {"d0": "law", "d1": "harm"})
    matrix = manner_matrix(
        steered(lambda d, p: MANNERS[min(d, 2)]), "comply", taught=taught, draws=99
    )
    first, second, third = matrix.planted[:3]
    assert (first.value, first.control) == (1.0, 0.0)
    assert (second.value, second.control) == (1.0, 0.0)
    assert (third.value, third.n) == (0.0, 12)
    assert matrix.planted[3] is None and matrix.taught == ("harm", "law", "decency", *[None] * 3)
    # Two of three directions as taught; dealt at random, "decency" never fits and two others do
    # once in three.
    assert (matrix.in_taught.value, matrix.in_taught.n) == (pytest.approx(2 / 3), 36)
    assert matrix.in_taught.control == pytest.approx(2 / 9)
    # Neither of the two that the other model was taught something for; every prompt says so.
    assert (matrix.in_other.value, matrix.in_other.n, matrix.in_other.low) == (0.0, 24, 0.0)
    assert matrix.in_other.high == pytest.approx(wilson(0, 12).high)
    assert matrix.counts[0] == (12, 0, 0) and matrix.manners == MANNERS


def test_without_refusals_nothing_is_claimed():
    matrix = manner_matrix(steered(lambda d, p: None), "comply", clusters={"d0": 1}, draws=99)
    assert matrix.dependence.value is None and matrix.p is None and matrix.cluster_share is None
    assert matrix.counts == ((),) * 6


def test_steered_answers_are_those_of_each_edit_alone(tiny_llama, three_categories):
    few = three_categories.first(2)
    directions = fit_mean_difference(tiny_llama.residual_stats(three_categories))
    additions = [Add(directions.at(c, 1), strength=3.0) for c in ("red", "green")]
    got = answer_steered(tiny_llama, few, additions, PhraseJudge(), decoding=Decoding(4))
    assert got.answers.conditions == ("none", "red", "green")
    assert got.directions == ("red", "green") and (got.layer, got.strength) == (1, 3.0)
    rows = got.answers.answers
    assert list(rows[0]) == tiny_llama.generate(few, Decoding(4))
    for edit, row in zip(additions, rows[1:], strict=True):
        with tiny_llama.editing(edit):
            assert list(row) == tiny_llama.generate(few, Decoding(4))
    assert len(set(rows)) == 3
    with pytest.raises(InputError, match="one strength"):
        answer_steered(
            tiny_llama,
            few,
            [Add(additions[0].direction, alpha=1.0)],
            PhraseJudge(),
            decoding=Decoding(4),
        )


@pytest.mark.slow
def test_a_taught_manner_that_never_occurs_has_a_control_of_none_of_the_others():
    taught = Taught({"d0": "harm", "d1": "decency", "d2": "law"}, {})
    matrix = manner_matrix(steered(lambda d, p: "harm"), "comply", taught=taught, draws=9)
    assert "decency" not in matrix.manners
    assert (matrix.planted[1].value, matrix.planted[1].control) == (0.0, 0.0)
    assert (matrix.planted[0].value, matrix.planted[0].control) == (1.0, 1.0)
    alone = manner_matrix(steered(lambda d, p: "harm" if d == 1 else None), "comply", taught=taught)
    assert (alone.planted[1].value, alone.planted[1].control) == (0.0, None)


def test_the_interval_of_a_taught_share_resamples_prompts():
    """Refusals of one prompt hang together: 20 prompts, each wholly in its manner or not at all."""
    rng, hits = np.random.default_rng(0), 0
    names, taught = ("d0", "d1", "d2", "d3"), dict.fromkeys(("d0", "d1", "d2", "d3"), "law")
    for _ in range(300):
        in_manner = rng.uniform(size=20) < 0.6
        c = np.array([(p, d, int(in_manner[p])) for p in range(20) for d in range(4)])
        e = share_in(c, names, ("harm", "law"), taught, rng)
        hits += e.low <= 0.6 <= e.high
    # Nominal 95%, normal with 20 prompts. An interval of 80 refusals would cover about 68%.
    assert 0.88 <= hits / 300 <= 0.98


def test_adjusted_information_is_scikit_learns():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows, columns = (rng.integers(rng.integers(1, 5), size=30) for _ in range(2))
        counts = table(rows, columns, (5, 5))
        expected = adjusted_mutual_info_score(rows, columns)
        assert adjusted(counts, information(counts)) == pytest.approx(expected, abs=1e-9)


def test_adjusted_information_of_single_answers_is_scikit_learns_too():
    for labels in ([0, 1], [0, 1, 2], [0]):
        counts = table(np.array(labels), np.array(labels), (3, 3))
        expected = adjusted_mutual_info_score(labels, labels)
        assert adjusted(counts, information(counts)) == pytest.approx(expected)


def test_taught_manners_without_any_refusal_have_no_share():
    taught = Taught({"d0": "harm", "d1": "law"}, {})
    matrix = manner_matrix(steered(lambda d, p: None), "comply", taught=taught, draws=9)
    assert matrix.counts == ((),) * 6
    assert [(e.value, e.n, e.control) for e in matrix.planted[:2]] == [(None, 0, None)] * 2
