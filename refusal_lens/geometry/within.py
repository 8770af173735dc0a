"""Refused or answered: do a category's harmful prompts differ by what the model did with them?

Without a control model this is the test of refusal: the prompts of both groups ask for the same
kind of thing, so that what sets the groups apart is nearer to refusing than to the topic. (Not
quite: a prompt may be refused for its words. The test says "by what the model did", no more.)

With y = 1 for a refused prompt, the contrast of means is a = y / n_1 - (1 - y) / n_0 and its
squared length a' K a, K the products of the centred residuals. Its mean and variance when verdicts
are exchanged within the category come from the permutations themselves, so that layers can be
compared:

    z = (a' K a - mean) / sd

The category's p is that of its maximum over sites, by the same permutations everywhere (Westfall &
Young 1993): p = (b + 1) / (B + 1). Over categories: Benjamini & Hochberg 1995.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.nulls import DRAWS
from refusal_lens.intervals import benjamini_hochberg
from refusal_lens.records import Provenance, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

DIFFERS: Final = 0.05  # largest q at which the groups count as different
LEAST_A_GROUP: Final = 5  # fewer have too few permutations and no power


@final
@dataclass(frozen=True, eq=False)
class WithinTests(Record):
    """Permutation tests of refused against answered harmful prompts, by category.

    `refused` and `answered` count the prompts; a category with fewer than five in either is not
    tested (NaN). `z` is by site the squared length of the difference of the two means, in standard
    deviations from its mean over `draws` exchanges of the verdicts within the category; `p` is that
    of its maximum over sites, `q` what it is after Benjamini-Hochberg over the tested categories.

    >>> import torch
    >>> shape = {"categories": ("advice",), "sites": (rl.Site(1),), "offset": -1, "draws": 99}
    >>> counts = {"refused": (9,), "answered": (8,), "seed": 0, "z": torch.tensor([[4.0]])}
    >>> small = {"p": torch.tensor([0.01]), "q": torch.tensor([0.01])}
    >>> rl.geometry.WithinTests(**shape, **counts, **small, provenance=model.provenance()).differs(
    ...     "advice"
    ... )
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    refused: tuple[int, ...]
    answered: tuple[int, ...]
    draws: int
    seed: int
    z: Float[Tensor, "category site"]
    p: Float[Tensor, " category"]
    q: Float[Tensor, " category"]
    provenance: Provenance

    def differs(self, category: str) -> bool:
        """Whether the category's q is at most .05; False where it was not tested."""
        if category not in self.categories:
            return False
        return bool(self.q[self.categories.index(category)] <= DIFFERS)

    def __repr__(self) -> str:
        n_differing = sum(self.differs(c) for c in self.categories)
        return (
            f"WithinTests({n_differing} of {len(self.categories)} categories differ by what the "
            f"model did, {len(self.sites)} sites, {self.draws} permutations, "
            f"{self.provenance.model})"
        )


def fit_within_tests(
    residuals: Residuals,
    refused: Mapping[str, bool],
    *,
    offset: int = -1,
    draws: int = DRAWS,
    seed: int = 0,
) -> WithinTests:
    """Test every category's harmful prompts; `refused` is what the model did, by prompt id.

    >>> refused = {p.id: i % 4 < 2 for i, p in enumerate(prompts)}
    >>> fit_within_tests(model.residuals(prompts), refused).refused
    (3, 3, 3)

    Raises:
        InputError: fewer permutations than 9,999, or residuals of plain texts.
    """
    if draws < DRAWS:
        raise InputError(f"{draws} permutations are too few; give at least {DRAWS}")
    prompts = residuals.labelled
    harmful = [(row, p) for row, p in enumerate(prompts) if p.label == "refuse" and p.id in refused]
    counts: list[tuple[int, int]] = []
    z: list[Tensor] = []
    p_of: list[Tensor] = []
    for k, c in enumerate(prompts.categories):
        rows = [row for row, p in harmful if p.category == c]
        did = torch.tensor([refused[residuals.ids[row]] for row in rows], dtype=torch.bool)
        counts.append((int(did.sum()), int((~did).sum())))
        if min(counts[-1]) < LEAST_A_GROUP:
            z.append(torch.full((len(residuals.sites),), torch.nan, dtype=torch.float64))
            p_of.append(torch.tensor(torch.nan, dtype=torch.float64))
            continue
        grams = torch.stack(
            [_gram(residuals.at(s, offset)[rows].double()) for s in residuals.sites]
        )
        scores = _permuted(grams, did, draws, torch.Generator().manual_seed(seed + k))
        z.append(scores[0])
        p_of.append(scores[1])
    p = torch.stack(p_of)
    q = benjamini_hochberg(p)
    return WithinTests(
        categories=prompts.categories,
        sites=residuals.sites,
        offset=offset,
        refused=tuple(a for a, _ in counts),
        answered=tuple(b for _, b in counts),
        draws=draws,
        seed=seed,
        z=torch.stack(z).float(),
        p=p.float(),
        q=q.float(),
        provenance=residuals.provenance,
    )


def _gram(x: Float64[Tensor, "prompt d_model"]) -> Float64[Tensor, "prompt prompt"]:
    centred = x - x.mean(0)
    return centred @ centred.T


def _permuted(
    grams: Float64[Tensor, "site prompt prompt"],
    did: Bool[Tensor, " prompt"],
    draws: int,
    generator: torch.Generator,
) -> tuple[Float64[Tensor, " site"], Float64[Tensor, ""]]:
    """z at every site, and p of the maximum over sites."""
    n = len(did)
    order = torch.rand(draws, n, generator=generator).argsort(1)
    flags = torch.cat([did[None], did[order]]).double()  # the data first
    a = flags / flags.sum(1, keepdim=True) - (1 - flags) / (1 - flags).sum(1, keepdim=True)
    most = torch.full((draws + 1,), -torch.inf, dtype=torch.float64)
    z: list[Tensor] = []
    for gram in grams:
        squared = ((a @ gram) * a).sum(1)
        mean, spread = squared[1:].mean(), squared[1:].std()
        if not bool(spread > 1e-9 * squared[1:].abs().max()):  # the same residuals in all prompts
            z.append(torch.tensor(torch.nan, dtype=torch.float64))
            continue
        scores = (squared - mean) / spread
        z.append(scores[0])
        most = torch.maximum(most, scores)
    if not bool(torch.isfinite(most).all()):
        return torch.stack(z), torch.tensor(torch.nan, dtype=torch.float64)
    as_large = (most[1:] >= most[0] - 1e-9).sum()
    return torch.stack(z), (as_large.double() + 1) / (draws + 1)
