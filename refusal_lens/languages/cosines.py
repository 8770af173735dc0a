"""Cosines between languages' directions, corrected for noise that parallel pairs share.

The same pairs are asked in every language, so the errors of two languages' mean differences are
not independent: what is peculiar to a pair comes back in its translation. With d_ai the difference
of pair i in language a and n pairs,

    U_ab = sum_{i != j} d_ai . d_bj / (n (n - 1))       unbiased mu_a . mu_b, also for a = b
    c_ab = U_ab / sqrt(U_aa U_bb)                       corrected cosine
    rel_a = U_aa / |mean d_a|^2                         reliability

A pair is never multiplied with its own translation; the corrected cosine of independent categories
(geometry/jackknife.py), whose numerator has those products, would count content that two languages
share as a shared direction. Intervals: jackknife that leaves a pair out of all languages at once,
Student's t with n - 1 degrees of freedom, bias taken off (Quenouille 1956).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.intervals import LEVEL, finite_or_none, jackknife, t_quantile
from refusal_lens.languages.parallel import Parallel
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

METHOD = "cosine without products of a pair with its translation, jackknife over pairs"


@final
@dataclass(frozen=True, eq=False)
class LanguageCosines(Record):
    """Cosines of all pairs of languages at every site; NaN is "undefined".

    `naive` is the cosine of the means as they are; `low` and `high` are the 95% interval of
    `corrected`; `n` counts pairs.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    languages: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    n: int
    naive: Float[Tensor, "site language language"]
    corrected: Float[Tensor, "site language language"]
    low: Float[Tensor, "site language language"]
    high: Float[Tensor, "site language language"]
    reliability: Float[Tensor, "site language"]
    reliability_low: Float[Tensor, "site language"]
    reliability_high: Float[Tensor, "site language"]
    provenance: Provenance

    def cosine(self, a: str, b: str, layer: int) -> Estimate:
        """The corrected cosine of two languages at a block's input; control: 0, orthogonal.

        Raises:
            InputError: a language or layer that is not here.
        """
        s, i, j = self._at(a, b, layer)
        value, low, high = (
            finite_or_none(x[s, i, j]) for x in (self.corrected, self.low, self.high)
        )
        return Estimate(value, low, high, self.n, METHOD, 0.0)

    def of_language(self, language: str, layer: int) -> Estimate:
        """The reliability of one language's direction; raises like `cosine`."""
        s, i, _ = self._at(language, language, layer)
        parts = (self.reliability, self.reliability_low, self.reliability_high)
        value, low, high = (finite_or_none(x[s, i]) for x in parts)
        return Estimate(value, low, high, self.n, "reliability, jackknife over pairs", 0.0)

    def measurable(self) -> Bool[Tensor, "site language"]:
        """Where the lower 95% bound of a direction's reliability is at least .5."""
        return self.reliability_low >= MEASURABLE

    def excluding(self, value: float, layer: int) -> tuple[int, int]:
        """How many language pairs' simultaneous 95% intervals exclude a value, and of how many.

        Simultaneous by Bonferroni over the defined pairs of languages.
        """
        s, *_ = self._at(self.languages[0], self.languages[0], layer)
        upper = torch.triu_indices(len(self.languages), len(self.languages), 1)
        c, high = (x[s][upper[0], upper[1]] for x in (self.corrected, self.high))
        defined = torch.isfinite(c) & torch.isfinite(high)
        k, half = int(defined.sum()), (high - c)[defined]
        wider = float(t_quantile(self.n - 1, 1 - (1 - LEVEL) / max(k, 1)) / t_quantile(self.n - 1))
        return int(((c[defined] - value).abs() > half * wider).sum()), k

    def _at(self, a: str, b: str, layer: int) -> tuple[int, int, int]:
        for name in (a, b):
            if name not in self.languages:
                raise InputError(f"language {name!r} is not in {list(self.languages)}")
        if Site(layer) not in self.sites:
            raise InputError(f"layer {layer} is not in {[str(s) for s in self.sites]}")
        return self.sites.index(Site(layer)), self.languages.index(a), self.languages.index(b)


def language_cosines(residuals: Residuals, *, offset: int = -1) -> LanguageCosines:
    """Cosines between the languages' directions at every site of parallel prompts' residuals.

    >>> parallel = rl.languages.by_language(rl.load_languages(languages=("en", "es"), n_pairs=4))
    >>> rl.languages.language_cosines(model.residuals(parallel)).cosine("en", "es", layer=2).n
    4

    Raises:
        InputError: as `Parallel.of`.
    """
    tables = [_table(Parallel.of(residuals, site, offset).difference) for site in residuals.sites]
    names = ("naive", "corrected", "low", "high")
    reliability = ("reliability", "reliability_low", "reliability_high")
    return LanguageCosines(
        languages=residuals.labelled.categories,
        sites=residuals.sites,
        offset=offset,
        n=len(residuals.labelled.only(category=residuals.labelled.categories[0])) // 2,
        **{k: _stacked(tables, k) for k in (*names, *reliability)},
        provenance=residuals.provenance,
    )


def _stacked(tables: Sequence[dict[str, Tensor]], name: str) -> Float[Tensor, "site ..."]:
    return torch.stack([table[name] for table in tables]).float()


def _table(d: Float64[Tensor, "language pair d_model"]) -> dict[str, Tensor]:
    """Cosines and reliabilities of one site with their intervals."""
    n = d.shape[1]
    gram = torch.einsum("aid,bjd->abij", d, d)
    whole = gram.sum((-1, -2)), (gram - _diagonal(gram)).sum((-1, -2))
    rows = [g.sum(-1) + g.sum(-2) for g in (gram, gram - _diagonal(gram))]
    squares = gram.diagonal(dim1=-2, dim2=-1)
    left_all = (whole[0][..., None] - rows[0] + squares).permute(2, 0, 1)
    left_off = (whole[1][..., None] - rows[1]).permute(2, 0, 1)
    cosine, left_cosine = _cosines(whole[1], n), _cosines(left_off, n - 1)
    corrected, low, high = jackknife(cosine, left_cosine)
    diagonal = torch.eye(len(d), dtype=torch.bool)
    for table in (corrected, low, high):
        table[diagonal & ~torch.isnan(table)] = 1.0
    rel = jackknife(_reliability(*whole, n), _reliability(left_all, left_off, n - 1))
    names = ("reliability", "reliability_low", "reliability_high")
    return {
        "naive": _over_lengths(whole[0], whole[0]),
        "corrected": corrected,
        "low": low,
        "high": high,
        **dict(zip(names, rel, strict=True)),
    }


def _diagonal(gram: Float64[Tensor, "a b pair pair"]) -> Float64[Tensor, "a b pair pair"]:
    return torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))


def _cosines(
    off: Float64[Tensor, "*left language language"], n: int
) -> Float64[Tensor, "*left language language"]:
    return _over_lengths(off / (n * (n - 1)), off / (n * (n - 1)))


def _reliability(
    every: Float64[Tensor, "*left language language"],
    off: Float64[Tensor, "*left language language"],
    n: int,
) -> Float64[Tensor, "*left language"]:
    """U over the squared length of the mean."""
    sq = every.diagonal(dim1=-2, dim2=-1) / n**2
    u = off.diagonal(dim1=-2, dim2=-1) / (n * (n - 1))
    return u / torch.where(sq > 0, sq, torch.nan)


def _over_lengths(dots: Tensor, squares: Tensor) -> Tensor:
    sq = squares.diagonal(dim1=-2, dim2=-1)
    length = torch.where(sq > 0, sq, torch.nan).sqrt()
    return dots / (length[..., :, None] * length[..., None, :])
