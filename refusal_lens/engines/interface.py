"""What `EngineModel` asks of an engine: an engine is one small package that does this."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.interventions import Part
from refusal_lens.model.batch import Ids


@final
@dataclass(frozen=True, eq=False)
class Act:
    """A map of the residual stream with the places at which it acts (`places.py`)."""

    part: Part
    places: tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Request:
    """What is asked for a prompt, beside its tokens.

    `most` is the number of new tokens, `stops` are those that end an answer. The stream comes back
    from the places in `reads`, at `offsets` from the end of the prompt. Of several `acts` at one
    place, the first in the list is the first to act. Where several prompts share one request,
    nothing in it depends on which of them it is, nor on its length.
    """

    most: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[int, ...] = ()
    logits: bool = False
    reads: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()
    acts: tuple[Act, ...] = ()

    def sampling(self) -> dict[str, Any]:
        """What of it is a keyword of vLLM's `SamplingParams`; tokens come back without a text."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "max_tokens": self.most,
            "stop_token_ids": list(self.stops),
            "detokenize": False,
        }


@final
@dataclass(frozen=True, eq=False)
class Answer:
    """What an engine did for one prompt.

    `tokens` may go on behind the first that ends an answer. `streams` holds the stream of the
    prompt, as it is after edits, by place; `logits` those of all tokens at the first new one.
    """

    tokens: Ids = ()
    streams: Mapping[int, Float[Tensor, "offset d_model"]] = field(
        default_factory=dict[int, Tensor]
    )
    logits: Float[Tensor, " d_vocab"] | None = None


class RequestFailed(Exception):
    """Why one prompt has no answer."""


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """What is known of a model that an engine has loaded.

    `spread` says on what it runs and over how many devices, for the provenance.
    """

    versions: Mapping[str, str]
    n_layers: int
    d_model: int
    n_ctx: int
    dtype: torch.dtype
    spread: str


class Engine(ABC):
    """An engine with a model loaded; `opened` has its sizes, versions and devices."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    @abstractmethod
    def run(
        self, prompts: Sequence[Ids], requests: Sequence[Request]
    ) -> Sequence[Answer | RequestFailed]:
        """An answer for each prompt, or why there is none; raises what ends the engine's call."""
