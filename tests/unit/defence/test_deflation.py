"""Directions of fixed residuals, each fitted where those before it are projected out."""

import torch
from support.paired_residuals import PROVENANCE

from refusal_lens.defence import deflate
from refusal_lens.directions import Direction, make_estimator
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

N, WIDTH = 24, 6


def residuals() -> Residuals:
    """Sides that differ along two coordinates, of which one varies ten times the other."""
    prompts = [
        Prompt(f"{label} {i}", "?", "red", label, "train", "made", str(i))
        for i in range(N)
        for label in ("refuse", "comply")
    ]
    tensor = torch.randn(2 * N, WIDTH, generator=torch.Generator().manual_seed(0))
    tensor[:, 0] *= 10.0
    tensor[::2, :2] += 6.0
    kept = PromptSet(tuple(prompts))
    where = {"sites": (Site(1),), "offsets": (-1,), "provenance": PROVENANCE}
    return Residuals.of(tensor[:, None, None], kept, **where)


def fitted(name: str, most: int) -> tuple[Direction, ...]:
    def fit(left: Residuals) -> Direction:
        return make_estimator(name).pooled(left).at_site("pooled", Site(1), -1)

    return deflate(residuals(), most, fit)


def test_the_mean_difference_has_nothing_left_after_one_step():
    assert len(fitted("mean_difference", 3)) == 1


def test_a_filter_leaves_a_difference_that_the_next_one_finds():
    directions = fitted("linear_discriminant", 3)
    assert len(directions) > 1
    vectors = torch.stack([d.vector for d in directions])
    assert torch.allclose(vectors @ vectors.mT, torch.eye(len(vectors)), atol=1e-4)
    plane = vectors[:2, :2]
    assert float(torch.linalg.svdvals(plane).min()) > 0.5  # the two span what the sides differ in
