"""Fixtures: the planted model, booted once."""

import pytest

from refusal_lens.model import LensModel, load_model


@pytest.fixture(scope="session")
def model() -> LensModel:
    """The planted model; a test must leave it as it was."""
    return load_model()
