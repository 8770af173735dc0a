"""Pairs of a refuse-side prompt and its benign twin, as token ids, and how they are aligned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import first_token_score
from refusal_lens.model import LensModel
from refusal_lens.model.batch import Ids
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import pair_rows

# Last-token logits -> a refusal score a row, differentiable; positive is towards refusal.
Metric = Callable[[Float[Tensor, "prompt d_vocab"]], Float[Tensor, " prompt"]]


@final
@dataclass(frozen=True)
class Pair:
    """`clean` is the refuse-side prompt and `corrupt` its twin, both with the template."""

    name: str
    category: str
    clean: Ids
    corrupt: Ids

    @property
    def equal_length(self) -> bool:
        """Whether every token of one has its counterpart in the other."""
        return len(self.clean) == len(self.corrupt)

    def alignment(self, n_tokens: int, n_post: int) -> str:
        """What the last `n_tokens` of the two are to each other.

        Raises:
            InputError: they reach into prompts of different length.
        """
        if self.equal_length:
            return "equal length: each position is compared with the same one of the twin"
        if n_tokens > n_post:
            raise InputError(
                f"pair {self.name!r} has {len(self.clean)} and {len(self.corrupt)} tokens: only "
                f"the template's last {n_post} are alike; take pairs of equal length "
                "(`pairs_of(..., equal_length=True)`) or offsets of the template's end"
            )
        return "template's end: its tokens are aligned, the prompts before it differ in length"


def pairs_of(
    model: LensModel, prompts: PromptSet, *, equal_length: bool = True, most: int | None = None
) -> tuple[Pair, ...]:
    """The pairs of a prompt set in order, at most `most` of each category.

    Raises:
        InputError: there is none (of equal length, where that is asked for).
    """
    ids = model.ids(prompts)
    rows = list(prompts)
    taken: dict[str, int] = {}
    found: list[Pair] = []
    both: list[list[int]] = pair_rows(prompts).tolist()
    for refuse, comply in both:
        p = rows[refuse]
        pair = Pair(p.pair or p.id, p.category, ids[refuse], ids[comply])
        if equal_length and not pair.equal_length:
            continue
        if most is None or taken.get(p.category, 0) < most:
            taken[p.category] = taken.get(p.category, 0) + 1
            found.append(pair)
    if not found:
        raise InputError(
            f"none of {len(both)} pairs can be patched; expected a refuse-side prompt and its "
            f"twin{' of equal token length' if equal_length else ''}"
        )
    return tuple(found)


def shared_offsets(model: LensModel, pairs: Sequence[Pair]) -> tuple[int, ...]:
    """Offsets that lie behind the template's beginning in every prompt: a map of whole prompts."""
    shortest = min(len(ids) for p in pairs for ids in (p.clean, p.corrupt))
    return tuple(range(len(model.chat.prefix_ids) - shortest, 0))


def refusal_metric(trust: ScoreTrust, categories: Sequence[str]) -> Metric:
    """The first-token refusal score (nats), for categories in which it stands for a verdict.

    Raises:
        InputError: a category that is scored in another way: leave its prompts out.
    """
    if other := sorted(set(categories) - set(trust.trusted())):
        raise InputError(
            f"the first token does not tell refusals from answers in {other}: patching reads it; "
            f"use only {list(trust.trusted())}"
        )
    return partial(first_token_score, refusal_tokens=trust.refusal_tokens)
