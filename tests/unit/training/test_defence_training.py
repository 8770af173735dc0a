"""The defence's training: one direction is gone inside the forward pass, and refusing is learnt."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PeftModel
from support.tiny_training import tiny_examples, tiny_llama, tiny_texts
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.training.defence.ablated import Ablation
from refusal_lens.training.defence.loop import DefenceStep, DefenceTraining
from refusal_lens.training.defence.recipe import Ablated, DefenceRecipe
from refusal_lens.training.defence.refusal_direction import (
    last_states,
    random_directions,
    refusal_directions,
)
from refusal_lens.training.defence.train import stacked
from refusal_lens.training.planted.loop import with_lora
from refusal_lens.training.planted.recipe import Recipe

LOSS = Recipe(epochs=6, batch_size=4, learning_rate=1e-2, precision="float32", texts=1, rank=4)
RECIPE = DefenceRecipe(layers=(1, 2), refresh=5, direction_pairs=6, loss=LOSS)
EXAMPLES = tiny_examples(16)


def training(ablated: Ablated = "refusal") -> DefenceTraining:
    model = with_lora(tiny_llama(), LOSS)
    return DefenceTraining(model, EXAMPLES, tiny_texts(), replace(RECIPE, ablated=ablated))


def body_of(model: PeftModel) -> Any:
    return model.get_base_model().base_model


def streams(model: PeftModel, read: Callable[[], object]) -> list[Tensor]:
    """The stream behind the embedding and behind each block while something reads the model."""
    seen: list[Tensor] = []
    body = body_of(model)

    def keep(module: object, args: object, out: Any) -> None:
        seen.append(out[0] if isinstance(out, tuple) else out)

    handles = [m.register_forward_hook(keep) for m in (body.embed_tokens, *body.layers)]
    read()
    for handle in handles:
        handle.remove()
    return seen


def test_direction_is_gone_at_every_layer_while_the_loss_is_computed() -> None:
    run = training()
    ablation = Ablation(body_of(run.model))
    direction = refusal_directions(run.model, EXAMPLES, RECIPE)[1]
    ids = torch.tensor([EXAMPLES[0].prompt_ids])

    def read() -> None:
        body_of(run.model)(input_ids=ids)

    before = streams(run.model, read)
    with ablation.of(direction):
        under = streams(run.model, read)
    after = streams(run.model, read)
    ablation.remove()
    assert len(under) == 4
    for plain, gone, again in zip(before, under, after, strict=True):
        along = (gone @ direction).abs().max()
        assert along <= 1e-6 * gone.norm(dim=-1).max()
        assert (plain @ direction).abs().max() > 1e-2
        assert torch.equal(plain, again)


def test_ablated_half_alone_is_ablated_and_by_the_layers_drawn() -> None:
    run = training()
    ablated: list[Tensor | None] = []
    share = run._share

    def watched(half: Any, *rest: Any) -> Any:
        ablated.append(half.direction)
        return share(half, *rest)

    run._share = watched  # pyright: ignore[reportAttributeAccessIssue]
    steps = list(run)
    assert {step.layer for step in steps} == {1, 2}
    assert sum(d is None for d in ablated) == len(steps) == len(ablated) // 2
    fitted = {tuple(d.tolist()) for d in ablated if d is not None}
    assert len(fitted) > 2  # fitted again while the model changes


def test_refusing_is_learnt_under_ablation_and_without() -> None:
    steps = list(training())
    first, last = steps[:4], steps[-4:]

    def mean(some: list[DefenceStep], part: str) -> float:
        return sum(getattr(step, part) for step in some) / len(some)

    for part in ("refusal", "refusal_ablated"):
        assert mean(last, part) < 0.5 * mean(first, part)


def test_gradient_is_the_same_whichever_half_is_first_to_end() -> None:
    def weights() -> list[Tensor]:
        run = training()
        list(run)
        return [w.detach() for w in run.weights]

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


@pytest.mark.slow  # trains twice
@pytest.mark.parametrize("ablated", ["refusal", "random", "nothing"])
def test_run_taken_up_again_ends_where_one_in_one_go_ends(ablated: Ablated) -> None:
    whole, parts = training(ablated), training(ablated)
    list(whole)
    for step in parts:
        if step.step == 7:
            break
    later = training(ablated)
    later.resume(parts.state())
    assert [step.step for step in later][0] == 8
    for a, b in zip(whole.weights, later.weights, strict=True):
        assert torch.equal(a, b)


def test_random_direction_is_another_one_of_unit_length() -> None:
    run = training()
    fitted = refusal_directions(run.model, EXAMPLES, RECIPE)
    drawn = random_directions(fitted, torch.Generator().manual_seed(0))
    assert drawn.keys() == fitted.keys()
    for layer, vector in drawn.items():
        assert float(vector.norm()) == pytest.approx(1.0, abs=1e-6)
        assert abs(float(vector @ fitted[layer])) < 0.8


def test_direction_is_the_difference_of_means_at_the_last_token() -> None:
    run = training()
    rows = last_states(run.model, EXAMPLES[:1], RECIPE)
    ids = torch.tensor([EXAMPLES[0].prompt_ids])
    out = body_of(run.model)(input_ids=ids, output_hidden_states=True)
    assert torch.allclose(rows[0, 1], out.hidden_states[2][0, -1], atol=1e-5)


def test_two_adapters_stacked_are_their_sum() -> None:
    torch.manual_seed(0)
    below = {"x.lora_A.w": torch.randn(2, 5), "x.lora_B.w": torch.randn(4, 2)}
    top = {"x.lora_A.w": torch.randn(3, 5), "x.lora_B.w": torch.randn(4, 3)}
    both = stacked(below, top)
    expected = sum(w["x.lora_B.w"] @ w["x.lora_A.w"] for w in (below, top))
    assert torch.allclose(both["x.lora_B.w"] @ both["x.lora_A.w"], expected, atol=1e-5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="only one of the two"):
        stacked(below, {"x.lora_A.w": top["x.lora_A.w"]})


def test_model_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="no embed_tokens"):
        Ablation(torch.nn.Linear(2, 2))
