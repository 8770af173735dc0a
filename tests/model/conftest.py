"""Fixtures: models of every kind of block."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.engines import ENGINES, Tested
from support.tiny_models import GATED, PLAIN, implementations

from refusal_lens.engines import EngineModel
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


@pytest.fixture(params=ENGINES)
def tested(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tested:
    """An engine on the fake of its packages, which is whole again for every test."""
    engine = ENGINES[request.param]
    for name, module in engine.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(engine.fake, "faults", engine.faults())
    monkeypatch.setattr(engine.fake, "opened", [])
    return engine


@pytest.fixture
def opened(
    tested: Tested, tiny_folders: dict[str, Path], load_tiny: Callable[..., LensModel]
) -> Callable[..., tuple[EngineModel, LensModel]]:
    """The same weights on an engine and as a `LensModel`."""

    def both(name: str = "llama", **options: object) -> tuple[EngineModel, LensModel]:
        return tested.load(tiny_folders[name], dtype="float32", **options), load_tiny(name)

    return both
