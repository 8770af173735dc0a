"""The control adapters of the planted model: does geometry follow topic or manner?

Every adapter is compared with the `reference`, trained by the same recipe on the same prompts:

    seeds        reference and second seed, category by category
    topic        deranged and reference, each category with itself
    manner       deranged and reference, each category with the one whose manner it was given
    one manner   one manner for all and reference, category by category
    content      the base model (scale 0) and reference, category by category

as correlations of their cosine matrices, with a permutation test: of the directions as they are,
and of what training changed (the base model's differences subtracted pair by pair).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.geometry.matrix_correlation import correlated, matrix_correlation
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.resources import data_path
from refusal_lens.sites import Site

BASE: Final = "base"
ControlQuestion = Literal["seeds", "topic", "manner", "one manner", "content"]
What = Literal["directions", "change"]


@final
@dataclass(frozen=True)
class MatrixAgreement:
    """Correlation of two cosine matrices at one layer, with its permutation p."""

    question: ControlQuestion
    what: What
    layer: int
    correlation: Estimate
    p: float


@final
@dataclass(frozen=True, eq=False)
class Planted(Record):
    """The control adapters' geometry, how they refuse, and how far they agree.

    `corrected` and `change` are corrected cosines of each adapter of `names` (the last is the base
    model, whose change is undefined). `manner_of` names the category whose manner each category was
    given in the deranged adapter. `refusal` and `over_refusal` are rates on `val` prompts; `manner`
    is the share of refusals in the planted manner.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    names: tuple[str, ...]
    categories: tuple[str, ...]
    manner_of: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    n: tuple[int, ...]
    corrected: Float[Tensor, "adapter site category category"]
    change: Float[Tensor, "adapter site category category"]
    reliability: Float[Tensor, "adapter site category"]
    refusal: tuple[Estimate, ...]
    over_refusal: tuple[Estimate, ...]
    manner: tuple[Estimate, ...]
    agreements: tuple[MatrixAgreement, ...]
    provenance: tuple[Provenance, ...]

    def __repr__(self) -> str:
        return (
            f"Planted({', '.join(self.names)}; {len(self.categories)} categories, "
            f"{len(self.sites)} sites, {len(self.agreements)} agreements)"
        )


def shipped_planted() -> Planted:
    """The record that comes with the project.

    Raises:
        InputError: it is missing.
    """
    return Planted.load(data_path("controls", "planted.json").with_suffix(""))


def matrix_agreements(
    matrices: dict[str, Float[np.ndarray, "site category category"]],
    what: What,
    manner: Sequence[int],
    layers: Sequence[int],
) -> list[MatrixAgreement]:
    """Every question at every layer where all entries are defined.

    `manner[i]` is the place of the category whose manner category i was given.
    """
    reference = matrices["reference"]
    moved = reference[:, manner][:, :, manner]
    asked: dict[ControlQuestion, tuple[str, Float[np.ndarray, "site category category"]]] = {
        "seeds": ("second_seed", reference),
        "topic": ("deranged", reference),
        "manner": ("deranged", moved),
        "one manner": ("one_manner", reference),
        "content": (BASE, reference),
    }
    agreements: list[MatrixAgreement] = []
    for question, (name, other) in asked.items():
        if name not in matrices:
            continue
        for s, layer in enumerate(layers):
            a, b = torch.from_numpy(matrices[name][s]), torch.from_numpy(other[s])
            if correlated(a, b):
                alike = matrix_correlation(a, b)
                agreements.append(
                    MatrixAgreement(question, what, layer, alike.correlation, alike.p)
                )
    return agreements
