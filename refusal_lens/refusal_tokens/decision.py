"""What the first token decides: probabilities at step 0, a threshold, a bias. No model.

With p(t) the softmax over the whole vocabulary at step 0 and c* the most probable refusal token:

    threshold T   c* is emitted where p(c*) >= T, respond otherwise (of T = 1 and more: always)
    bias b        the most probable of c*, respond and the best other token after b nats have been
                  added to the logits of the refusal tokens

Both can be limited to some categories S. A threshold leaves prompts whose c* is outside S to the
unedited argmax; a bias moves the tokens of S alone. Where c* and respond have all the mass, the
threshold T and the bias log((1 - T) / T) are the same decision. Jain et al. 2024 and its code.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.records import Brief
from refusal_lens.refusal_tokens.names import RefusalTokens

RESPOND: Final = -1
OTHER: Final = -2
"""Decisions that are no category: the respond token, and a token that is none of them."""


@final
@dataclass(frozen=True, eq=False)
class StepZero(Brief):
    """Log-probabilities (nats) of what an answer can begin with, for each prompt.

    `other` is that of the best token which is neither the respond nor a refusal token.
    """

    tokens: RefusalTokens
    respond: Float[Tensor, " prompt"]
    refuse: Float[Tensor, "prompt category"]
    other: Float[Tensor, " prompt"]

    @property
    def category(self) -> Int64[Tensor, " prompt"]:
        """c*: the place of the most probable refusal token among the categories."""
        return self.refuse.argmax(-1)

    @property
    def log_p(self) -> Float[Tensor, " prompt"]:
        """log p(c*), nats: tells prompts apart whose p float32 rounds to 1."""
        return self.refuse.amax(-1)

    @property
    def log_p_any(self) -> Float64[Tensor, " prompt"]:
        """The log-probability, nats, that the answer begins with any refusal token."""
        return self.refuse.double().logsumexp(-1)

    @property
    def p(self) -> Float[Tensor, " prompt"]:
        """p(c*), the probability of the most probable refusal token."""
        return self.log_p.exp()

    @property
    def p_any(self) -> Float[Tensor, " prompt"]:
        """The probability that the answer begins with any refusal token."""
        return self.refuse.exp().sum(-1)

    @property
    def p_named(self) -> Float[Tensor, " prompt"]:
        """The probability of all named tokens together: near 1 in a model trained with them."""
        return self.p_any + self.respond.exp()

    @property
    def margin(self) -> Float[Tensor, " prompt"]:
        """log p(c*) - log p(respond) in nats: the bias -margin is where the decision turns."""
        return self.log_p - self.respond

    def by_threshold(
        self, threshold: float, categories: Collection[str] | None = None
    ) -> Int64[Tensor, " prompt"]:
        """What is emitted under a threshold: a category's place, `RESPOND` or `OTHER`.

        Always c* under a threshold of 0, and never from 1 on, which no softmax reaches. In between
        log p is compared with log T in the float32 that it is kept in: p = T is emitted, and so is
        what falls short of T by less than that rounding.

        Raises:
            InputError: a category without a token, or a threshold that is no number.
        """
        if math.isnan(threshold):
            raise InputError("threshold nan is no probability; give a number")
        emitted = torch.where(self.log_p >= _log_least(threshold), self.category, RESPOND)
        controlled = self._controlled(categories)[self.category]
        return torch.where(controlled, emitted, self.by_bias(0.0))

    def by_bias(
        self, bias: float, categories: Collection[str] | None = None
    ) -> Int64[Tensor, " prompt"]:
        """What is emitted when `bias` nats are added to the refusal tokens' logits.

        At equality a refusal token goes before respond, and respond before any other.

        Raises:
            InputError: a category without a token, or a bias that is no number.
        """
        if math.isnan(bias):
            raise InputError("bias nan is no number of nats; give a number")
        # The tokens that the bias moves keep their order, which float sums and inf would tie.
        moved = self._controlled(categories)
        moved_best, moved_category = torch.where(moved, self.refuse, -math.inf).max(-1)
        kept_best, kept_category = torch.where(moved, -math.inf, self.refuse).max(-1)
        moved_best = torch.where(moved_best.isneginf(), moved_best, moved_best + bias)
        category = torch.where(moved_best >= kept_best, moved_category, kept_category)
        best = torch.maximum(moved_best, kept_best)
        emitted = torch.where(self.respond >= self.other, RESPOND, OTHER)
        return torch.where(best >= torch.maximum(self.respond, self.other), category, emitted)

    def _controlled(self, categories: Collection[str] | None) -> Tensor:
        if categories is None:
            return torch.ones(len(self.tokens.categories), dtype=torch.bool)
        for name in categories:
            self.tokens.of(name)
        return torch.tensor([c in categories for c in self.tokens.categories])


def _log_least(threshold: float) -> Tensor:
    """The log of a threshold as log-probabilities are kept; an end that all or none reach."""
    if threshold <= 0:
        return torch.tensor(-math.inf)
    return torch.tensor(math.inf if threshold >= 1 else math.log(threshold), dtype=torch.float32)


def bias_of(threshold: float) -> float:
    """The bias (nats) that decides like a threshold where c* and respond have all the mass.

    log((1 - T) / T): 0 at one half, infinite at 0 and 1.

    >>> round(bias_of(0.2), 3), bias_of(0.5)
    (1.386, 0.0)

    Raises:
        InputError: a threshold outside 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold {threshold} is no probability; give a number from 0 to 1")
    if threshold in (0.0, 1.0):
        return math.inf if threshold == 0 else -math.inf
    return math.log((1 - threshold) / threshold)


def read_step_zero(logits: Float[Tensor, "prompt d_vocab"], tokens: RefusalTokens) -> StepZero:
    """Step 0 from the logits at the last token of each templated prompt.

    >>> tokens = rl.refusal_tokens.RefusalTokens(0, ("advice",), (1,), ("[respond]", "[advice]"))
    >>> read_step_zero(model.logits(["Why?"]), tokens).by_bias(50.0).tolist()
    [0]

    Raises:
        InputError: a token beyond the vocabulary.
    """
    if (largest := max(tokens.all_ids)) >= logits.shape[-1]:
        raise InputError(
            f"token id {largest} is beyond this model's {logits.shape[-1]:,} logits; name tokens "
            "that the model has rows for"
        )
    log_p = logits.double().log_softmax(-1)
    rest = log_p.clone()
    rest[:, list(tokens.all_ids)] = -torch.inf
    return StepZero(
        tokens,
        log_p[:, tokens.respond].float(),
        log_p[:, list(tokens.refuse)].float(),
        rest.amax(-1).float(),
    )
