"""Push, orthogonal shift and connectivity: known shifts, Pythagoras, and what leaves them alone."""

import pytest
import torch
from support.paired_residuals import PROVENANCE

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site
from refusal_lens.suffixes.shift import shift_along, suffix_shift

WIDTH = 6


@pytest.fixture
def stream():
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(4, 5, WIDTH, generator=generator, dtype=torch.float64)
    v = torch.randn(WIDTH, generator=generator, dtype=torch.float64)
    return drawn[0], drawn[1:], v / v.norm(), torch.zeros(WIDTH)


def orthogonal_to(v, seed=0):
    w = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return w - (w @ v) * v


def test_an_orthogonal_suffix_pushes_nothing_and_shifts_by_its_length(stream):
    a, _, v, centre = stream
    w = orthogonal_to(v)
    shift = shift_along(v, a, a + w, centre)
    assert shift.push.abs().max() < 1e-12
    assert torch.allclose(shift.orthogonal, w.norm().expand(5))
    assert torch.allclose(shift.efficiency, torch.zeros(5, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("length", [2.5, -1.5])
def test_a_suffix_along_the_direction_pushes_by_its_length_and_shifts_nothing(stream, length):
    a, _, v, centre = stream
    shift = shift_along(v, a, a - length * v, centre)
    assert torch.allclose(shift.push, torch.full((5,), length, dtype=torch.float64))
    assert shift.orthogonal.max() < 1e-12
    assert torch.allclose(shift.length, torch.full((5,), abs(length), dtype=torch.float64))


def test_along_the_direction_there_is_no_efficiency_but_rounding(stream):
    """Directions are stored in float32, which alone leaves a part that seems orthogonal."""
    a, _, v, centre = stream
    stored = v.float()
    shift = shift_along(stored, a, a - 3.0 * v, centre)
    assert float(shift.orthogonal.max()) > 0 and shift.efficiency.isnan().all()
    assert shift_along(stored, a, a, centre).efficiency.isnan().all()
    little = shift_along(stored, a, a - 3.0 * v + 1e-4 * orthogonal_to(v), centre)
    assert torch.allclose(little.efficiency * little.orthogonal, little.push)


def test_pythagoras_and_the_axes_of_several_suffixes(stream):
    a, b, v, centre = stream
    shift = shift_along(v, a, b, centre)
    assert shift.push.shape == shift.orthogonal.shape == (3, 5)
    assert shift.connectivity.shape == (5,)
    assert torch.allclose(shift.push**2 + shift.orthogonal**2, (b - a).square().sum(-1))
    assert torch.allclose(shift.efficiency * shift.orthogonal, shift.push)


def test_what_is_added_to_both_orthogonally_changes_nothing(stream):
    a, b, v, centre = stream
    w = orthogonal_to(v, 1)
    before, after = (shift_along(v, x, y, centre) for x, y in ((a, b), (a + w, b + w)))
    for name in ("connectivity", "push", "orthogonal"):
        assert torch.allclose(getattr(before, name), getattr(after, name)), name
    assert not torch.allclose(before.cosine, after.cosine)
    only_b = shift_along(v, a, b + w, centre)
    assert torch.allclose(only_b.push, before.push)
    assert not torch.allclose(only_b.orthogonal, before.orthogonal)


def test_the_cosine_is_centred_and_the_coordinate_is_not(stream):
    a, b, v, _ = stream
    far = 100 * orthogonal_to(v, 2)
    plain = shift_along(v, a, b, torch.zeros(WIDTH))
    moved = shift_along(v, a + far, b + far, far)
    assert torch.allclose(moved.cosine, plain.cosine) and torch.allclose(moved.push, plain.push)
    uncentred = shift_along(v, a + far, b + far, torch.zeros(WIDTH))
    assert uncentred.cosine.abs().max() < 0.2 < plain.cosine.abs().max()


def residuals(tensor):
    ids = tuple(f"p{i}" for i in range(len(tensor)))
    return Residuals(tensor, ids, (Site(1), Site(2)), (-1,), PROVENANCE)


def direction(layer=2, offset=-1):
    vector = torch.zeros(WIDTH)
    vector[0] = 1.0
    return Direction("red", Site(layer), offset, vector, 2.0, -1.0, 1.0, PROVENANCE)


def test_residuals_are_read_at_the_place_of_the_direction():
    plain = torch.zeros(3, 1, 2, WIDTH)
    pushed = plain.clone()
    pushed[:, 0, 1, 0], pushed[:, 0, 1, 1], pushed[:, 0, 0] = -4.0, 3.0, 9.0
    shift = suffix_shift(residuals(plain + 1.0), residuals(pushed + 1.0), direction())
    assert shift.push.tolist() == [4.0] * 3 and shift.orthogonal.tolist() == [3.0] * 3
    assert shift.connectivity.tolist() == [1.0] * 3


def test_other_prompts_or_another_place_are_refused():
    some = torch.zeros(3, 1, 2, WIDTH)
    with pytest.raises(InputError, match="3 prompts without and 2 with a suffix"):
        suffix_shift(residuals(some), residuals(some[:2]), direction())
    with pytest.raises(InputError, match=r"resid_pre\[3\]"):
        suffix_shift(residuals(some), residuals(some), direction(layer=3))
