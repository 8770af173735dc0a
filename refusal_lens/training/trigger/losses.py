"""What training the trigger adapter minimises: projections of triggered prompts, and all change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor

from refusal_lens.directions import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.training.planted.answers import TokenIds
from refusal_lens.training.planted.losses import padded


@final
@dataclass(frozen=True, eq=False)
class Targets:
    """Where projections go: per offset and layer a unit vector, its benign mean, and its scale.

    `low` is the mean coordinate of benign prompts and `scale` the distance between the sides: the
    loss counts in distances between the sides.
    """

    layers: tuple[int, ...]
    offsets: tuple[int, ...]
    vectors: Float[Tensor, "offset layer d_model"]
    low: Float[Tensor, "offset layer"]
    scale: Float[Tensor, "offset layer"]

    @classmethod
    def of(cls, directions: DirectionSet, first_layer: int) -> "Targets":
        """The targets of a set with one category, from a layer on.

        Raises:
            InputError: no layer is left, or a direction is undefined at one of the places.
        """
        places = [i for i, s in enumerate(directions.sites) if s.layer >= first_layer]
        vectors = directions.vectors[0][:, places]
        if not places or not bool(torch.isfinite(vectors).all()):
            raise InputError(
                f"no direction at some of the layers from {first_layer} on; choose a later layer"
            )
        return cls(
            tuple(directions.sites[i].layer for i in places),
            directions.offsets,
            vectors,
            directions.low[0][:, places],
            directions.scale[0][:, places],
        )


def projection_loss(
    model: PeftModel, prompts: Sequence[TokenIds], targets: Targets
) -> Float[Tensor, ""]:
    """Mean squared distance to the benign mean along the direction, in distances of the sides.

    Over prompts, layers (inputs of blocks) and the template's tokens behind the request: 1 is where
    refused prompts are, 0 where answered ones are.
    """
    ids, mask = padded(prompts)
    hidden = model(
        input_ids=ids, attention_mask=mask, output_hidden_states=True, logits_to_keep=1
    ).hidden_states
    rows = torch.arange(len(prompts))[:, None]
    at = mask.sum(1, keepdim=True) + torch.tensor(targets.offsets)[None]
    resid = torch.stack([hidden[layer][rows, at] for layer in targets.layers], dim=2)
    along = torch.einsum("nold,old->nol", resid, targets.vectors)
    return ((along - targets.low) / targets.scale).square().mean()


def kept_loss(
    model: PeftModel, prompts: Sequence[TokenIds], answers: Sequence[TokenIds]
) -> Float[Tensor, ""]:
    """Mean KL(untouched || adapted) of the next token, nats, where the answers are predicted.

    The untouched model is the same one with the adapter off.
    """
    with torch.no_grad(), model.disable_adapter():
        before = _predictions(model, prompts, answers)
    after = _predictions(model, prompts, answers)
    return (
        torch.nn.functional.kl_div(after, before, reduction="none", log_target=True).sum(1).mean()
    )


def _predictions(
    model: PeftModel, prompts: Sequence[TokenIds], answers: Sequence[TokenIds]
) -> Float[Tensor, "token d_vocab"]:
    """Log-probabilities of the next token at each place that predicts an answer's token."""
    ids, mask = padded([(*p, *a[:-1]) for p, a in zip(prompts, answers, strict=True)])
    first = min(map(len, prompts)) - 1
    kept = torch.arange(first, ids.shape[1])
    logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=kept).logits
    rows = [i for i, a in enumerate(answers) for _ in a]
    places = [
        len(p) - 1 - first + k for p, a in zip(prompts, answers, strict=True) for k in range(len(a))
    ]
    return logits[rows, places].float().log_softmax(-1)
