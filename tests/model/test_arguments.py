"""One thing where a list is meant, and things of another kind: one line that says what to write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch

import refusal_lens as rl
from refusal_lens.attribution import decompose
from refusal_lens.evaluation import answer_under, compare
from refusal_lens.geometry import (
    fit_contrasts,
    fit_geometry,
    fit_shared_pool,
    fit_structure,
    fit_within_tests,
    separability,
)
from refusal_lens.interventions import Composite
from refusal_lens.model import LensModel, load_model
from refusal_lens.prompts import Prompt
from refusal_lens.records import Provenance
from refusal_lens.selection import measure_separation


@pytest.fixture(autouse=True)
def as_users_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the type checks that only tests have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> LensModel:
    return load_model(str(tiny_folders["llama"]))


def direction(vector: torch.Tensor) -> rl.Direction:
    provenance = Provenance("tiny", "", "", "prefix", "prompts", "float32", "cpu")
    return rl.Direction("topic", rl.Site(1), -1, vector, 1.0, 0.0, 1.0, provenance)


def prompt(key: str, label: Any = "refuse") -> Prompt:
    return Prompt(key, f"text {key}", "topic", label, "train", "test", pair="p")


LONE: dict[str, Callable[[LensModel, rl.Direction], object]] = {
    "prompts of generate": lambda m, d: m.generate("tides?"),
    "prompts of logits": lambda m, d: m.logits("tides?"),
    "prompts of residuals": lambda m, d: m.residuals("tides?"),
    "prompts of answer_log_probs": lambda m, d: m.answer_log_probs("tides?", [(1,)]),
    "a lone Prompt": lambda m, d: m.generate(prompt("a")),  # pyright: ignore
    "a number among prompts": lambda m, d: m.generate(["tides?", 7]),  # pyright: ignore
    "prompts of residual_stats": lambda m, d: m.residual_stats(["tides?"]),  # pyright: ignore
    "prompts of answer_under": lambda m, d: answer_under(m, ["tides?"], []),  # pyright: ignore
    "prompts of decompose": lambda m, d: decompose(m, "tides?", [d]),  # pyright: ignore
    "rows of text_log_probs": lambda m, d: m.text_log_probs([1, 2, 3]),  # pyright: ignore
    "edits in a list": lambda m, d: enter(m, [rl.Ablate(d)]),
    "a direction for an edit": lambda m, d: enter(m, d),
    "edits of compare": lambda m, d: compare(m, "tides?", rl.Ablate(d)),  # pyright: ignore
    "a site by name": lambda m, d: m.residuals(["a?"], sites=["resid_pre[1]"]),  # pyright: ignore
    "a layer for a site": lambda m, d: m.residuals(["a?"], sites=[1]),  # pyright: ignore
    "a lone site": lambda m, d: m.residuals(["a?"], sites=rl.Site(1)),  # pyright: ignore
    "a lone offset": lambda m, d: m.residuals(["a?"], offsets=-1),  # pyright: ignore
    "an offset as a word": lambda m, d: m.residuals(["a?"], offsets="last"),  # pyright: ignore
    "an edit's site by name": lambda m, d: enter(m, rl.Add(d, 1.0, at="resid_pre[1]")),  # pyright: ignore
    "an edit's lone site": lambda m, d: enter(m, rl.Ablate(d, at=rl.Site(1))),  # pyright: ignore
    "a tensor for a direction": lambda m, d: rl.Ablate(d.vector),  # pyright: ignore
    "a category for a direction": lambda m, d: rl.Add("advice", 1.0),  # pyright: ignore
    "a lone direction": lambda m, d: rl.AblateSubspace(d),  # pyright: ignore
    "directions of decompose": lambda m, d: decompose(m, rl.PromptSet((prompt("a"),)), d),  # pyright: ignore
    "directions of a rule": lambda m, d: measure_separation(
        m,
        d,  # pyright: ignore
        rl.PromptSet((prompt("a"),)),
        rl.PromptSet((prompt("a"),)),
    ),
    "a lone edit by row": lambda m, d: rl.PerRow(rl.Ablate(d)),  # pyright: ignore
    "a lone edit of a composite": lambda m, d: Composite(rl.Ablate(d)),  # pyright: ignore
    "a lone offset of Only": lambda m, d: rl.Only(rl.Ablate(d), "prompt", -1),  # pyright: ignore
    "a direction within Only": lambda m, d: rl.Only(d, "prompt"),  # pyright: ignore
    "prompts of a set": lambda m, d: rl.PromptSet(("tides?",)),  # pyright: ignore
    "one prompt of a set": lambda m, d: rl.PromptSet(prompt("a")),  # pyright: ignore
}


def enter(model: LensModel, edit: Any) -> None:
    with model.editing(edit):
        pass


@pytest.mark.parametrize("case", LONE)
def test_a_wrong_kind_is_one_line_that_says_what_to_write(case: str, model: LensModel) -> None:
    with pytest.raises(rl.InputError, match="write ") as caught:
        LONE[case](model, direction(torch.eye(model.d_model)[0]))
    assert "\n" not in str(caught.value)
    assert model.edits_text == "none"


def test_right_kinds_pass(model: LensModel) -> None:
    d = direction(torch.eye(model.d_model)[0])
    plain = model.logits(("tides?", "moons?"))
    assert model.logits([prompt("a")]).shape[0] == 1
    with model.editing(*[rl.Ablate(d)], rl.Add(d, 1.0, at=rl.Site(1))):
        assert not torch.equal(model.logits(["tides?", "moons?"]), plain)


def test_geometry_wants_labelled_prompts(model: LensModel) -> None:
    plain = model.residuals(["text a", "text b"], sites=[rl.Site(1)])
    assert plain.ids == ("1", "2") and plain.provenance.prompts_digest == "none"
    for needs_labels in (
        fit_geometry,
        separability,
        rl.fit_mean_difference,
        lambda r: fit_structure(r, 1),
        lambda r: fit_contrasts(r, {}),
        lambda r: fit_within_tests(r, {}),
        lambda r: fit_shared_pool(r, "red"),
        lambda r: r.only(category="red"),
        lambda r: r.pooled(),
    ):
        with pytest.raises(rl.InputError, match="2 residuals are of plain texts.*from_texts"):
            needs_labels(plain)
