"""The lists of Joad et al. 2026 as published, to count how much of them is ties.

Per category the `most` latents of the largest difference, whatever its size: lists run past the
latents that tell the sides apart, and where many have one difference their index decides.
"""

from dataclasses import dataclass
from typing import Final, final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError

PUBLISHED_SHARE: Final = 1000 / 16_384
"""Latents that the paper lists per category, of those that its autoencoders have."""


@final
@dataclass(frozen=True)
class PublishedLists:
    """What the published rule lists.

    `tied` counts, per category, the latents that have the difference at which its list ends, and
    `not_positive` those within it that do not fire more on refused prompts. Of the `core`, which
    is in every list, `core_not_positive` are such in at least one category.
    """

    most: int
    categories: tuple[str, ...]
    tied: tuple[int, ...]
    not_positive: tuple[int, ...]
    core: int
    core_not_positive: int


def published_lists(
    difference: Float[Tensor, "category latent"], categories: tuple[str, ...]
) -> PublishedLists:
    """The published rule on these differences, at its share of the latents.

    >>> lists = published_lists(torch.zeros(2, 100), ("advice", "humanizing"))
    >>> lists.most, lists.tied, lists.core, lists.core_not_positive
    (6, (100, 100), 6, 6)

    Raises:
        InputError: not a row per category.
    """
    if len(difference) != len(categories):
        raise InputError(f"{len(difference)} rows of differences for {len(categories)} categories")
    most = max(1, round(PUBLISHED_SHARE * difference.shape[1]))
    order = difference.argsort(dim=1, descending=True, stable=True)[:, :most]
    inside = [set(row) for row in order.tolist()]
    last = difference.gather(1, order[:, -1:])
    core = set.intersection(*inside) if inside else set[int]()
    without = [i for i in core if bool((difference[:, i] <= 0).any())]
    return PublishedLists(
        most,
        categories,
        tuple((difference == last).sum(1).tolist()),
        tuple((difference.gather(1, order) <= 0).sum(1).tolist()),
        len(core),
        len(without),
    )
