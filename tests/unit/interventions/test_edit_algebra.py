"""The algebra of the edits: pure maps, no model."""

import math
from dataclasses import replace

import pytest
import torch
from concept_erasure import LeaceEraser
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions import (
    Ablate,
    AblateSubspace,
    Add,
    Affine,
    Clamp,
    Composite,
    Cosine,
    Edit,
    Leace,
    Only,
    PerRow,
    Probe,
    Rotate,
    When,
    check_sites,
)
from refusal_lens.linalg import orthonormal_basis
from refusal_lens.records import Provenance
from refusal_lens.sites import Site, stream_writes

PROVENANCE = Provenance("tiny", "", "", "prefix", "prompts", "float32", "cpu")
SIZE = 10.0  # of the coordinates of a random stream
ATOL = 3e-5  # float32 resolves 1e-7 of numbers up to a few hundred

seeds = st.integers(0, 10_000)
widths = st.integers(3, 96)
coordinates = st.floats(-50, 50)
few = settings(max_examples=25, deadline=None)


def vector(d_model, seed):
    return torch.randn(d_model, generator=torch.Generator().manual_seed(seed))


def direction(d_model, seed=0, scale=3.0, low=0.5):
    v = vector(d_model, seed)
    return Direction.from_difference(
        v / v.norm() * scale,
        category="red",
        site=Site(1),
        offset=-1,
        provenance=PROVENANCE,
        low=low,
    )


def stream(d_model, seed=1, rows=6):
    random = torch.Generator().manual_seed(seed)
    return SIZE * torch.randn(2, rows, d_model, generator=random)


def across(x, *directions):
    """What of x lies across all the directions."""
    q = torch.linalg.qr(torch.stack([d.vector for d in directions]).double().T)[0]
    return x - ((x.double() @ q) @ q.T).float()


def spoil(made, **fields):
    """Check an object anew with other fields, as a constructor does without a type checker."""
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    made.__post_init__()


def close(a, b, atol=ATOL):
    return torch.allclose(a, b, rtol=1e-5, atol=atol)


# --- one direction ----------------------------------------------------------------------------


@few
@given(widths, seeds, coordinates)
def test_clamp_sets_the_coordinate_and_nothing_else(d_model, seed, to):
    d, x = direction(d_model, seed), stream(d_model, seed + 1)
    before = x.clone()
    edit = Clamp(d, to)
    once = edit(x)
    assert torch.equal(x, before)
    assert close(once @ d.vector, torch.full((2, 6), to), 1e-3)
    assert close(across(once, d), across(x, d), 1e-4)
    assert close(edit(once), once, 1e-4)
    assert edit.repeatable


def test_clamp_takes_words_for_the_means():
    d, x = direction(8, scale=3.0, low=0.5), stream(8)
    assert torch.equal(Clamp(d, "low")(x), Clamp(d, 0.5)(x))
    assert close(Clamp(d, "high")(x), Clamp(d, 3.5)(x))
    assert torch.equal(Clamp(d, 0.0)(x), Ablate(d)(x))
    assert not torch.equal(Clamp(d, "low")(x), Clamp(d, "high")(x))
    with pytest.raises(InputError, match="give 'low', 'high' or a number"):
        spoil(Clamp(d, "low"), to="middle")
    with pytest.raises(InputError, match="sets the coordinate to nan"):
        Clamp(direction(8, low=math.nan), "low")
    with pytest.raises(InputError, match="not finite"):
        Clamp(d, math.inf)


@few
@given(widths, seeds, st.floats(-3, 3))
def test_affine_is_its_published_formula(d_model, seed, strength):
    """h - proj(h) + proj(v) + alpha r with the raw r and a mean v."""
    d, x = direction(d_model, seed, scale=4.0), stream(d_model, seed + 1)
    v = SIZE * vector(d_model, seed + 2)
    raw = d.vector * d.scale

    def proj(h):
        return (h @ raw)[..., None] * raw / (raw @ raw)

    expected = x - proj(x) + proj(v) + strength * raw
    assert close(Affine(d, strength, reference=v)(x), expected, 1e-4)
    # The mean of the comply side is known to the direction by its coordinate.
    low = float(v @ d.vector)
    known = replace(d, low=low, high=low + d.scale)
    assert close(Affine(known, strength)(x), expected, 1e-4)


def test_affine_reaches_both_means():
    d, x = direction(16, scale=3.0, low=-2.0), stream(16)
    for strength, coordinate in ((0.0, -2.0), (1.0, 1.0), (-1.0, -5.0)):
        reached = Affine(d, strength)(x) @ d.vector
        assert close(reached, torch.full((2, 6), coordinate))
    assert torch.equal(Affine(d, 0.0)(x), Clamp(d, "low")(x))
    assert torch.equal(Affine(d, 1.0)(x), Clamp(d, "high")(x))
    assert Affine(d, 0.0).repeatable and not Affine(d, 0.5).repeatable
    with pytest.raises(InputError, match="not finite"):
        Affine(direction(16, low=math.nan), 1.0)
    given = Affine(direction(16, low=math.nan), 1.0, reference=torch.ones(16)).added
    assert given == pytest.approx(3.0 + float(d.vector.sum()))


# --- several directions -----------------------------------------------------------------------


@few
@given(st.integers(6, 64), seeds, st.integers(1, 5))
def test_span_leaves_nothing_along_any_direction_in_any_order(d_model, seed, k):
    directions = tuple(direction(d_model, seed + i) for i in range(k))
    x = stream(d_model, seed + 9)
    edit = AblateSubspace(directions)
    once = edit(x)
    for d in directions:
        assert (once @ d.vector).abs().max() < 1e-3
    assert close(edit(once), once, 1e-4)
    assert close(AblateSubspace(directions[::-1])(x), once, 1e-3)
    # The least change: what is taken away lies in the span.
    assert close(across(x - once, *directions), torch.zeros_like(x), 1e-3)


@few
@given(st.integers(6, 64), seeds)
def test_sequential_is_the_product_in_order(d_model, seed):
    a, b, c = (direction(d_model, seed + i) for i in range(3))
    x = stream(d_model, seed + 9)
    edited = AblateSubspace((a, b, c), "sequential")(x)
    assert torch.equal(edited, Ablate(c)(Ablate(b)(Ablate(a)(x))))
    assert (edited @ c.vector).abs().max() < 1e-4
    product = torch.eye(d_model)
    for d in (a, b, c):
        product = product @ (torch.eye(d_model) - torch.outer(d.vector, d.vector))
    assert close(edited, x @ product, 1e-3)


def test_sequential_depends_on_the_order_and_span_does_not():
    """With a cosine of .9, .32 of a mean |coordinate| of .8 along the first is left."""
    a = direction(64, 0)
    other = 0.9 * a.vector + math.sqrt(1 - 0.81) * across(direction(64, 1).vector, a) / float(
        across(direction(64, 1).vector, a).norm()
    )
    b = replace(a, vector=other)
    x = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    forth, back = (AblateSubspace(o, "sequential")(x) for o in ((a, b), (b, a)))
    assert float((x @ a.vector).abs().mean()) == pytest.approx(0.8, abs=0.03)
    left = float((forth @ a.vector).abs().mean())
    assert left == pytest.approx(0.9 * math.sqrt(0.19) * 0.8, abs=0.02)
    assert (forth - back).abs().max() > 0.1
    assert (forth @ b.vector).abs().max() < 1e-5
    again = AblateSubspace((a, b), "sequential")
    assert not close(again(forth), forth, 0.01) and not again.repeatable
    span = AblateSubspace((a, b))(x)
    assert close(span, AblateSubspace((b, a))(x), 1e-4)
    assert (span - forth).abs().max() > 0.1


def test_orthogonal_directions_make_both_methods_one():
    q = torch.linalg.qr(torch.randn(16, 3, generator=torch.Generator().manual_seed(0)))[0].T
    directions = tuple(replace(direction(16), vector=row.clone()) for row in q)
    x = stream(16)
    span = AblateSubspace(directions)(x)
    assert close(span, AblateSubspace(directions, "sequential")(x), 1e-4)
    assert close(AblateSubspace(directions[:1])(x), Ablate(directions[0])(x), 1e-4)


def test_subspaces_that_are_none_are_refused():
    a, b = direction(8, 0), direction(8, 1)
    with pytest.raises(InputError, match="found none"):
        AblateSubspace(())
    with pytest.raises(InputError, match="aren't linearly independent"):
        AblateSubspace((a, b, a))
    assert AblateSubspace((a, a), "sequential")(stream(8)).isfinite().all()
    with pytest.raises(InputError, match=r"different width: \[8, 9\]"):
        AblateSubspace((a, direction(9)))
    with pytest.raises(InputError, match="method 'qr' is unknown"):
        spoil(AblateSubspace((a, b)), method="qr")


def test_the_sites_of_each_method():
    a, b = direction(8, 0), direction(8, 1)
    assert AblateSubspace((a, b)).sites(3) == stream_writes(3)
    once = AblateSubspace((a, b), "sequential").sites(3)
    assert [s for s in once if s.point == "resid_pre"] == [Site(0)]
    assert len(once) == 7  # the embedding, and both writers of three blocks
    assert check_sites(AblateSubspace((a, b), "sequential"), 3) == once


def test_a_basis_keeps_its_order_and_marks_what_adds_nothing():
    v = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    basis = orthonormal_basis(v)
    assert close(basis @ basis.T, torch.eye(3), 1e-6)
    assert float((basis[0] @ v[0]).abs()) == pytest.approx(float(v[0].norm()), rel=1e-5)
    dependent = orthonormal_basis(torch.stack([v[0], v[1], 2 * v[0] - v[1]]))
    assert dependent[:2].isfinite().all() and dependent[2].isnan().all()


# --- rotation ---------------------------------------------------------------------------------


@few
@given(widths, seeds, st.floats(-360, 360))
def test_rotation_keeps_the_norm_and_reaches_its_angle(d_model, seed, degrees):
    d, second = direction(d_model, seed), vector(d_model, seed + 1)
    x = stream(d_model, seed + 2)
    edit = Rotate(d, second, degrees)
    once = edit(x)
    assert torch.allclose(once.norm(dim=-1), x.norm(dim=-1), rtol=1e-5)
    b1, b2 = edit.plane
    assert torch.equal(b1, d.vector)
    assert abs(float(b1 @ b2)) < 1e-5 and float(b2 @ second) >= 0
    size = torch.hypot(x @ b1, x @ b2)
    assert close(once @ b1, size * math.cos(math.radians(degrees)), 1e-3)
    assert close(once @ b2, size * math.sin(math.radians(degrees)), 1e-3)
    plane = torch.stack([b1, b2])
    assert close(once - (once @ plane.T) @ plane, x - (x @ plane.T) @ plane, 1e-3)
    # The angle is absolute: turning to it again changes nothing.
    assert close(edit(once), once, 1e-3)


def test_turning_back_to_a_vectors_own_angle_is_the_identity():
    d, second, x = direction(16), vector(16, 7), stream(16)[0, 0]
    there = Rotate(d, second, 200.0)
    b1, b2 = there.plane
    own_angle = math.degrees(math.atan2(float(x @ b2), float(x @ b1)))
    assert close(Rotate(d, second, own_angle)(there(x)), x, 1e-4)
    assert not close(there(x), x, 0.1)


def test_adaptive_rotation_leaves_what_points_away():
    d, second, x = direction(16), vector(16, 7), stream(16, rows=40)
    plain = Rotate(d, second, 120.0)(x)
    adaptive = Rotate(d, second, 120.0, adaptive=True)(x)
    towards = (x @ d.vector) > 0
    assert torch.equal(adaptive[~towards], x[~towards])
    assert torch.equal(adaptive[towards], plain[towards])
    assert 0 < int(towards.sum()) < towards.numel()
    assert (plain[~towards] - x[~towards]).abs().max() > 1.0


def test_ninety_degrees_is_not_ablation():
    d, second, x = direction(16), vector(16, 7), stream(16)
    turned = Rotate(d, second, 90.0)(x)
    assert (turned @ d.vector).abs().max() < 1e-4
    assert (turned - Ablate(d)(x)).abs().max() > 0.1


def test_rotation_needs_a_plane():
    d = direction(8)
    for second in (d.vector * 5, torch.zeros(8)):
        with pytest.raises(InputError, match="spans no plane"):
            Rotate(d, second, 10.0)
    with pytest.raises(InputError, match="not a finite angle"):
        Rotate(d, vector(8, 3), math.nan)
    assert not Rotate(d, vector(8, 3), 10.0).repeatable


# --- LEACE ------------------------------------------------------------------------------------


def labelled(seed, d_model=12, n=200):
    """Correlated residuals whose two classes differ along one direction."""
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(d_model, d_model, generator=random)
    refuse = torch.arange(n) % 3 == 0
    gap = 2.0 * torch.randn(d_model, generator=random)
    x = torch.randn(n, d_model, generator=random) @ mix + refuse[:, None] * gap + 5.0
    return x, refuse


@few
@given(seeds, st.sampled_from(["leace", "orth"]))
def test_leace_makes_the_class_means_equal(seed, method):
    x, refuse = labelled(seed)
    edit = Leace.fit(x, refuse, name="red", at=(Site(1),), method=method)
    once = edit(x)
    gap = once[refuse].mean(0) - once[~refuse].mean(0)
    before = x[refuse].mean(0) - x[~refuse].mean(0)
    assert before.norm() > 0.5
    # The two means are of numbers of order 10 in float32: 1e-6 of them and of the factors' size.
    assert gap.norm() < 2e-4
    assert close(edit(once), once, 1e-3)
    assert close(once.mean(0), x.mean(0), 1e-3)  # the mean of all stays
    eraser = LeaceEraser.fit(x.double(), refuse.double(), method=method)
    assert close(once, eraser(x.double()).float(), 1e-4)


def test_leace_leaves_a_linear_probe_at_chance():
    x, refuse = labelled(0, n=600)
    edit = Leace.fit(x, refuse, name="red", at=(Site(1),))

    def accuracy(resid):
        probe = LogisticRegression(max_iter=2000).fit(resid.numpy(), refuse.numpy())
        return probe.score(resid.numpy(), refuse.numpy())

    majority = 1 - float(refuse.float().mean())
    assert accuracy(x) > majority + 0.1
    assert accuracy(edit(x)) == pytest.approx(majority, abs=0.02)
    # Of the two methods LEACE changes the residuals less, measured in the whitened space.
    whiten = torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.double().T)))
    orth = Leace.fit(x, refuse, name="red", at=(Site(1),), method="orth")
    changed = [float(((e(x) - x).double() @ whiten.T).norm()) for e in (edit, orth)]
    assert changed[0] < changed[1]


def test_leace_takes_away_the_difference_of_means():
    """A binary label: what is removed is one direction, that of the difference of means."""
    x, refuse = labelled(1)
    edit = Leace.fit(x, refuse, name="red", at=(Site(1),))
    difference = x[refuse].mean(0) - x[~refuse].mean(0)
    assert edit.left.shape == (12, 1)
    cosine = torch.cosine_similarity(edit.left[:, 0], difference, dim=0)
    assert abs(float(cosine)) == pytest.approx(1.0, abs=1e-5)
    orth = Leace.fit(x, refuse, name="red", at=(Site(1),), method="orth")
    r = difference / difference.norm()
    centred = x - x.mean(0)
    assert close(orth(x), x - (centred @ r)[:, None] * r, 1e-3)


def test_leace_refuses_what_it_cannot_fit():
    x, refuse = labelled(2)
    at = (Site(1),)
    with pytest.raises(InputError, match=r"\(0, 200\) prompts per side"):
        Leace.fit(x, torch.zeros(200, dtype=torch.bool), name="red", at=at)
    with pytest.raises(InputError, match="not finite"):
        Leace.fit(x * math.nan, refuse, name="red", at=at)
    mirrored = torch.cat([x, x])
    labels = torch.cat([torch.ones(200), torch.zeros(200)]).bool()
    with pytest.raises(InputError, match="next to no linear trace"):
        Leace.fit(mirrored, labels, name="red", at=at)


# --- composition ------------------------------------------------------------------------------


def test_plus_makes_one_ordered_list():
    a, b, c = (Add(direction(8, i), alpha=float(i)) for i in range(3))
    both = (a + b) + c
    assert isinstance(both, Composite)
    assert both.edits == (a + (b + c)).edits == (a, b, c)
    assert [p.edit for p in both.parts()] == [a, b, c]
    assert repr(both) == f"{a!r} + {b!r} + {c!r}"
    with pytest.raises(InputError, match="no edits does nothing"):
        Composite(())


def test_restrictions_reach_every_part_and_add_up():
    a, b = Add(direction(8, 0), alpha=1.0), Ablate(direction(8, 1))
    parts = Only(Only(a + b, "prompt"), "all", (-1, -2)).parts()
    assert [(p.phase, p.offsets) for p in parts] == [("prompt", (-1, -2))] * 2
    (narrow,) = Only(Only(a, "all", (-1, -2, -3)), "prompt", (-2, -9)).parts()
    assert (narrow.phase, narrow.offsets) == ("prompt", (-2,))
    condition = Cosine(direction(8), "above", 0.5)
    (inner,) = When(condition, PerRow((None, a))).parts()
    assert inner.conditions == (condition,) and inner.rows == frozenset({1})
    assert "in phase 'prompt' at offsets [-1]" in repr(Only(a, "prompt", (-1,)))
    assert "above 0.5" in repr(When(condition, a)) and repr(a) in repr(When(condition, a))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda a: spoil(Only(a, "all"), phase="answer"), "phase 'answer' is unknown"),
        (lambda a: Only(a, "prompt", (0,)), "offset 0 must be negative"),
        (lambda a: Only(a, "generated", (-1,)), "name prompt tokens"),
        (lambda a: Only(Only(a, "generated"), "prompt"), "would never act"),
        (lambda a: Only(Only(a, "prompt", (-1,)), "prompt", (-2,)), "restricted to no offset"),
        (lambda a: PerRow(()), "PerRow of no edits"),
    ],
)
def test_restrictions_that_leave_nothing_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make(Add(direction(8), alpha=1.0))


# --- conditions -------------------------------------------------------------------------------


@few
@given(widths, seeds, st.floats(-0.9, 0.9))
def test_a_cosine_is_on_one_side_or_the_other(d_model, seed, threshold):
    d, x = direction(d_model, seed), stream(d_model, seed + 1)[0]
    above, below = (Cosine(d, side, threshold) for side in ("above", "below"))
    cosine = torch.cosine_similarity(x, d.vector[None], dim=-1)
    assume(float((cosine - threshold).abs().min()) > 1e-4)
    assert torch.equal(above.holds(x), cosine > threshold)
    assert torch.equal(below.holds(x), ~above.holds(x))
    # A cosine doesn't see the length; its sign is seen.
    assert torch.equal(above.holds(100 * x), above.holds(x))
    assert torch.equal(above.values(-x), -above.values(x))


def test_at_the_threshold_and_without_a_value_nothing_holds():
    x = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 5.0]])
    weight = torch.tensor([1.0, 0.0])
    above, below = (Probe("p", weight, -1.0, Site(0), s, 1.0) for s in ("above", "below"))
    assert above.holds(x).tolist() == [False, True, False]
    assert below.holds(x).tolist() == [True, False, False]
    for side in ("above", "below"):
        assert not Cosine(direction(8), side, 0.0).holds(torch.zeros(2, 8)).any()


def test_texts_tell_vectors_apart():
    d, one, two = direction(8), vector(8, 1), vector(8, 2)
    for make in (
        lambda v: Rotate(d, v, 10.0),
        lambda v: Affine(d, 1.0, reference=v),
        lambda v: Probe("p", v, 0.0, Site(1), "above"),
    ):
        assert repr(make(one)) == repr(make(one.clone())) != repr(make(two))


def test_conditions_say_what_they_need():
    d = direction(8)
    with pytest.raises(InputError, match="holds_if 'larger' is unknown"):
        spoil(Cosine(d, "above", 0.1), holds_if="larger")
    with pytest.raises(InputError, match="is no cosine"):
        Cosine(d, "above", 2.0)
    with pytest.raises(InputError, match="not a finite number"):
        Probe("p", torch.ones(8), 0.0, Site(1), "above", math.nan)
    with pytest.raises(InputError, match="not finite"):
        Probe("p", torch.ones(8) * math.inf, 0.0, Site(1), "above")
    with pytest.raises(InputError, match="offset 0 must be negative"):
        Probe("p", torch.ones(8), 0.0, Site(1), "above", token=0)
    assert Cosine(d, "below", 0.1).site == d.site
    assert Cosine(d, "below", 0.1, at=Site(2)).site == Site(2)


# --- precision --------------------------------------------------------------------------------

# The largest error of an edited number, in a stream of SmolLM2's width whose norm is about 180 and
# whose coordinate along r is 39, against the same map in float64 on the same rounded input. Over
# 400 rows and three seeds, on a CPU, the largest was 3.5e-6 in float32, .16 in bfloat16 and .028 in
# float16. Rounding a number between 32 and 64 once is half a unit in its last place: 1.9e-6, .125
# and .0156; "sequential" rounds twice.
ERROR = {torch.float32: 1e-5, torch.bfloat16: 0.3, torch.float16: 0.05}


def precise_edits(seed):
    d, other = direction(576, seed, scale=20.0, low=-3.0), direction(576, seed + 50)
    x = 7.5 * torch.randn(400, 576, generator=torch.Generator().manual_seed(seed + 1))
    x = x + (39.0 - x @ d.vector)[:, None] * d.vector
    refuse = torch.arange(400) % 2 == 0
    leace = Leace.fit(x + refuse[:, None] * d.vector * 20, refuse, name="red", at=(Site(1),))
    edits: dict[str, Edit] = {
        "add": Add(d, strength=1.0),
        "clamp": Clamp(d, "high"),
        "affine": Affine(d, -1.0),
        "span": AblateSubspace((d, other)),
        "sequential": AblateSubspace((d, other), "sequential"),
        "rotate": Rotate(d, other.vector, 100.0),
        "leace": leace,
    }
    return edits, x


@pytest.mark.parametrize("dtype", ERROR, ids=str)
def test_precision_of_each_edit(dtype):
    errors = {}
    for seed in range(3):
        edits, x = precise_edits(seed)
        for name, edit in edits.items():
            rounded = x.to(dtype)
            out = edit(rounded)
            assert out.dtype == dtype
            error = float((out.double() - edit(rounded.double())).abs().max())
            errors[name] = max(errors.get(name, 0.0), error)
    assert max(errors.values()) <= ERROR[dtype], errors
    assert max(errors.values()) > ERROR[dtype] / 20, errors
