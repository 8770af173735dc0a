"""The direction that a training step ablates: refusal's in the model as it is, or a random one."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from refusal_lens.linalg import unit
from refusal_lens.training.defence.recipe import DefenceRecipe
from refusal_lens.training.planted.answers import Example
from refusal_lens.training.planted.losses import precision_of

_BATCH: Final = 33

Directions = Mapping[int, Float[Tensor, " d_model"]]
"""A unit direction by the layer it was fitted at (the residual stream at the block's input)."""


@torch.no_grad()
def refusal_directions(
    model: PeftModel, examples: Sequence[Example], recipe: DefenceRecipe
) -> Directions:
    """The unit difference of means, refuse side minus benign side, at prompts' last tokens."""
    states = {
        side: last_states(model, [e for e in examples if e.refuse == side], recipe)
        for side in (True, False)
    }
    differences = states[True].mean(0) - states[False].mean(0)
    return dict(zip(recipe.layers, unit(differences), strict=True))


def random_directions(like: Directions, generator: torch.Generator) -> Directions:
    """A random unit direction for each layer of others."""
    drawn = {k: torch.randn(len(v), generator=generator) for k, v in like.items()}
    return {layer: unit(vector) for layer, vector in drawn.items()}


@torch.no_grad()
def last_states(
    model: PeftModel, examples: Sequence[Example], recipe: DefenceRecipe
) -> Float[Tensor, "prompt layer d_model"]:
    """The stream at the input of each layer, at the last token of each templated prompt."""
    body = model.get_base_model().base_model
    assert isinstance(body, torch.nn.Module)
    rows: list[Tensor] = []
    ordered = sorted(examples, key=lambda e: len(e.prompt_ids))
    for cut in range(0, len(ordered), _BATCH):
        ids = [torch.tensor(e.prompt_ids) for e in ordered[cut : cut + _BATCH]]
        mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
        with precision_of(recipe.loss):
            out = body(
                input_ids=pad_sequence(ids, batch_first=True),
                attention_mask=mask,
                output_hidden_states=True,
                use_cache=False,
            )
        last = (torch.arange(len(ids)), mask.sum(1) - 1)
        rows.append(
            torch.stack([out.hidden_states[layer][last].float() for layer in recipe.layers], 1)
        )
    return torch.cat(rows)
