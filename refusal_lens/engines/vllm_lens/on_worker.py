"""Functions that vllm-lens calls on vLLM's workers, once per hooked layer and forward pass.

They get the tokens of one request in one pass: the whole prompt, a chunk of it, or one new token.
With tensor parallelism every rank calls them, on equal numbers, and what they save is merged by
key: tensors and numbers of one rank take the place of another's, where lists would be joined. They
are sent by reference, so that refusal_lens must be installed wherever a worker runs.
"""

from dataclasses import dataclass
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.engines.acting import acted
from refusal_lens.interventions import Part

KEPT: Final = "stream"


@final
@dataclass(frozen=True)
class KeepStream:
    """Saves the stream of every token, on the CPU. As a pre-hook of layer 0: the embeddings."""

    def __call__(self, ctx: Any, hidden: Float[Tensor, "pos d_model"]) -> None:
        """Append these tokens to those of earlier passes."""
        here = hidden.detach().cpu().clone()
        before = ctx.saved.get(KEPT)
        ctx.saved[KEPT] = here if before is None else torch.cat([before, here])


@final
@dataclass(frozen=True)
class CountTokens:
    """Saves on how many tokens a layer's hooks have run.

    vllm-lens goes on without a word when a hook fails; only what the last hook of a layer has
    counted proves that everything before it acted.
    """

    def __call__(self, ctx: Any, hidden: Float[Tensor, "pos d_model"]) -> None:
        """Add the tokens of this pass."""
        _count(ctx, hidden)


@final
@dataclass(frozen=True, eq=False)
class ActOn:
    """Makes an edit, on the tokens of which its part speaks.

    A hook is not told where in the sequence its tokens are: it counts them. `n_prompt` is the
    length of the templated prompt.
    """

    part: Part
    n_prompt: int

    def __call__(
        self, ctx: Any, hidden: Float[Tensor, "pos d_model"]
    ) -> Float[Tensor, "pos d_model"]:
        """The edited stream; as it was on other tokens."""
        return acted(self.part, hidden, _count(ctx, hidden) - self.n_prompt)


def _count(ctx: Any, hidden: Tensor) -> int:
    """Count the tokens of a pass at this layer; the number of those before them."""
    key = str(ctx.layer_idx)
    before: int = ctx.saved.get(key, 0)
    ctx.saved[key] = before + len(hidden)
    return before
