"""Fixtures: models of every kind of block."""

from collections.abc import Callable

import pytest
from support.tiny_models import GATED, PLAIN, implementations

from refusal_lens.model import LensModel

OTHERS = () if "hooked_transformer" in implementations() else GATED
"""Kinds of block that the newest TransformerLens knows."""


@pytest.fixture(scope="session", params=PLAIN, ids="-".join)
def tiny(request: pytest.FixtureRequest, load_tiny: Callable[..., LensModel]) -> LensModel:
    """A `LensModel` on each architecture and implementation."""
    return load_tiny(*request.param)


@pytest.fixture(
    scope="session",
    params=[*PLAIN, *(pytest.param((name, "bridge"), marks=pytest.mark.slow) for name in OTHERS)],
    ids="-".join,
)
def blocks(request: pytest.FixtureRequest, load_tiny: Callable[..., LensModel]) -> LensModel:
    """A `LensModel` on each architecture and implementation, and on other kinds of block."""
    return load_tiny(*request.param)
