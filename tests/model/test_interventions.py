"""Edits as mathematics, and against an independent implementation on Hugging Face's own models."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reference.arditi import ablation, addition, orthogonalise, project_weights

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate, AblateSubspace, Add, Edit, ResidualMap, check_sites
from refusal_lens.records import Provenance
from refusal_lens.sites import Site, block_inputs, stream_writes

PROVENANCE = Provenance("tiny", "", "", "prefix", "prompts", "float32", "cpu")
TOLERANCE = 2e-5  # of logits of order 10: two orders of summation, as in test_gates.py


def direction(d_model, seed=0, scale=3.0, site=None):
    vector = torch.randn(d_model, generator=torch.Generator().manual_seed(seed))
    return Direction.from_difference(
        vector / vector.norm() * scale,
        category="red",
        site=Site(1) if site is None else site,
        offset=-1,
        provenance=PROVENANCE,
        low=0.0,
    )


def resid(d_model, seed=1, size=10.0, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    return (size * torch.randn(2, 5, d_model, generator=random)).to(dtype)


seeds = st.integers(0, 10_000)
widths = st.integers(2, 96)
sizes = st.sampled_from([1e-3, 1.0, 200.0])
few = settings(max_examples=25, deadline=None)


@few
@given(widths, seeds, sizes)
def test_ablate_is_the_orthogonal_projection(d_model, seed, size):
    d, x = direction(d_model, seed), resid(d_model, seed + 1, size)
    before = x.clone()
    edit = Ablate(d)
    once = edit(x)
    atol = 3e-6 * size  # float32 resolves 1e-7 of numbers a few times `size`
    assert torch.equal(x, before)
    assert torch.allclose(edit(once), once, atol=atol)
    assert (once @ d.vector).abs().max() <= 10 * atol
    # What is taken away lies along the direction; what lies across it stays.
    taken = x - once
    assert torch.allclose(taken, (x @ d.vector)[..., None] * d.vector, atol=atol)
    across = x - (x @ d.vector)[..., None] * d.vector
    assert torch.allclose(edit(across), across, atol=10 * atol)
    assert torch.allclose(
        x.square().sum(-1), once.square().sum(-1) + (x @ d.vector).square(), rtol=1e-4
    )


@few
@given(widths, seeds, st.floats(-20, 20))
def test_adding_then_subtracting_is_the_identity(d_model, seed, alpha):
    d, x = direction(d_model, seed), resid(d_model, seed + 1)
    there = Add(d, alpha=alpha)(x)
    assert torch.allclose(there - x, (alpha * d.vector).expand_as(x), atol=1e-5)
    assert torch.allclose(Add(d, alpha=-alpha)(there), x, atol=1e-5)


@few
@given(seeds, st.floats(-3, 3), st.floats(0.01, 50))
def test_strength_counts_in_scales_and_alpha_in_units_of_the_stream(seed, strength, scale):
    d, x = direction(16, seed, scale), resid(16, seed + 1)
    by_strength = Add(d, strength=strength)
    assert by_strength.length == pytest.approx(strength * scale, rel=1e-5)
    assert torch.equal(by_strength(x), Add(d, alpha=by_strength.length)(x))
    shift = ((by_strength(x) - x) @ d.vector).mean()
    assert float(shift) == pytest.approx(strength * scale, abs=1e-4 * (1 + scale))


def test_strength_one_moves_the_comply_mean_to_the_refuse_mean():
    difference = torch.tensor([3.0, -1.0, 2.0])
    d = Direction.from_difference(
        difference, category="red", site=Site(1), offset=-1, provenance=PROVENANCE
    )
    comply = torch.tensor([5.0, 5.0, 5.0])
    assert torch.allclose(Add(d, strength=1.0)(comply), comply + difference, atol=1e-6)


@pytest.mark.parametrize(
    "given", [{}, {"strength": 1.0, "alpha": 2.0}, {"strength": 0, "alpha": 0}]
)
def test_add_takes_one_size_never_two_and_never_none(given):
    given = {key: float(value) for key, value in given.items()}
    with pytest.raises(InputError, match=r"either strength \(units of .* 3\) or alpha"):
        Add(direction(4), **given)


@pytest.mark.parametrize("size", [math.nan, math.inf])
def test_add_refuses_what_is_not_finite(size):
    for key in ("strength", "alpha"):
        with pytest.raises(InputError, match="is not a finite number"):
            Add(direction(4), **{key: size})


def test_the_sites_of_an_edit():
    d = direction(4, site=Site(2))
    assert Ablate(d).sites(3) == stream_writes(3)
    assert len(stream_writes(3)) == 9
    assert Ablate(d, at=(Site(0),)).sites(3) == (Site(0),)
    assert Add(d, strength=1.0).sites(3) == (Site(2),)
    assert Add(d, strength=1.0, at=Site(1, "attn_out")).sites(3) == (Site(1, "attn_out"),)
    assert isinstance(Ablate(d), Edit) and isinstance(Add(d, alpha=1.0), Edit)


class Twice(ResidualMap):
    """An edit that is not idempotent, at any sites."""

    repeatable = False
    width = 4

    def __init__(self, *sites):
        self._sites = sites

    def sites(self, n_layers):
        del n_layers
        return self._sites

    def __call__(self, resid):
        return 2 * resid

    def __repr__(self):
        return "Twice()"


def test_sites_are_checked_against_the_model():
    d = direction(4)
    assert check_sites(Ablate(d), 3) == stream_writes(3)
    beyond = Add(d, strength=1.0, at=Site(3))
    with pytest.raises(InputError, match=r"resid_pre\[3\] is beyond this model: .* are 0 to 2"):
        check_sites(beyond, 3)
    mid = Add(d, strength=1.0, at=Site(1, "resid_mid"))
    with pytest.raises(InputError, match=r"resid_mid\[1\] can't be written.*write attn_out\[1\]"):
        check_sites(mid, 3)


def test_one_vector_is_not_edited_twice():
    post, pre = Site(0, "resid_post"), Site(1)
    with pytest.raises(
        InputError, match=r"resid_post\[0\] and resid_pre\[1\] are one vector; Twice"
    ):
        check_sites(Twice(post, pre), 3)
    with pytest.raises(InputError, match="names a site twice"):
        check_sites(Twice(pre, pre), 3)
    both = (Site(0, "resid_post"), Site(1, "resid_post"), Site(0))
    assert check_sites(Twice(*both), 3) == both
    assert check_sites(Ablate(direction(4), at=(post, pre, pre)), 3) == (post, pre, pre)


def test_texts_say_what_is_done_and_where():
    d = direction(4, site=Site(2))
    assert repr(Ablate(d)) == "Ablate('red' fitted at resid_pre[2], offset -1; at every layer)"
    assert "alpha 2.5, at resid_pre[0]" in repr(Add(d, alpha=2.5, at=Site(0)))
    assert "strength -1.0, at resid_pre[2]" in repr(Add(d, strength=-1.0))


# What ablation leaves along the direction, in a stream of SmolLM2's width whose coordinate along
# it is 39 and whose norm is about 180. The largest of 400 rows and three seeds was 1.6e-5, .074
# and .0072, on a CPU; a coarser format leaves more, and nothing here is exactly zero.
REMAINDER = {torch.float32: 5e-5, torch.bfloat16: 0.2, torch.float16: 0.02}


def remainder(dtype, seed):
    d = direction(576, seed)
    random = torch.Generator().manual_seed(seed + 1)
    x = 7.5 * torch.randn(400, 576, generator=random)
    x = x + (39.0 - x @ d.vector)[:, None] * d.vector
    left = Ablate(d)(x.to(dtype))
    assert left.dtype == dtype
    return float((left.double() @ d.vector.double()).abs().max())


@pytest.mark.parametrize("dtype", REMAINDER, ids=str)
def test_what_ablation_leaves_in_each_precision(dtype):
    largest_remainder = max(remainder(dtype, seed) for seed in range(3))
    assert largest_remainder <= REMAINDER[dtype]
    assert largest_remainder > REMAINDER[dtype] / 20


def hugging_face_logits(model, chat, prompts):
    with torch.no_grad():
        rows = [model(torch.tensor([chat.ids(p)])).logits[0, -1] for p in prompts]
    return torch.stack(rows)


def test_ablation_equals_the_reference(tiny, three_categories, hugging_face, request):
    model, _ = hugging_face(request.node.callspec.params["tiny"][0])
    d = direction(tiny.d_model)
    plain = hugging_face_logits(model, tiny.chat, three_categories)
    with ablation(model, d.vector):
        expected = hugging_face_logits(model, tiny.chat, three_categories)
    with tiny.editing(Ablate(d)):
        ours = tiny.logits(three_categories)
    assert (ours - expected).abs().max() < TOLERANCE
    assert (expected - plain).abs().max() > 0.1


def test_addition_equals_the_reference(tiny, three_categories, hugging_face, request):
    model, _ = hugging_face(request.node.callspec.params["tiny"][0])
    d = direction(tiny.d_model, scale=3.0)
    plain = hugging_face_logits(model, tiny.chat, three_categories)
    for strength in (1.0, -2.0):
        with addition(model, 1, strength * 3.0 * d.vector):
            expected = hugging_face_logits(model, tiny.chat, three_categories)
        with tiny.editing(Add(d, strength=strength)):
            ours = tiny.logits(three_categories)
        assert (ours - expected).abs().max() < TOLERANCE
        assert (expected - plain).abs().max() > 0.1
    assert torch.equal(hugging_face_logits(model, tiny.chat, three_categories), plain)


def orthogonalised_gap(tiny, three_categories, model, *, untie):
    d = direction(tiny.d_model)
    orthogonalise(model, d.vector, untie=untie)
    with tiny.editing(Ablate(d)):
        ours = tiny.logits(three_categories)
    return float((ours - hugging_face_logits(model, tiny.chat, three_categories)).abs().max())


def test_orthogonal_weights_equal_ablation_where_nothing_stands_between(
    tiny, three_categories, hugging_face, request
):
    """Weights without r write nothing along r; Gemma-2's norm gains behind them bring r back."""
    name = request.node.callspec.params["tiny"][0]
    model, _ = hugging_face(name)
    gap = orthogonalised_gap(tiny, three_categories, model, untie=True)
    if name == "gemma2":
        assert gap > 0.1
    else:
        assert gap < TOLERANCE


def test_tied_embeddings_break_the_equality(tiny_llama, three_categories, hugging_face):
    """Orthogonalising a tied embedding edits the unembedding too."""
    model, _ = hugging_face("llama")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert orthogonalised_gap(tiny_llama, three_categories, model, untie=False) > 0.1


def projection(directions):
    """P of x P for rows x: one direction after the other."""
    p = torch.eye(len(directions[0].vector))
    for d in directions:
        p = p - torch.outer(p @ d.vector, d.vector)
    return p


@pytest.mark.parametrize("method", ["span", "sequential"])
def test_projected_weights_equal_subspace_ablation_where_nothing_stands_between(
    tiny, three_categories, hugging_face, request, method
):
    """The product of projections changes what it meets twice: it must meet each write once."""
    name = request.node.callspec.params["tiny"][0]
    model, _ = hugging_face(name)
    directions = (direction(tiny.d_model), direction(tiny.d_model, seed=5))
    assert abs(float(directions[0].vector @ directions[1].vector)) > 0.05
    basis = torch.linalg.qr(torch.stack([d.vector for d in directions]).T)[0]
    span = torch.eye(tiny.d_model) - basis @ basis.T
    p = span if method == "span" else projection(directions)
    plain = tiny.logits(three_categories)
    project_weights(model, p, untie=True)
    expected = hugging_face_logits(model, tiny.chat, three_categories)
    edit = AblateSubspace(directions, method)
    with tiny.editing(edit):
        ours = tiny.logits(three_categories)
    gap = float((ours - expected).abs().max())
    assert gap > 0.1 if name == "gemma2" else gap < TOLERANCE
    assert (ours - plain).abs().max() > 0.1
    if method == "sequential" and name != "gemma2":
        with tiny.editing(AblateSubspace(directions[::-1], method)):
            assert (tiny.logits(three_categories) - expected).abs().max() > 1e-3
        with tiny.editing(AblateSubspace(directions, method, at=stream_writes(3))):
            assert (tiny.logits(three_categories) - expected).abs().max() > 1e-3


def test_sites_by_name():
    assert Site.parse("resid_pre[15]") == Site.parse(" blocks.15.hook_resid_pre ") == Site(15)
    assert str(Site(3, "mlp_out")) == "mlp_out[3]" and Site.parse("mlp_out[3]").layer == 3
    assert Site(2, "attn_out").hook_name == "blocks.2.hook_attn_out"
    assert block_inputs(2) == (Site(0), Site(1))
    assert Site(0, "resid_post").vector_of_stream == Site(1).vector_of_stream
    assert Site(0, "resid_mid").writable is False and Site(0).writable is True
    with pytest.raises(InputError, match=r"site 'layer 3' is not of the form 'resid_pre\[15\]'"):
        Site.parse("layer 3")
    with pytest.raises(InputError, match="hook point 'resid_in' is unknown; use one of"):
        Site.parse("resid_in[1]")
    with pytest.raises(InputError, match="layer -1 is negative"):
        Site(-1)
