"""Knock-outs, source tokens, neurons and paths: what they say of a known circuit, and exactly.

Tolerance 1e-4: float32 projections of order 10, summed in another order.
"""

from dataclasses import replace

import pytest
import torch
from support.planted_circuit import (
    HEAD,
    LAYER,
    metric,
    planted_direction,
    planted_model,
    planted_prompts,
)

from refusal_lens.attribution import Component, decompose, decompose_prompt
from refusal_lens.attribution.components import Anatomy
from refusal_lens.attribution.knock_out import Cuts, KnockOut, knock_out
from refusal_lens.attribution.pairs import pairs_of
from refusal_lens.attribution.path import HeadPath, head_path, head_paths
from refusal_lens.attribution.regions import source_regions
from refusal_lens.attribution.sources import HeadSources, NeuronShares, head_sources, mlp_neurons
from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import load_record, save_record
from refusal_lens.sites import Site

TOLERANCE = 1e-4
PLANTED = Component(LAYER, "head", HEAD)
OTHER = {"refuse": "comply", "comply": "refuse"}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return planted_model(tmp_path_factory.mktemp("planted"))


def fitted(model, prompts, category, layer=2):
    return fit_mean_difference(model.residual_stats(prompts)).at(category, layer)


def knocked(model, prompts, **choices):
    category = prompts.categories[0]
    d = fitted(model, prompts, category)
    attribution = decompose(model, prompts, [d]).attribution(category)
    category_prompts = prompts.only(category=category)
    return knock_out(model, category_prompts, d, attribution, metric, cuts=Cuts(**choices)), d


@pytest.mark.parametrize("replacement", ["zero", "mean", "resample"])
def test_the_first_cut_takes_all_of_the_planted_refusal(planted, replacement):
    prompts = planted_prompts()
    knockout, d = knocked(planted, prompts, replacement=replacement, counts=(0, 1, 3))
    assert knockout.order[0] == PLANTED
    before, first, third = knockout.curve("projection")
    assert before.value == pytest.approx(d.high, abs=1e-3) and before.value > 1
    assert first.value == pytest.approx(0, abs=1e-3) == pytest.approx(third.value, abs=1e-3)
    assert knockout.benign_projection == pytest.approx(0, abs=1e-3)
    before, first, _ = knockout.curve("score")
    assert first.value == pytest.approx(knockout.benign_score, abs=0.05)
    assert before.value - first.value > 1
    untouched = [
        o for o in knockout.random_projection[:, 1] if torch.allclose(o, knockout.projection[0])
    ]
    assert len(untouched) >= 2  # a random head is rarely the planted one, and then nothing changes


def test_a_cut_of_everything_leaves_what_was_put_in(tiny, three_categories):
    """All writers at zero: the projection is that of the embedding and biases, and no order
    of cuts matters any more."""
    knockout, d = knocked(tiny, three_categories, replacement="zero", counts=(0, 10_000), draws=2)
    assert knockout.cuts.counts == (0, 10)
    for i, key in enumerate(knockout.prompts):
        text = three_categories.only(ids=[key]).prompts[0].text
        parts = decompose_prompt(tiny, text, d)
        rest = sum(parts.score_of(c) for c in parts.components if c.kind not in ("head", "MLP"))
        assert abs(float(knockout.projection[0, i]) - parts.total) < TOLERANCE
        assert abs(float(knockout.projection[1, i]) - rest) < TOLERANCE
    assert torch.allclose(knockout.random_projection[:, 1], knockout.projection[1], atol=TOLERANCE)
    assert (knockout.projection[0] - knockout.projection[1]).abs().max() > 0.1


def test_resampled_cuts_are_seeded(tiny_llama, three_categories):
    first, _ = knocked(tiny_llama, three_categories, replacement="resample", seed=1)
    again, _ = knocked(tiny_llama, three_categories, replacement="resample", seed=1)
    other, _ = knocked(tiny_llama, three_categories, replacement="resample", seed=2)
    assert torch.equal(first.projection, again.projection)
    assert torch.equal(first.random_score, again.random_score)
    assert not torch.equal(first.projection[1:], other.projection[1:])
    kinds = [c.kind for c in first.order]
    assert {"head", "MLP"} == set(kinds)


def test_knock_outs_are_saved_and_refused(planted, tmp_path):
    prompts = planted_prompts()
    knockout, d = knocked(planted, prompts, counts=(0, 1))
    save_record(knockout, tmp_path / "cut")
    again = load_record(KnockOut, tmp_path / "cut")
    assert again.curve("score") == knockout.curve("score") and again.cuts == knockout.cuts
    with pytest.raises(InputError, match="unknown; use one of"):
        Cuts(replacement="noise")
    with pytest.raises(InputError, match="1 or more"):
        Cuts(draws=0)
    other = decompose(planted, prompts, [fitted(planted, prompts, "tan")]).attribution("tan")
    with pytest.raises(InputError, match="decompose the direction that is to be knocked out"):
        knock_out(planted, prompts, d, other, metric)


def test_shares_by_source_token_sum_to_each_head(tiny, three_categories):
    d = fitted(tiny, three_categories, "red")
    prompt = three_categories.prompts[4]
    sources = head_sources(tiny, prompt, d)
    whole = decompose_prompt(tiny, prompt, d)
    assert sources.tokens[-1] == tiny.chat.strings(tiny.chat.post_ids)[-1]
    assert len(sources.tokens) == len(tiny.chat.ids(prompt)) == len(sources.positions)
    for row, head in zip(sources.scores, sources.heads, strict=True):
        assert abs(float(row.sum()) - whole.score_of(head)) < TOLERANCE
    assert sources.scores.std(1).min() > 1e-6


def test_the_planted_head_reads_the_mark(planted):
    d = planted_direction(planted)
    sources = head_sources(planted, "Tell me red!", d)
    row = sources.scores[sources.heads.index(PLANTED)]
    assert sources.tokens[int(row.argmax())] == "!"
    assert float(row.max()) > 1 and float(row.sort().values[-2]) < 1e-6
    others = [i for i, head in enumerate(sources.heads) if head != PLANTED]
    assert bool((sources.scores[others] == 0).all())


def test_neurons_sum_to_their_mlp(tiny, three_categories):
    d = fitted(tiny, three_categories, "red")
    reds = three_categories.only(category="red")
    shares = mlp_neurons(tiny, reds, d, 1, most=5)
    whole = decompose(tiny, reds, [d]).attribution("red").score_of(Component(1, "MLP"))
    assert abs(float(shares.scores.sum()) + shares.rest - whole) < TOLERANCE
    sizes = shares.scores.abs()
    assert bool((sizes[:-1] >= sizes[1:]).all()) and shares.n == 5 and shares.n_neurons == 48
    everything = mlp_neurons(tiny, reds, d, 1, most=48)
    assert everything.neurons[:5] == shares.neurons and abs(everything.rest) < 1e-9
    assert bool((shares.low < shares.scores).all() and (shares.scores < shares.high).all())
    assert 0 < shares.control < 100 * float(sizes.max())
    with pytest.raises(InputError, match="no neurons that write before"):
        mlp_neurons(tiny, reds, d, 2)


def test_neurons_are_told_from_what_swapped_sides_would_show(tiny_llama, three_categories):
    """Pairs that all point one way beat their sign flips; the same pairs turned at random do not.

    With five pairs a flip repeats the sides in 2 of 32 draws, more than one in twenty: there the
    control is the largest score itself. Eight pairs (2 of 256) leave it below.
    """
    d = fitted(tiny_llama, three_categories, "red")
    five = three_categories.only(category="red")
    few = mlp_neurons(tiny_llama, five, d, 1)
    assert few.control >= float(few.scores.abs().max()) * (1 - 1e-9)
    eight = paired("red", 8)
    shares = mlp_neurons(tiny_llama, eight, d, 1)
    assert shares.control < float(shares.scores.abs().max())
    turned = PromptSet(
        tuple(replace(p, label=OTHER[p.label]) if int(p.pair[-1]) % 2 else p for p in eight)
    )
    other = mlp_neurons(tiny_llama, turned, d, 1)
    assert other.control == pytest.approx(shares.control, rel=0.2)  # 500 draws of the same flips
    assert float(other.scores.abs().max()) < other.control
    assert shares.control == mlp_neurons(tiny_llama, eight, d, 1).control


def paired(category, n):
    """Pairs that differ in one word, so that their differences are alike."""
    return PromptSet(
        tuple(
            Prompt(f"{i}-{label}", f"{i} {word}", category, label, "train", "test", f"p{i}")
            for i in range(n)
            for label, word in (("refuse", "alarm"), ("comply", "quiet"))
        )
    )


def test_regions_hold_all_that_a_head_reads(tiny, three_categories):
    d = fitted(tiny, three_categories, "red")
    reds = list(three_categories.only(category="red"))
    sides = {label: [p for p in reds if p.label == label] for label in OTHER}
    read = {label: [head_sources(tiny, p, d) for p in prompts] for label, prompts in sides.items()}
    chat = tiny.chat
    template = (len(chat.prefix_ids), chat.n_post)
    heads = read["refuse"][0].heads[1:3]
    regions = source_regions(
        read["refuse"], read["comply"], heads, category="red", template=template
    )
    for i, prompt in enumerate(sides["refuse"]):
        whole = decompose_prompt(tiny, prompt, d)
        for h, head in enumerate(heads):
            assert abs(float(regions.refuse[i, h].sum()) - whole.score_of(head)) < TOLERANCE
        request = len(chat.ids(prompt)) - sum(template)
        shares = read["refuse"][i].scores[1, template[0] : template[0] + request]
        assert regions.refuse[i, 0, 1] == pytest.approx(float(shares.sum()), abs=1e-9)
    estimate = regions.estimate(heads[0], "request")
    assert estimate.n == 5 and estimate.value == pytest.approx(
        float(regions.refuse[:, 0, 1].mean())
    )
    assert estimate.control == pytest.approx(float(regions.comply[:, 0, 1].mean()))
    with pytest.raises(InputError, match="as many of either"):
        source_regions(read["refuse"], [], heads, category="red", template=template)


def test_the_planted_head_reads_the_request(planted):
    d = planted_direction(planted)
    sides = [[head_sources(planted, f"Tell me {x}{m}", d) for x in "ab"] for m in "!?"]
    template = (len(planted.chat.prefix_ids), planted.chat.n_post)
    regions = source_regions(*sides, [PLANTED], category="red", template=template)
    assert regions.estimate(PLANTED, "request").value > 1
    assert regions.estimate(PLANTED, "request").control == pytest.approx(0, abs=1e-6)
    for region in ("template before", "template's end"):
        assert regions.estimate(PLANTED, region).value == pytest.approx(0, abs=1e-6)


def test_a_path_sums_to_its_effect(tiny, three_categories):
    pairs = pairs_of(tiny, three_categories, equal_length=False, most=1)
    d = replace(fitted(tiny, three_categories, "red"), site=Site(2))
    head = Component(0, "head", 1)
    path = head_path(tiny, pairs, head, d)
    assert path.residual < TOLERANCE
    assert path.estimate().n == 3
    # Nothing upstream of the head, or beside it in its own block, can change.
    untouched = [Component(-1, "embedding"), Component(0, "MLP")]
    fixed = [c for c in path.components if c.kind == "head" and c.layer == 0 and c != head]
    if Anatomy(tiny.backend).scale(0, "attn") is None:  # a post-norm couples heads of a block
        for c in [untouched[0], *fixed]:
            assert path.change[:, path.components.index(c)].abs().max() < 1e-6
    direct = path.change[:, path.components.index(head)]
    later = path.change.sum(1) - direct
    assert direct.abs().max() > 1e-3 and later.abs().max() > 1e-3
    routes = path.routes()
    total = routes.pop("total")
    assert total.value == pytest.approx(float(path.total.mean()))
    assert sum(r.value for r in routes.values()) == pytest.approx(total.value, abs=TOLERANCE)
    assert sum(r.control for r in routes.values()) == pytest.approx(total.control, abs=TOLERANCE)
    assert routes["direct"].value == pytest.approx(float(direct.mean()))
    assert abs(routes["direct"].control) > 1e-6
    first, second = path.carriers(2)
    size = path.change.mean(0).abs()
    assert head not in (first, second)
    assert size[path.components.index(first)] >= size[path.components.index(second)]


def test_heads_that_are_followed_together_do_not_mix(tiny, three_categories):
    """Each equals its own run, up to float32 in a batch of another size."""
    pairs = pairs_of(tiny, three_categories, equal_length=False, most=1)
    d = fitted(tiny, three_categories, "red")
    heads = [Component(1, "head", 2), Component(0, "head", 1)]
    for path, head in zip(head_paths(tiny, pairs, heads, d), heads, strict=True):
        alone = head_path(tiny, pairs, head, d)
        assert path.head == head
        assert torch.allclose(path.change, alone.change, atol=TOLERANCE)
        assert torch.allclose(path.placebo_change, alone.placebo_change, atol=TOLERANCE)
        assert torch.allclose(path.placebo, path.placebo_change.sum(1), atol=TOLERANCE)
        assert path.placebo.abs().max() > 1e-3
    with pytest.raises(InputError, match="no pair"):
        head_paths(tiny, [], heads, d)


def test_the_planted_path_is_direct(planted, tmp_path):
    pairs = pairs_of(planted, planted_prompts())
    path = head_path(planted, pairs, PLANTED, planted_direction(planted))
    assert path.estimate(PLANTED).low > 1
    assert torch.allclose(
        path.change[:, path.components.index(PLANTED)], path.total, atol=TOLERANCE
    )
    save_record(path, tmp_path / "path")
    assert torch.equal(load_record(HeadPath, tmp_path / "path").change, path.change)
    assert path.carriers(3) == ()
    assert path.routes()["through later MLPs"].value == pytest.approx(0, abs=TOLERANCE)
    idle = head_path(planted, pairs, Component(0, "head", 0), planted_direction(planted))
    assert idle.total.abs().max() < 1e-6
    with pytest.raises(InputError, match="not a head that writes before"):
        head_path(planted, pairs, Component(2, "head", 0), planted_direction(planted))
    d = planted_direction(planted)
    with planted.editing(Ablate(d)), pytest.raises(InputError, match="not the sum"):
        head_path(planted, pairs, PLANTED, d)


def test_fine_shares_are_saved_whole(tiny_llama, three_categories, tmp_path):
    d = fitted(tiny_llama, three_categories, "red")
    by_token = head_sources(tiny_llama, three_categories.prompts[0], d)
    save_record(by_token, tmp_path / "tokens")
    assert torch.equal(load_record(HeadSources, tmp_path / "tokens").scores, by_token.scores)
    neurons = mlp_neurons(tiny_llama, three_categories.only(category="red"), d, 0)
    save_record(neurons, tmp_path / "neurons")
    assert load_record(NeuronShares, tmp_path / "neurons").neurons == neurons.neurons
