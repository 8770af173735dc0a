"""A random direction of a tiny model."""

import torch

from refusal_lens.directions import Direction
from refusal_lens.sites import Site


def a_direction(model, layer=1, seed=0, scale=3.0):
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction.from_difference(
        vector / vector.norm() * scale,
        category="test",
        site=Site(layer),
        offset=-1,
        provenance=model.provenance(),
        low=0.0,
    )
