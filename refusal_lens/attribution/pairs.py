"""Pairs of a should-refuse prompt and its matched benign prompt, as token ids, and alignment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import first_token_score
from refusal_lens.model import Feed, Ids, LensModel
from refusal_lens.prompts import PromptSet

Metric = Callable[[Float[Tensor, "prompt d_vocab"]], Float[Tensor, " prompt"]]
"""Last-token logits -> one refusal score per row, differentiable; positive is towards refusal."""

CLEAN: Final = 0
CORRUPT: Final = 1


@final
@dataclass(frozen=True)
class Pair:
    """`clean` is the should-refuse prompt and `corrupt` its matched benign one, as token ids.

    The names are those of activation patching (Zhang and Nanda 2024): what is patched comes from
    the clean prompt and goes into the corrupt one.

    >>> pair = Pair("p1", "advice", model.chat.ids("Sue him?"), model.chat.ids("Who am I?"))
    >>> pair.equal_length
    False
    """

    name: str
    category: str
    clean: Ids
    corrupt: Ids

    @property
    def equal_length(self) -> bool:
        """Whether both have as many tokens, so that each position has its counterpart."""
        return len(self.clean) == len(self.corrupt)

    def alignment(self, n_tokens: int, n_post: int) -> str:
        """How the last `n_tokens` of the two prompts are aligned, in words.

        Raises:
            InputError: they reach into prompts of different length, whose tokens are not aligned.
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
    """The pairs of a prompt set in order, at most `most` per category.

    `equal_length` keeps those alone whose prompts have as many tokens, so that any position can
    be patched; the others are aligned at the template's end only.

    Raises:
        InputError: there is none (of equal length, where that is asked for).

    >>> [pair.category for pair in rl.pairs_of(model, prompts, equal_length=False, most=1)]
    ['advice', 'humanizing', 'unsupported']
    """
    ids = dict(zip(prompts.ids, model.ids(prompts), strict=True))
    taken: dict[str, int] = {}
    pairs: list[Pair] = []
    both = prompts.pairs()
    for refuse, comply in both:
        pair = Pair(refuse.pair or "", refuse.category, ids[refuse.id], ids[comply.id])
        if equal_length and not pair.equal_length:
            continue
        if most is None or taken.get(pair.category, 0) < most:
            taken[pair.category] = taken.get(pair.category, 0) + 1
            pairs.append(pair)
    if not pairs:
        raise InputError(
            f"none of {len(both)} pairs can be patched; expected a refuse-side prompt and its "
            f"twin{' of equal token length' if equal_length else ''}"
        )
    return tuple(pairs)


def pair_feed(model: LensModel, pairs: Sequence[Pair]) -> Feed:
    """Both prompts of every pair as rows of one feed: clean, corrupt, clean, corrupt ...

    Raises:
        InputError: no pair, one that is too long, or a `PerRow` that is on and does not hold one
            edit for each of these prompts.

    >>> pairs = pairs_of(model, prompts, equal_length=False, most=1)
    >>> len(pair_feed(model, pairs).ids)
    6
    """
    if not pairs:
        raise InputError("no pair was given; expected at least one")
    rows = [ids for p in pairs for ids in (p.clean, p.corrupt)]
    sides = ("should-refuse", "benign")
    names = [f"the {side} prompt of pair {p.name!r}" for p in pairs for side in sides]
    return model.feed_ids(rows, names)


def shared_offsets(model: LensModel, pairs: Sequence[Pair]) -> tuple[int, ...]:
    """Offsets that every prompt of the pairs has after the template's beginning, in order.

    With pairs of equal length these make a patching map of whole prompts.

    >>> pairs = pairs_of(model, prompts, equal_length=False)
    >>> offsets = shared_offsets(model, pairs)
    >>> offsets[-1], len(offsets) > model.chat.n_post
    (-1, True)
    """
    shortest = min(len(ids) for p in pairs for ids in (p.clean, p.corrupt))
    return tuple(range(len(model.chat.prefix_ids) - shortest, 0))


def refusal_metric(trust: ScoreTrust, categories: Sequence[str]) -> Metric:
    """The first-token refusal score (nats), for categories in which it is a validated score.

    Raises:
        InputError: a category that is scored in another way: leave its prompts out.

    >>> import torch
    >>> from refusal_lens.judges import ScoreTrust
    >>> trust = ScoreTrust((7,), ("I",), {}, {"advice": "first token"}, {}, {}, {})
    >>> logits = torch.zeros(1, 300)
    >>> logits[0, 7] = 9.0
    >>> bool(refusal_metric(trust, ["advice"])(logits) > 0)  # token 7 is a refusal token
    True
    """
    if other := sorted(set(categories) - set(trust.trusted())):
        raise InputError(
            f"the first token does not tell refusals from answers in {other}: patching reads it; "
            f"use only {list(trust.trusted())}"
        )
    return partial(first_token_score, refusal_tokens=trust.refusal_tokens)
