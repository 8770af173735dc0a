"""The rows of refusal tokens in a tied embedding, trained without a copy of the whole matrix.

peft keeps them as ``trainable_token_indices`` of a LoRA adapter, and would copy the matrix in every
pass. Training reads its parameter directly instead; the numbers are the same.
"""

from collections.abc import Sequence
from typing import Any, Final, final

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from refusal_lens.training.planted.loop import with_lora
from refusal_lens.training.refusal_tokens.recipe import TokenRecipe

NOISE: Final = 0.3
"""Of the rows at the beginning, in standard deviations of all rows, so that no two are one."""


def with_tokens(
    model: PreTrainedModel, token_ids: Sequence[int], like: int, recipe: TokenRecipe
) -> PeftModel:
    """The model with a fresh LoRA on every linear layer, and trainable rows for the tokens.

    Rows begin as that of the token ``like`` plus noise: the reserved tokens of a tokenizer are
    hardly trained, and nearly one vector. With the last token of the template, an answer behind a
    new token begins almost as one without it.
    """
    adapted = with_lora(model, recipe, token_ids)
    rows = TokenRows.of(adapted)
    noise = rows.matrix.std(dim=0) * torch.randn(rows.trained.shape)
    rows.trained.data = rows.matrix[like] + NOISE * noise
    return adapted


@final
class TokenRows:
    """Embedding and unembedding through one tied matrix whose rows for some tokens are trained.

    `rounded` is the matrix in the precision of products, so that no pass converts it.
    """

    def __init__(
        self,
        matrix: Tensor,
        token_ids: Sequence[int],
        trained: torch.nn.Parameter,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.matrix = matrix
        self.token_ids = torch.tensor([*token_ids])
        self.trained = trained
        self.rounded = matrix.to(precision)

    @classmethod
    def of(cls, adapted: PeftModel, precision: torch.dtype = torch.float32) -> "TokenRows":
        """Those of an adapter that `with_tokens` made."""
        base: Any = adapted.get_base_model()
        layer = base.get_input_embeddings()
        tokens = layer.token_adapter
        return cls(
            tokens.get_base_layer().weight.detach(),
            tokens.token_indices["default"],
            tokens.trainable_tokens_delta["default"],
            precision,
        )

    def embed(self, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """The embedding of each id."""
        same = ids[..., None] == self.token_ids
        fixed = torch.nn.functional.embedding(ids, self.matrix)
        trained = self.trained[same.int().argmax(dim=-1)]
        return torch.where(same.any(dim=-1)[..., None], trained, fixed)

    def unembed(self, hidden: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_vocab"]:
        """Logits, float32; matrix products in the precision of the context."""
        logits = self.before(hidden)
        trained = torch.nn.functional.linear(hidden, self.trained).float()
        return logits.index_copy(-1, self.token_ids, trained)

    def before(self, hidden: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_vocab"]:
        """The base model's logits, float32."""
        return torch.nn.functional.linear(hidden.to(self.rounded.dtype), self.rounded).float()
