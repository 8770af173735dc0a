"""Stream vectors read out as logits, in either of TransformerLens' model classes."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def read_out(
    lens: Any, resid: Float[Tensor, "*batch pos d_model"]
) -> Float[Tensor, "*batch pos d_vocab"]:
    """Final norm, unembedding and soft cap of a TransformerLens model.

    >>> import torch
    >>> read_out(model.backend.model, torch.ones(1, 2, model.d_model)).shape
    torch.Size([1, 2, 300])
    """
    logits = lens.unembed(lens.ln_final(resid))
    cap = getattr(lens.cfg, "output_logits_soft_cap", None) or 0.0
    return cap * torch.tanh(logits / cap) if cap > 0 else logits
