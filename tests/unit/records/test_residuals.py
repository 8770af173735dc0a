"""Residual statistics against naive sums."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import Provenance
from refusal_lens.residuals import Residuals, ResidualStats, StatsAccumulator
from refusal_lens.sites import Site

CATEGORIES, SITES, OFFSETS, WIDTH = ("red", "blue"), (Site(0), Site(1), Site(2)), (-2, -1), 6
PROVENANCE = Provenance("tiny", "digest", "template", "prefix", "prompts", "float32", "cpu")


def batch(n_pairs: int, seed: int = 0, n_alone: int = 0):
    """Residuals, categories, labels and pair rows: pairs first, then unpaired refuse prompts."""
    random = torch.Generator().manual_seed(seed)
    n = 2 * n_pairs + n_alone
    resid = torch.randn(n, len(OFFSETS), len(SITES), WIDTH, generator=random)
    label = torch.tensor([0, 1] * n_pairs + [0] * n_alone).long()
    category = torch.arange(n_pairs).remainder(2).repeat_interleave(2)
    category = torch.cat([category, torch.zeros(n_alone, dtype=torch.int64)])
    pairs = torch.arange(2 * n_pairs).reshape(-1, 2)
    return resid, category, label, pairs


def summed(*batches, provenance=PROVENANCE, shard="prompts") -> ResidualStats:
    provenance = replace(provenance, prompts_digest=shard)
    sums = StatsAccumulator(CATEGORIES, SITES, OFFSETS, WIDTH)
    for one in batches:
        sums.update(*one)
    return sums.finish(provenance)


FIELDS = ("count", "total", "sq_norm", "n_pairs", "pair_sq")


def test_sums_equal_naive_ones():
    resid, category, label, pairs = batch(5, n_alone=2)
    stats = summed((resid, category, label, pairs))
    for c in range(2):
        for k in range(2):
            group = resid[(category == c) & (label == k)].double()
            assert stats.count[c, k] == len(group)
            assert torch.allclose(stats.total[c, k], group.sum(0))
            assert torch.allclose(stats.mean[c, k], group.mean(0))
            assert torch.allclose(stats.sq_norm[c, k], (group * group).sum((0, 3)))
        d = resid[0:10:2].double() - resid[1:10:2].double()
        d = d[category[0:10:2] == c]
        assert torch.allclose(stats.pair_sq[c], d.square().sum((0, 3)))
        assert stats.n_pairs[c] == len(d)
    assert stats.paired == (False, True)
    assert torch.allclose(stats.difference, stats.mean[:, 0] - stats.mean[:, 1])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=4))
def test_merge_equals_one_pass(sizes):
    batches = [batch(n, seed) for seed, n in enumerate(sizes)]
    whole = summed(*batches)
    first, *others = [summed(one, shard=f"shard{i}") for i, one in enumerate(batches)]
    merged = first
    for other in others:
        merged = merged.merge(other)
    for name in FIELDS:
        assert torch.allclose(getattr(whole, name), getattr(merged, name), rtol=1e-12, atol=1e-12)
    assert merged.provenance.prompts_digest == "+".join(f"shard{i}" for i in range(len(sizes)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"categories": ("red", "green")}, "different categories can't be merged"),
        ({"sites": (Site(0), Site(1), Site(3))}, "different sites can't be merged"),
        ({"offsets": (-3, -1)}, "different offsets can't be merged"),
        ({"model_digest": "other"}, "two models can't be merged, .* model_digest"),
        ({"template_digest": "other"}, "two models can't be merged, .* template_digest"),
        ({"rendered_prefix": "you are"}, "two models can't be merged, .* rendered_prefix"),
        ({"dtype": "bfloat16"}, "two models can't be merged, .* dtype"),
        ({"edits": "Ablate('red')"}, r"'none' and \"Ablate\('red'\)\""),
    ],
)
def test_what_does_not_belong_together_is_not_merged(change, words):
    stats = summed(batch(2))
    key = next(iter(change))
    if hasattr(stats, key):
        other = replace(stats, **change)
    else:
        other = replace(stats, provenance=replace(PROVENANCE, **change))
    with pytest.raises(InputError, match=words):
        stats.merge(other)


def test_a_shard_is_merged_once():
    a, b, c = (summed(batch(2, seed), shard=f"shard{seed}") for seed in range(3))
    both = a.merge(b)
    for again in (a, b, both):
        with pytest.raises(InputError, match="merged already"):
            both.merge(again)
    assert both.merge(c).count.sum() == 12


def pairs_of(n: int) -> PromptSet:
    """Pairs of two categories that use the same names, and a prompt without a twin."""
    both = [
        Prompt(f"{c}{i}{label}", f"{c} {i} {label}", c, label, "train", "test", pair=str(i))
        for i in range(n)
        for c in CATEGORIES
        for label in ("refuse", "comply")
    ]
    return PromptSet((*both, Prompt("alone", "alone", "red", "refuse", "train", "test")))


def stats_over(prompts: PromptSet) -> ResidualStats:
    resid = torch.randn(len(prompts), len(OFFSETS), len(SITES), WIDTH)
    return Residuals.of(resid, prompts, sites=SITES, offsets=OFFSETS, provenance=PROVENANCE).stats()


def test_a_pair_split_over_shards_is_refused():
    prompts = pairs_of(2).prompts
    a, b = stats_over(PromptSet(prompts[:5])), stats_over(PromptSet(prompts[5:]))
    assert a.half_pairs == b.half_pairs == ("red/1",)
    with pytest.raises(InputError, match=r"pair 'red/1' is split"):
        a.merge(b)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_shards_of_a_set_keep_pairs_whole_and_merge(n):
    prompts = pairs_of(4)
    shards = prompts.shards(n)
    assert sorted(p.id for s in shards for p in s) == sorted(prompts.ids)
    assert max(map(len, shards)) - min(map(len, shards)) <= 3
    merged = stats_over(shards[0])
    for shard in shards[1:]:
        merged = merged.merge(stats_over(shard)) if shard.categories == CATEGORIES else merged
    assert merged.half_pairs == ()
    with pytest.raises(InputError, match="10 shards"):
        prompts.shards(10)


def test_half_pairs_are_saved_and_older_files_are_read(tmp_path):
    stats = stats_over(PromptSet(pairs_of(2).prompts[:5]))
    stats.save(tmp_path / "s")
    assert ResidualStats.load(tmp_path / "s").half_pairs == ("red/1",)
    saved = json.loads((tmp_path / "s.json").read_text())
    del saved["fields"]["half_pairs"]
    (tmp_path / "s.json").write_text(json.dumps(saved))
    assert ResidualStats.load(tmp_path / "s").half_pairs == ()
    del saved["fields"]["sites"]
    (tmp_path / "s.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match="not a whole ResidualStats"):
        ResidualStats.load(tmp_path / "s")


def test_an_empty_side_has_no_mean():
    resid, category, label, pairs = batch(1)
    stats = summed((resid, category, label, pairs))
    assert stats.mean[1].isnan().all()
    assert not stats.mean[0].isnan().any()
    assert stats.paired == (True, False)


def test_sums_are_float64():
    """Near 4096 float32 steps by 2^-11: float32 sums of 2,000 terms lose a difference of .001.

    Every residual below is a float32 number; only the accumulation could lose the difference.
    """
    n, gap = 2000, 2.0**-10
    x = torch.full((2 * n, 1, 1, 1), 4096.0)
    x[::2] += gap
    sums = StatsAccumulator(("red",), (Site(0),), (-1,), 1)
    label = torch.arange(2 * n).remainder(2)
    sums.update(x, torch.zeros_like(label), label, torch.arange(2 * n).reshape(-1, 2))
    stats = sums.finish(PROVENANCE)
    assert stats.total.dtype == stats.sq_norm.dtype == stats.pair_sq.dtype == torch.float64
    assert float(stats.difference) == gap
    assert float(stats.pair_sq) == n * gap**2
    narrow = torch.zeros(2).index_put_((label,), x[:, 0, 0, 0], accumulate=True)
    assert abs(float((narrow[0] - narrow[1]) / n) - gap) > 0.1 * gap


def test_the_text_of_statistics_says_what_they_hold():
    assert repr(summed(batch(3))) == "ResidualStats(red 2+2, blue 1+1; 3 sites, offsets [-2, -1])"
