"""A direction of another model or template brings a warning that names both."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import refusal_lens as rl
from refusal_lens.attribution import decompose, token_map
from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.folders import written_name
from refusal_lens.model import LensModel, load_model
from refusal_lens.prompts import Prompt


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> LensModel:
    return load_model(str(tiny_folders["llama"]))


@pytest.fixture(scope="module")
def own_directions(model: LensModel) -> DirectionSet:
    rows = [
        Prompt(f"{label}{i}", f"Some {label} text {i * 7}", "topic", label, "train", "t", f"p{i}")
        for i in range(3)
        for label in ("refuse", "comply")
    ]
    return rl.fit_mean_difference(model.residual_stats(rl.PromptSet(tuple(rows))))


@pytest.fixture
def transfer_warnings() -> Iterator[list[str]]:
    """The warnings of a test, as they come."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        texts: list[str] = []
        yield texts
        texts += [str(w.message) for w in caught if w.category is rl.TransferWarning]


def fitted_elsewhere(own_directions: DirectionSet, **changed: str) -> Direction:
    d = own_directions.at("topic", 2)
    return replace(d, provenance=replace(d.provenance, **changed))


def used(model: LensModel, edit: rl.Ablate | rl.When, **allowed: bool) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with model.editing(edit, **allowed):
            pass
    return [str(w.message) for w in caught if w.category is rl.TransferWarning]


def test_its_own_directions_pass(model: LensModel, own_directions: DirectionSet) -> None:
    assert used(model, rl.Ablate(own_directions.at("topic", 2))) == []


def test_another_models_direction_is_named(model: LensModel, own_directions: DirectionSet) -> None:
    foreign = fitted_elsewhere(own_directions, model="tuned", model_digest="ab" * 32)
    (line,) = used(model, rl.Ablate(foreign))
    assert "tuned" in line and written_name(model.name) in line
    assert "abababab" in line and model.digest[:12] in line
    assert used(model, rl.Ablate(foreign), transfer=True) == []
    with rl.allow_transfer():
        assert used(model, rl.Ablate(foreign)) == []
    assert len(used(model, rl.Ablate(foreign))) == 1


def test_another_template_is_named(model: LensModel, own_directions: DirectionSet) -> None:
    foreign = fitted_elsewhere(own_directions, template_digest="other", rendered_prefix="[INST] ")
    (line,) = used(model, rl.Ablate(foreign))
    assert "[INST] " in line


def test_conditions_and_composites_count(model: LensModel, own_directions: DirectionSet) -> None:
    foreign = fitted_elsewhere(own_directions, model="tuned", model_digest="ab" * 32)
    mine = own_directions.at("topic", 2)
    reads = rl.When(rl.Cosine(foreign, "above", 0.1), rl.Ablate(mine))
    assert len(used(model, reads)) == 1
    assert len(used(model, rl.Ablate(mine) + rl.AblateSubspace((foreign,)))) == 1


def test_attribution_and_token_maps_warn_too(
    model: LensModel, own_directions: DirectionSet
) -> None:
    elsewhere = replace(own_directions.provenance, model="tuned", model_digest="ab" * 32)
    foreign = replace(own_directions, provenance=elsewhere)
    with pytest.warns(rl.TransferWarning, match="tuned"):
        decompose(
            model,
            rl.PromptSet((Prompt("a", "Hi", "x", "refuse", "s", "t"),)),
            [foreign.at("topic", 2)],
        )
    with pytest.warns(rl.TransferWarning, match="tuned"):
        token_map(model, "Hello", foreign, "topic")
