"""The probability that an answer opens a refusal, as a loss: one to take away, one to bring about.

Both need no text to learn from, only the openings by which refusals are recognised.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.interventions import Ablate
from refusal_lens.model import Ids
from refusal_lens.optimised.passes import LearnedVectors, LearningPasses, MakeEdit
from refusal_lens.optimised.rows import TargetRow


@final
class OpeningProbability:
    """Log-probability that the answer begins with one of the openings, under an edit per prompt.

    Openings exclude each other, so their probabilities add. Those that differ in the last token
    alone share a pass.

    >>> passes = LearningPasses(model, direction)
    >>> prompts = [TargetRow("one", (5, 6, 7), ())]
    >>> openings = OpeningProbability(passes, prompts, ((8, 9), (8, 3)), rl.Ablate)
    >>> bool(openings.log_p([0], [direction.vector]) < 0), openings.lengths, len(openings.rows())
    (True, (4,), 1)
    """

    def __init__(
        self,
        passes: LearningPasses,
        prompts: Sequence[TargetRow],
        openings: tuple[Ids, ...],
        make: MakeEdit,
    ) -> None:
        self._passes, self._prompts, self._make = passes, prompts, make
        self._last: dict[Ids, list[int]] = {}
        for *head, token in openings:
            self._last.setdefault(tuple(head), []).append(token)
        self._leaving = _leaving(self._last)
        self.lengths = tuple(len(row.prompt) + len(openings[0]) - 1 for row in prompts)

    def rows(self) -> list[TargetRow]:
        """Every row that is run."""
        places = range(len(self._prompts))
        return [row for head in self._last for row in self._rows_after(head, places)]

    def log_p(self, places: Sequence[int], vectors: LearnedVectors) -> Float64[Tensor, " prompt"]:
        """The log-probability at each of the places, under the edit by its vector."""
        return self._summed(places, vectors, lambda x, head: _log_p(x, head, self._last[head]))

    def log_not_p(
        self, places: Sequence[int], vectors: LearnedVectors
    ) -> Float64[Tensor, " prompt"]:
        """The log-probability that the answer begins with none of the openings.

        Summed over the places at which it may leave them, from the logits of every other token:
        where p rounds to 1, log(1 - p) of p itself would be infinite and have no gradient.
        """
        return self._summed(
            places, vectors, lambda x, head: _log_left(x, head, self._leaving[head])
        )

    def _summed(
        self,
        places: Sequence[int],
        vectors: LearnedVectors,
        log_of: Callable[[Tensor, Ids], Float64[Tensor, ""]],
    ) -> Float64[Tensor, " prompt"]:
        """The log of the sum over heads of exp(log_of(logits behind the head, head))."""
        each: list[Float64[Tensor, " prompt"]] = []
        for head in self._last:
            rows = self._rows_after(head, places)
            logits = self._passes.logits(rows, self._passes.edit(vectors, self._make))
            each.append(torch.stack([log_of(x, head) for x in logits]))
        return torch.stack(each).logsumexp(0)

    def _rows_after(self, head: Ids, places: Sequence[int]) -> list[TargetRow]:
        last = self._last[head][0]  # it is predicted and not read: any of the tokens does
        chosen = [self._prompts[place] for place in places]
        return [TargetRow(row.name, row.prompt, (*head, last)) for row in chosen]


@final
class RefusalScoreLoss:
    """-log(1 - p) in nats, p the probability that the ablated model's answer opens a refusal.

    It is softplus of the refusal score (log-odds of the openings, `judges.first_token.log_odds`),
    and the cross-entropy of "no refusal": 0 where the model does not refuse, and the score itself
    where it surely does.

    >>> passes = LearningPasses(model, direction)
    >>> term = RefusalScoreLoss(passes, [TargetRow("one", (5, 6, 7), ())], ((8, 9), (8, 3)))
    >>> bool(term.losses([0], [direction.vector]) >= 0), term.lengths
    (True, (4,))
    """

    def __init__(
        self, passes: LearningPasses, prompts: Sequence[TargetRow], openings: tuple[Ids, ...]
    ) -> None:
        self._refusal = OpeningProbability(passes, prompts, openings, Ablate)
        self.lengths = self._refusal.lengths

    def losses(self, places: Sequence[int], vectors: LearnedVectors) -> Float[Tensor, " prompt"]:
        """See `Term.losses`."""
        return -self._refusal.log_not_p(places, vectors).float()


@final
class RefusalOpeningLoss:
    """-log p in nats, p the probability that the answer under the edit opens a refusal.

    The refusal term of arXiv 2603.13359, whose openings are the model's refusal tokens.

    >>> passes = LearningPasses(model, direction)
    >>> refusal = OpeningProbability(
    ...     passes, [TargetRow("one", (5, 6, 7), ())], ((8,), (3,)), lambda d: rl.Add(d, alpha=2.0)
    ... )
    >>> bool(RefusalOpeningLoss(refusal).losses([0], [direction.vector]) > 0)
    True
    """

    def __init__(self, refusal: OpeningProbability) -> None:
        self._refusal = refusal
        self.lengths = refusal.lengths

    def losses(self, places: Sequence[int], vectors: LearnedVectors) -> Float[Tensor, " prompt"]:
        """See `Term.losses`."""
        return -self._refusal.log_p(places, vectors).float()


def _log_p(
    logits: Float[Tensor, "pos d_vocab"], head: Ids, tokens: list[int]
) -> Float64[Tensor, ""]:
    """Log-probability that `head` follows and then one of the tokens."""
    each = logits.double().log_softmax(-1).cpu()
    before = each[torch.arange(len(head)), torch.tensor(head, dtype=torch.int64)].sum()
    return before + each[-1, tokens].logsumexp(0)


def _log_left(
    logits: Float[Tensor, "pos d_vocab"], head: Ids, leaving: Mapping[int, list[int]]
) -> Float64[Tensor, ""]:
    """Log-probability that the answer follows `head` up to a place and none of its tokens then."""
    each = logits.double().log_softmax(-1).cpu()
    left: list[Float64[Tensor, ""]] = []
    for place, tokens in leaving.items():
        before = each[torch.arange(place), torch.tensor(head[:place], dtype=torch.int64)].sum()
        others = each[place].index_fill(0, torch.tensor(tokens), -torch.inf)
        left.append(before + others.logsumexp(0))
    return torch.stack(left).logsumexp(0)


def _leaving(last: Mapping[Ids, list[int]]) -> dict[Ids, dict[int, list[int]]]:
    """By head, the places at which an answer may leave all openings, with the openings' tokens.

    The beginning that several heads share is counted with the first of them.
    """
    following: dict[Ids, set[int]] = {head: set(tokens) for head, tokens in last.items()}
    first: dict[Ids, Ids] = {head: head for head in last}
    for head in last:
        for place, token in enumerate(head):
            following.setdefault(head[:place], set()).add(token)
            first.setdefault(head[:place], head)
    leaving: dict[Ids, dict[int, list[int]]] = {head: {} for head in last}
    for beginning, head in first.items():
        leaving[head][len(beginning)] = sorted(following[beginning])
    return leaving
