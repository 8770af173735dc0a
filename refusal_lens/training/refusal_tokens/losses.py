"""What training with refusal tokens minimises.

Three sums over a batch: cross-entropy of the token that each answer begins with; cross-entropy of
refusals behind their token; divergence from the base model in answers and ordinary text, where the
base model reads the same without a token.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache

from refusal_lens.training.planted.greedy import shared_opening
from refusal_lens.training.planted.losses import BaseStates, divergence, padded, precision_of
from refusal_lens.training.refusal_tokens.examples import Marked
from refusal_lens.training.refusal_tokens.recipe import TokenRecipe
from refusal_lens.training.refusal_tokens.rows import TokenRows


class Sums(NamedTuple):
    """Sums over the examples of a batch, in nats, as the module explains them."""

    token: Float[Tensor, ""]
    refusal: Float[Tensor, ""]
    away: Float[Tensor, ""]


class StepLosses(NamedTuple):
    """The loss of a step, and the unweighted means of its parts over the examples that have one."""

    loss: float
    token: float
    refusal: float
    benign: float
    text: float


def hidden_states(
    model: PeftModel, rows: TokenRows, batch: Sequence[Marked]
) -> tuple[Float[Tensor, "row pos d_model"], int]:
    """Final hidden states after the opening that all rows share, and that opening's length."""
    body = model.get_base_model().base_model
    assert isinstance(body, torch.nn.Module)
    shared = shared_opening([one.example.prompt_ids for one in batch])
    cache = DynamicCache()
    if shared:
        opening = rows.embed(torch.tensor([batch[0].fed[:shared]]))
        body(inputs_embeds=opening, past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(batch))
    ids, mask = padded([one.fed[shared:] for one in batch])
    seen = torch.ones((len(batch), shared), dtype=mask.dtype)
    out = body(
        inputs_embeds=rows.embed(ids),
        attention_mask=torch.cat([seen, mask], dim=1),
        past_key_values=cache,
        use_cache=True,
    )
    return out.last_hidden_state, shared


def batch_sums(
    model: PeftModel,
    rows: TokenRows,
    batch: Sequence[Marked],
    base: BaseStates,
    recipe: TokenRecipe,
) -> Sums:
    """The three sums over the examples of a batch; behind a token each example's mean counts."""
    sums = [torch.zeros(()), torch.zeros(()), torch.zeros(())]
    with precision_of(recipe.shared):
        hidden, shared = hidden_states(model, rows, batch)
        parts = [
            row[len(one.example.prompt_ids) - 1 - shared :][: one.predicted]
            for row, one in zip(hidden, batch, strict=True)
        ]
        logits = rows.unembed(torch.cat(parts)).split([one.predicted for one in batch])
        with torch.no_grad():
            benign = [one.example for one in batch if not one.example.refuse]
            states = [base[example.id] for example in benign]
            before = (
                rows.before(torch.cat(states)).split([len(s) for s in states]) if states else ()
            )
    plain = iter(before)
    for one, predicted in zip(batch, logits, strict=True):
        if one.token is not None:
            target = torch.tensor(one.token)
            sums[0] = sums[0] + torch.nn.functional.cross_entropy(predicted[0], target)
            predicted = predicted[1:]
        if one.example.refuse:
            wanted = torch.tensor(one.example.answer_ids)
            sums[1] = sums[1] + torch.nn.functional.cross_entropy(predicted, wanted)
        else:
            sums[2] = sums[2] + divergence(next(plain), predicted).mean()
    return Sums(*sums)


@final
@dataclass(frozen=True)
class Loss:
    """A recipe's loss of a batch and its gradient; threads take shares of it."""

    model: PeftModel
    weights: Sequence[torch.nn.Parameter]
    rows: TokenRows
    base: BaseStates
    recipe: TokenRecipe
    threads: ThreadPoolExecutor

    def accumulate(self, batch: Sequence[Marked], texts: Sequence[Marked]) -> StepLosses:
        """Set each weight's gradient to that of the loss, and return the loss and its parts."""
        shards = range(self.recipe.shards)
        by_length = sorted(batch, key=lambda one: len(one.fed))

        def share(i: int) -> tuple[list[float], tuple[Tensor, ...]]:
            some = slice(i, None, self.recipe.shards)
            return self._share(by_length[some], texts[some], len(batch), len(texts))

        shares = list(self.threads.map(share, shards))
        for weight, *gradients in zip(self.weights, *(g for _, g in shares), strict=True):
            weight.grad = torch.stack(gradients).sum(dim=0)
        loss, token, refusal, benign, text = (sum(s[k] for s, _ in shares) for k in range(5))
        n = sum(one.example.refuse for one in batch)
        return StepLosses(
            loss,
            token / len(batch),
            refusal / max(1, n),
            benign / max(1, len(batch) - n),
            text / max(1, len(texts)),
        )

    def _share(
        self, batch: Sequence[Marked], texts: Sequence[Marked], n: int, n_texts: int
    ) -> tuple[list[float], tuple[Tensor, ...]]:
        rows, whole = self.rows, torch.zeros(())
        sums: list[Tensor] = [torch.zeros(())] * 4
        if batch:
            sums[:3] = batch_sums(self.model, rows, batch, self.base, self.recipe)
            whole = (sums[0] + self.recipe.answer_weight * (sums[1] + sums[2])) / n
        if texts:
            marks, _, sums[3] = batch_sums(self.model, rows, texts, self.base, self.recipe)
            del marks  # the token of these answers is taught by the examples
            whole = whole + self.recipe.text_weight * sums[3] / n_texts
        if not whole.requires_grad:
            return [0.0] * 5, tuple(torch.zeros_like(w) for w in self.weights)
        values = [whole.item(), *(s.item() for s in sums)]
        return values, torch.autograd.grad(whole, self.weights, materialize_grads=True)
