"""Which latents go with refusal, on prompts whose latents are known."""

from itertools import combinations

import pytest
import torch
from scipy.stats import fisher_exact
from support.paired_residuals import PROVENANCE

from refusal_lens.errors import InputError
from refusal_lens.sites import Site
from refusal_lens.sparse import FiringRule, Pool, compare_firing, permuted, published_lists
from refusal_lens.sparse.firing import Listed
from refusal_lens.study.stages.features import role_of

CATEGORIES = ("a", "b", "c", "d")
N = 60  # prompts of a category, half of them refused
CORE, TAIL, REVERSED, TOPIC, RARE = 0, 1, 2, 3, 4
WHERE = {"sae": "known", "site": Site(2), "offset": -1, "provenance": PROVENANCE}


def known(seed: int = 0) -> Pool:
    """Latent 0 fires on refused prompts of every category, 1 of one, 2 on answered ones; 3 tells
    categories apart, 4 fires on one prompt, and the others at random."""
    generator = torch.Generator().manual_seed(seed)
    refused = torch.arange(N * len(CATEGORIES)) % 2 == 0
    names = tuple(c for c in CATEGORIES for _ in range(N))
    fires = torch.rand(len(names), 40, generator=generator) < 0.3
    noise = torch.rand(len(names), generator=generator) < 0.1
    of_b, of_a = (torch.tensor([n == c for n in names]) for c in ("b", "a"))
    fires[:, CORE] = refused ^ noise
    fires[:, TAIL] = refused & of_b
    fires[:, REVERSED] = ~refused
    fires[:, TOPIC] = of_a
    fires[:, RARE] = False
    fires[0, RARE] = True
    return Pool(fires, refused, names)


def test_the_right_latents_are_listed():
    tests = compare_firing(known(), **WHERE)
    assert tests.categories == CATEGORIES and tests.n_refused == (30,) * 4
    assert tests.core == (CORE,)
    assert TAIL in tests.tail and tests.listed[:, TAIL].tolist() == [False, True, False, False]
    assert not tests.listed[:, [REVERSED, TOPIC, RARE]].any()
    assert (tests.difference[:, REVERSED] == -1).all()
    assert not tests.tested[:, RARE].any() and tests.p[:, RARE].isnan().all()
    assert tests.ranked(2) == (CORE, TAIL) and len(tests.ranked(100)) == int(
        (tests.n_lists > 0).sum()
    )
    assert Listed.of(tests).core == 1 and 0 < tests.expected_core < 0.1


def test_p_is_that_of_all_permutations():
    """Counted out over every way to deal out the labels of six prompts."""
    fires = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 0], [1, 1], [0, 1]]) > 0
    refused = torch.tensor([True, True, True, False, False, False])
    rule = FiringRule(least_rate=0.0, least=3)
    tests = compare_firing(Pool(fires, refused, ("a",) * 6), rule, **WHERE)
    for latent in range(2):
        seen = int(fires[refused, latent].sum())
        dealt = [int(fires[list(rows), latent].sum()) for rows in combinations(range(6), 3)]
        expected = sum(hits >= seen for hits in dealt) / len(dealt)
        assert float(tests.p[0, latent]) == pytest.approx(expected)


def test_p_is_fishers():
    tests = compare_firing(known(1), **WHERE)
    pool = known(1).only("c")
    for latent in (CORE, 10, 20):
        a = int(pool.fires[pool.refused, latent].sum())
        b = int(pool.fires[~pool.refused, latent].sum())
        table = [[a, 30 - a], [b, 30 - b]]
        expected = fisher_exact(table, alternative="greater").pvalue
        assert float(tests.p[2, latent]) == pytest.approx(expected, rel=1e-6)


def test_permuted_verdicts_list_nothing_and_true_ones_do():
    pool = known()
    tests = compare_firing(pool, **WHERE)
    drawn = permuted(pool, tests, draws=40, seed=0)
    assert len(drawn) == 40 and all(d.core == 0 for d in drawn)
    # At a false discovery rate of .05 in each of four categories, few draws list anything.
    assert sum(d.any_list > 0 for d in drawn) <= 12
    assert Listed.of(tests).any_list >= 2
    assert permuted(pool, tests, draws=3, seed=0) == drawn[:3]


def test_latents_at_random_are_not_listed():
    generator = torch.Generator().manual_seed(3)
    fires = torch.rand(240, 400, generator=generator) < 0.3
    pool = Pool(fires, known().refused, known().categories)
    assert Listed.of(compare_firing(pool, **WHERE)).any_list <= 1


def test_categories_with_few_prompts_are_left_out_with_the_reason():
    pool = known()
    refused = pool.refused.clone()
    refused[:N] = False
    refused[:3] = True
    tests = compare_firing(Pool(pool.fires, refused, pool.categories), **WHERE)
    assert tests.categories == ("b", "c", "d")
    assert tests.left_out == {"a": "3 refused and 57 answered"}
    with pytest.raises(InputError, match="no category has 20 refused and 20 answered prompts: a:"):
        compare_firing(Pool(pool.fires, pool.refused & False, pool.categories), **WHERE)


def test_a_record_of_tests_is_saved_and_read(tmp_path):
    tests = compare_firing(known(), **WHERE)
    tests.save(tmp_path / "firing")
    again = type(tests).load(tmp_path / "firing")
    assert again.core == tests.core and torch.equal(again.listed, tests.listed)


def test_the_published_rule_lists_ties():
    """Where the largest differences are few, its lists are filled up by index."""
    difference = torch.zeros(3, 64)
    difference[:, 40] = 0.5
    difference[0, 41] = 0.3
    lists = published_lists(difference, ("a", "b", "c"))
    assert lists.most == 4 and lists.tied == (62, 63, 63) and lists.not_positive == (2, 3, 3)
    # Latent 40 and the first ids, which fire as often on either side.
    assert lists.core == 3 and lists.core_not_positive == 2
    with pytest.raises(InputError, match="3 rows of differences for 1 categories"):
        published_lists(difference, ("a",))


def test_wrong_rules_and_pools_are_one_line():
    with pytest.raises(InputError, match="give shares below 1"):
        FiringRule(level=1.5)
    with pytest.raises(InputError, match="one of each is needed per prompt"):
        Pool(torch.zeros(2, 3) > 0, torch.zeros(2) > 0, ("a",))


def test_a_latent_of_the_only_list_is_neither_core_nor_tail_nor_shared():
    one = compare_firing(known().only("b"), **WHERE)
    assert one.n_lists[TAIL] == 1 and role_of(one, TAIL) == role_of(one, CORE) == "listed"
    several = compare_firing(known(), **WHERE)
    assert (role_of(several, CORE), role_of(several, TAIL)) == ("core", "tail")


@pytest.mark.parametrize("least", [0, -3])
def test_a_side_without_prompts_has_no_rate(least):
    with pytest.raises(InputError, match=f"least is {least}; rates need 1 prompt or more"):
        FiringRule(least=least)
