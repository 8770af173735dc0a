"""Stream vectors behind the final norm, and read out as logits."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def read_out(
    lens: Any, resid: Float[Tensor, "*batch pos d_model"]
) -> Float[Tensor, "*batch pos d_vocab"]:
    """Final norm, unembedding and soft cap of a TransformerLens model of either class.

    >>> import torch
    >>> read_out(model.backend.model, torch.ones(1, 2, model.d_model)).shape
    torch.Size([1, 2, 300])
    """
    logits = lens.unembed(lens.ln_final(resid))
    cap = getattr(lens.cfg, "output_logits_soft_cap", None) or 0.0
    return cap * torch.tanh(logits / cap) if cap > 0 else logits


@torch.inference_mode()
def final_norm(
    model: Any, resid: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """The residual stream after the norm before the unembedding, float32 on the CPU.

    >>> import torch
    >>> model.final_norm(torch.ones(2, model.d_model)).shape
    torch.Size([2, 32])
    """
    moved = resid.to(model.backend.device, model.backend.dtype)
    return model.backend.final_norm(moved).float().cpu()
