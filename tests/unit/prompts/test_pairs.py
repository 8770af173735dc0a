"""Pairs are told by category and name: equal names, half-paired and unpaired sets."""

from dataclasses import replace

import pytest
import torch
from support.paired_residuals import PROVENANCE, prompts_of

from refusal_lens.errors import InputError
from refusal_lens.evaluation import whole_pairs
from refusal_lens.evaluation.grid import check_whole_pairs
from refusal_lens.geometry import compare_to_control, fit_geometry, fit_shared_pool
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.exchange import exchange_labels
from refusal_lens.prompts.prompt import category_of
from refusal_lens.residuals import Residuals, half_pairs, pair_rows
from refusal_lens.sites import Site


def same_names(n=3, categories=("red", "blue")) -> PromptSet:
    """Pairs "0", "1", ... in every category."""
    return PromptSet(tuple(replace(p, pair=(p.pair or "")[-1]) for p in prompts_of(n, categories)))


def ids(pairs):
    return [(a.id, b.id) for a, b in pairs]


def test_equal_names_in_two_categories_are_two_pairs():
    prompts = same_names()
    expected = [(f"{c}{i}refuse", f"{c}{i}comply") for c in ("red", "blue") for i in range(3)]
    assert ids(prompts.pairs()) == expected
    assert [(prompts.ids[a], prompts.ids[b]) for a, b in pair_rows(prompts).tolist()] == expected
    assert whole_pairs(prompts, 2).ids == (
        "red0refuse",
        "red0comply",
        "blue0refuse",
        "blue0comply",
    )


def test_pairs_come_in_the_order_of_the_refuse_side():
    prompts = same_names(2)
    backwards = PromptSet(prompts.prompts[::-1])
    assert ids(backwards.pairs()) == ids(prompts.pairs())[::-1]


def test_a_pair_with_one_side_and_an_unpaired_prompt_are_no_pairs():
    prompts = same_names(2)
    half = PromptSet(tuple(p for p in prompts if p.id not in ("red0comply", "blue1refuse")))
    assert ids(half.pairs()) == [("red1refuse", "red1comply"), ("blue0refuse", "blue0comply")]
    assert half_pairs(half) == ("red/0", "blue/1")
    alone = PromptSet(tuple(replace(p, pair=None) for p in prompts))
    assert alone.pairs() == () and len(pair_rows(alone)) == 0 and len(whole_pairs(alone, 9)) == 0


def test_a_pair_name_is_no_id():
    """An unpaired prompt whose id reads like a pair's name is a unit of its own."""
    pair = [Prompt(f"a{k}", "x", "red", k, "train", "me", pair="1") for k in ("refuse", "comply")]
    named = Prompt("pair 1", "x", "red", "comply", "train", "me")
    assert len({p.unit for p in PromptSet((*pair, named))}) == 2


def test_labels_of_half_paired_and_unpaired_prompts_are_exchanged_one_by_one():
    prompts = same_names(9, ("red", "blue", "green"))
    kept = PromptSet(
        tuple(
            replace(p, pair=None) if p.category == "blue" else p
            for p in prompts
            if not (p.category == "green" and p.label == "comply")
        )
    )
    turned = exchange_labels(kept, 0)
    assert turned.ids == kept.ids
    flipped = {p.id: p.label != q.label for p, q in zip(kept, turned, strict=True)}
    assert all(flipped[a.id] == flipped[b.id] for a, b in kept.pairs())
    by_unit: dict[tuple[str, str], set[bool]] = {}
    for p in kept:
        by_unit.setdefault(p.unit, set()).add(flipped[p.id])
    assert len(by_unit) == 9 + 18 + 9 and all(len(v) == 1 for v in by_unit.values())
    for category in kept.categories:  # none is turned round, or left, as a block
        assert len({flipped[p.id] for p in kept.only(category=category)}) == 2


def slashed(*sides) -> PromptSet:
    """Prompts of category `a/b` with pair `c` and of category `a` with pair `b/c`."""
    return PromptSet(
        tuple(
            Prompt(f"{c}-{pair}-{label}", "x", c, label, "train", "me", pair)
            for c, pair, label in sides
        )
    )


def test_half_pairs_whose_names_read_alike_are_no_whole_pair():
    half = slashed(("a/b", "c", "refuse"), ("a", "b/c", "comply"))
    assert half.pairs() == () and half_pairs(half) == ("a%2Fb/c", "a/b/c")


def test_pairs_whose_names_read_alike_are_pooled_as_two():
    both = slashed(
        *((c, pair, k) for c, pair in (("a/b", "c"), ("a", "b/c")) for k in ("refuse", "comply"))
    )
    pooled = residuals_of(both).pooled().labelled
    assert ids(pooled.pairs()) == ids(both.pairs()) and len(pooled.pairs()) == 2


def test_names_of_pairs_are_distinct_and_hold_their_category():
    keys = [(c, pair) for c in ("a", "a/b", "a%2Fb", "a%252Fb", "%") for pair in ("c", "b/c", "%")]
    names = [slashed((*key, "refuse")).prompts[0].unit_name for key in keys]
    assert len(set(names)) == len(keys)
    assert [category_of(name) for name in names] == [c for c, _ in keys]
    assert names[0] == "a/c"  # as names without a slash have always been written


@pytest.mark.parametrize(
    "change",
    [
        lambda p: (),
        lambda p: p[::-1],
        lambda p: (p[0], p[3], p[2], p[1]),  # each in turn, with the twin of another one
        lambda p: p[:-1],
        lambda p: tuple(replace(q, pair=None) for q in p),
    ],
)
def test_prompts_that_are_not_whole_pairs_in_turn_are_refused(change):
    prompts = same_names(2)
    check_whole_pairs(prompts, "a grid")
    with pytest.raises(InputError, match="a grid needs whole pairs") as raised:
        check_whole_pairs(PromptSet(change(prompts.prompts)), "a grid")
    assert "\n" not in str(raised.value)


def residuals_of(prompts: PromptSet) -> Residuals:
    resid = torch.randn(len(prompts), 1, 2, 8, generator=torch.Generator().manual_seed(1))
    resid[::2] += 1.0
    sites = (Site(1), Site(2))
    return Residuals.of(resid, prompts, sites=sites, offsets=(-1,), provenance=PROVENANCE)


def test_renaming_pairs_apart_changes_no_geometry():
    """A name that stands in every category once counted as one unit of all of them."""
    same = same_names(6, ("red", "blue", "green"))
    apart = PromptSet(tuple(replace(p, pair=f"{p.category}-{p.pair}") for p in same))
    a, b = (fit_geometry(residuals_of(p)) for p in (same, apart))
    assert torch.equal(a.corrected, b.corrected) and torch.equal(a.low, b.low)
    a, b = (fit_shared_pool(residuals_of(p), "green") for p in (same, apart))
    for name in ("matched", "pooled", "pooled_low", "pooled_high", "shared_noise"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert bool(torch.isfinite(a.pooled).any())


def test_the_same_names_in_other_categories_are_other_pairs():
    """Nine pairs in one order, of which the fifth changes its category."""
    names = [f"p{i}" for i in range(9)]

    def split(n: int) -> PromptSet:
        return PromptSet(
            tuple(
                Prompt(f"{name}-{k}", name + k, "red" if i < n else "blue", k, "train", "me", name)
                for i, name in enumerate(names)
                for k in ("refuse", "comply")
            )
        )

    a, b = (fit_geometry(residuals_of(split(n))) for n in (4, 5))
    assert a.pairs == b.pairs and a.asked == b.asked
    with pytest.raises(InputError, match="differ in the number of pairs"):
        compare_to_control(a, b)
