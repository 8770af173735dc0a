"""Which latents fire on refused prompts more than on answered ones, category by category.

The difference of Joad et al. 2026 (arXiv 2602.02132), P(z > 0 | refused) - P(z > 0 | answered), per
latent and category, with what their lists leave out: a latent is listed only where the difference
is positive, where it fires often enough to be tested, and where it survives a null of permuted
labels. With the labels of a category dealt out anew, the number of refused prompts on which a
latent fires is hypergeometric, so that its p is exact; over the latents of a category the false
discovery rate is controlled (Benjamini & Hochberg 1995).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy import stats
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.intervals import benjamini_hochberg
from refusal_lens.records import Brief, Provenance, Record
from refusal_lens.sites import Site

LEAST: Final = 20
"""Refused, and answered, prompts of a category without which its latents are not tested."""


@final
@dataclass(frozen=True, eq=False)
class Pool(Brief):
    """Prompts with what a model did with them, and which latents fired at their read-out token."""

    fires: Bool[Tensor, "prompt latent"]
    refused: Bool[Tensor, " prompt"]
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.fires) == len(self.refused) == len(self.categories):
            raise InputError(
                f"{len(self.fires)} prompts with latents, {len(self.refused)} with verdicts and "
                f"{len(self.categories)} with categories: one of each is needed per prompt"
            )

    def only(self, category: str) -> "Pool":
        """The prompts of one category."""
        rows = torch.tensor([c == category for c in self.categories])
        names = tuple(c for c in self.categories if c == category)
        return Pool(self.fires[rows], self.refused[rows], names)

    @property
    def rate(self) -> Float[Tensor, " latent"]:
        """Share of all prompts on which each latent fires."""
        return self.fires.float().mean(0)

    @property
    def refused_rate(self) -> Float[Tensor, " latent"]:
        """Share of the refused prompts on which each latent fires."""
        return self.fires[self.refused].float().mean(0)

    @property
    def answered_rate(self) -> Float[Tensor, " latent"]:
        """Share of the answered prompts on which each latent fires."""
        return self.fires[~self.refused].float().mean(0)


@final
@dataclass(frozen=True)
class FiringRule:
    """When a latent is listed for a category.

    `least_rate` is the share of the category's prompts on which it has to fire to be tested at
    all; `level` the false discovery rate; `least` the fewest prompts on either side.
    """

    least_rate: float = 0.05
    level: float = 0.05
    least: int = LEAST

    def __post_init__(self) -> None:
        if not 0 <= self.least_rate < 1 or not 0 < self.level < 1:
            raise InputError(
                f"least rate {self.least_rate:g} and level {self.level:g}: give shares below 1"
            )
        if self.least < 1:
            raise InputError(f"least is {self.least}; rates need 1 prompt or more on either side")


@final
@dataclass(frozen=True, eq=False)
class FiringTests(Record):
    """Firing rates of every latent on refused and answered prompts, and which are listed.

    `p` is one-sided, of permuted labels; NaN where the latent fires too rarely to be tested. `q`
    is p after Benjamini-Hochberg over the tested latents of the category. `left_out` says of
    categories without enough prompts on one side how many there are. `offset` counts from the
    prompt's end.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    sae: str
    site: Site
    offset: int
    categories: tuple[str, ...]
    n_refused: tuple[int, ...]
    n_answered: tuple[int, ...]
    left_out: Mapping[str, str]
    rule: FiringRule
    refused_rate: Float[Tensor, "category latent"]
    answered_rate: Float[Tensor, "category latent"]
    p: Float[Tensor, "category latent"]
    q: Float[Tensor, "category latent"]
    provenance: Provenance

    @property
    def difference(self) -> Float[Tensor, "category latent"]:
        """P(z > 0 | refused) - P(z > 0 | answered)."""
        return self.refused_rate - self.answered_rate

    @property
    def tested(self) -> Bool[Tensor, "category latent"]:
        """Which latents fire often enough."""
        return ~self.p.isnan()

    @property
    def listed(self) -> Bool[Tensor, "category latent"]:
        """Which are in the list of a category: more on refused prompts, q at most the level."""
        return (self.difference > 0) & (self.q <= self.rule.level)

    @property
    def n_lists(self) -> Int64[Tensor, " latent"]:
        """In how many categories' lists each latent is."""
        return self.listed.sum(0)

    @property
    def core(self) -> tuple[int, ...]:
        """Latents in the list of every tested category; none with fewer than two categories."""
        if len(self.categories) < 2:
            return ()
        return tuple((self.n_lists == len(self.categories)).nonzero()[:, 0].tolist())

    @property
    def tail(self) -> tuple[int, ...]:
        """Latents in the list of one category or of two, where that is not all of them."""
        few = (self.n_lists >= 1) & (self.n_lists <= min(2, len(self.categories) - 1))
        return tuple(few.nonzero()[:, 0].tolist())

    @property
    def expected_core(self) -> float:
        """Latents that would be in every list if the lists were drawn independently."""
        n = self.listed.shape[1]
        return float(n * (self.listed.float().sum(1) / n).prod()) if self.categories else 0.0

    def ranked(self, most: int) -> tuple[int, ...]:
        """The latents in most lists, then of the largest mean difference; only listed ones."""
        mean: list[float] = self.difference.mean(0).tolist()
        n_lists: list[int] = self.n_lists.tolist()
        listed = [i for i, n in enumerate(n_lists) if n]
        return tuple(sorted(listed, key=lambda i: (-n_lists[i], -mean[i], i))[:most])


@final
@dataclass(frozen=True)
class Listed:
    """How many latents a set of lists names: in at least one list, in all, in one or two."""

    any_list: int
    core: int
    tail: int

    @classmethod
    def of(cls, tests: FiringTests) -> "Listed":
        """Those of these tests."""
        return cls(int((tests.n_lists > 0).sum()), len(tests.core), len(tests.tail))


def compare_firing(
    pool: Pool,
    rule: FiringRule = FiringRule(),
    *,
    sae: str,
    site: Site,
    offset: int,
    provenance: Provenance,
) -> FiringTests:
    """The tests of every latent in every category that has enough prompts on either side.

    >>> fires = torch.rand(80, 6) < 0.3
    >>> refused = torch.arange(80) % 2 == 0
    >>> fires[:, 0] = refused
    >>> pool = rl.sparse.Pool(fires, refused, ("advice",) * 80)
    >>> where = {"sae": "a", "site": rl.Site(2), "offset": -1, "provenance": model.provenance()}
    >>> rl.sparse.compare_firing(pool, **where).ranked(1)
    (0,)

    Raises:
        InputError: no category has enough prompts on either side.
    """
    names = tuple(dict.fromkeys(pool.categories))
    parts = {name: pool.only(name) for name in names}
    sides = {n: (int(p.refused.sum()), int((~p.refused).sum())) for n, p in parts.items()}
    kept = tuple(n for n in names if min(sides[n]) >= rule.least)
    left_out = {
        n: f"{sides[n][0]} refused and {sides[n][1]} answered" for n in names if n not in kept
    }
    if not kept:
        raise InputError(
            f"no category has {rule.least} refused and {rule.least} answered prompts: "
            + "; ".join(f"{name}: {words}" for name, words in left_out.items())
        )
    p = torch.stack([_p(parts[n], rule) for n in kept])
    return FiringTests(
        sae,
        site,
        offset,
        kept,
        tuple(sides[n][0] for n in kept),
        tuple(sides[n][1] for n in kept),
        left_out,
        rule,
        torch.stack([parts[n].refused_rate for n in kept]),
        torch.stack([parts[n].answered_rate for n in kept]),
        p,
        torch.stack([benjamini_hochberg(row) for row in p]),
        provenance,
    )


def permuted(pool: Pool, tests: FiringTests, *, draws: int, seed: int) -> tuple[Listed, ...]:
    """What the same rule lists when verdicts are dealt out anew within each category.

    >>> pool = rl.sparse.Pool(torch.rand(80, 6) < 0.3, torch.arange(80) % 2 == 0, ("advice",) * 80)
    >>> where = {"sae": "a", "site": rl.Site(2), "offset": -1, "provenance": model.provenance()}
    >>> tests = rl.sparse.compare_firing(pool, **where)
    >>> len(rl.sparse.permuted(pool, tests, draws=3, seed=0))
    3
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.tensor([c == name for c in pool.categories]) for name in tests.categories]
    drawn: list[Listed] = []
    for _ in range(draws):
        refused = pool.refused.clone()
        for row in rows:
            refused[row] = refused[row][torch.randperm(int(row.sum()), generator=generator)]
        dealt = replace(pool, refused=refused)
        parts = [dealt.only(name) for name in tests.categories]
        p = torch.stack([_p(part, tests.rule) for part in parts])
        again = replace(
            tests,
            refused_rate=torch.stack([part.refused_rate for part in parts]),
            answered_rate=torch.stack([part.answered_rate for part in parts]),
            p=p,
            q=torch.stack([benjamini_hochberg(row) for row in p]),
        )
        drawn.append(Listed.of(again))
    return tuple(drawn)


def _p(pool: Pool, rule: FiringRule) -> Float[Tensor, " latent"]:
    """One-sided p of each latent of a category; NaN where it fires too rarely."""
    n, n_refused = len(pool.refused), int(pool.refused.sum())
    fired = pool.fires.sum(0)
    hits = pool.fires[pool.refused].sum(0)
    table = _tail(n, n_refused)
    p = torch.from_numpy(table[fired.numpy(), hits.numpy()])
    rare = fired < max(1, rule.least_rate * n)
    return torch.where(rare, torch.nan, p)


def _tail(n: int, n_refused: int) -> np.ndarray:
    """P(at least h of the refused prompts | f of the n prompts fire), at [f, h]."""
    fired, hits = np.arange(n + 1)[:, None], np.arange(n_refused + 1)[None]
    mass = stats.hypergeom.pmf(hits, n, fired, n_refused)
    return np.minimum(mass[:, ::-1].cumsum(1)[:, ::-1], 1.0)
