"""Where edits put the coordinate, whatever the estimator and the precision; what they refuse."""

import math
from dataclasses import replace

import pytest
import torch

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions import Affine, Clamp, Leace, Rotate
from refusal_lens.records import Provenance
from refusal_lens.sites import Site

PROVENANCE = Provenance("tiny", "", "", "prefix", "prompts", "float32", "cpu")


def direction(low=-1.0, scale=3.0):
    vector = torch.randn(8, generator=torch.Generator().manual_seed(0))
    return Direction.from_difference(
        scale * vector / vector.norm(),
        category="a",
        site=Site(1),
        offset=-1,
        provenance=PROVENANCE,
        low=low,
    )


def test_affine_reaches_the_sides_where_the_scale_is_not_their_distance():
    """As of a cluster's direction, which is longer than the class means are apart."""
    d = replace(direction(), high=0.5)
    assert [Affine(d, strength=s).added for s in (0.0, 1.0, -1.0)] == pytest.approx(
        [-1.0, 0.5, -2.5]
    )
    assert Affine(d, 1.0).added == Clamp(d, "high").added
    origin = Affine(d, 1.0, reference=torch.zeros(8))
    assert origin.added == pytest.approx(1.5)


def test_affine_counts_in_the_scale_where_the_sides_are_not_known():
    assert Affine(direction(low=math.nan), 2.0, reference=torch.zeros(8)).added == pytest.approx(6)


def test_vectors_of_another_width_are_refused():
    d = direction()
    with pytest.raises(InputError, match=r"the second vector of Rotate has shape \[5\]"):
        Rotate(d, torch.ones(5), degrees=90.0)
    with pytest.raises(InputError, match=r"the reference mean of Affine has shape \[5\]"):
        Affine(d, 0.0, reference=torch.ones(5))


def test_clamp_needs_a_word_or_a_number():
    with pytest.raises(InputError, match="Clamp to None: give 'low', 'high' or a number"):
        replace(Clamp(direction(), "low"), to=None)
    assert Clamp(direction(), 2).added == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_leace_erases_the_difference_in_half_precision(dtype):
    """One dimension has a mean far from 0, as a few of every language model's stream have."""
    x = 2 * torch.randn(400, 64, generator=torch.Generator().manual_seed(0))
    refuse = torch.arange(400) < 200
    x[:, 0] += 300.0
    x[refuse, 1] += 3.0
    x = x.to(dtype)
    eraser = Leace.fit(x.float(), refuse, name="a", at=(Site(1),))
    along = eraser.left[:, 0] / eraser.left[:, 0].norm()

    def gap(rows):
        return float((rows.float()[refuse].mean(0) - rows.float()[~refuse].mean(0)) @ along)

    assert eraser(x).dtype == dtype
    assert abs(gap(x)) > 2.0 and abs(gap(eraser(x))) < 0.01 * abs(gap(x))
