"""How well one language's direction separates another's prompts, and under one threshold.

Three numbers per direction, all cross-fitted by pair (languages/crossfit.py):

- AUROC within a language: chance that a refuse-side prompt lies further along than a comply-side
  one of the same language. What a language adds to all its prompts cancels.
- AUROC across languages: the same for prompts of two different languages, as they are and with
  each language's own mean, of the fitting prompts, taken off.
- accuracy at one threshold: the midpoint of the direction's own language, applied to the prompts of
  another, before and after the means are taken off. The direction itself is a difference within a
  language, so that taking the means off does not change it.

Intervals: jackknife over pairs, directions fitted again each time. Control: shuffled labels (the
sides of each pair exchanged with probability one half, in all languages alike, fitted and tested).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Bool, Float, Float64
from scipy.stats import false_discovery_control
from torch import Tensor

from refusal_lens.intervals import jackknife
from refusal_lens.languages.crossfit import ALL, CrossFit, Fold
from refusal_lens.languages.parallel import Parallel
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

DRAWS: Final = 999
_MOST_BYTES: Final = 1 << 27  # of coordinates that are kept at a time
_METHOD: Final = "cross-fitted by pair, jackknife over pairs; control: chance"


@final
@dataclass(frozen=True, eq=False)
class LanguageTransfer(Record):
    """Rows are directions (each language's, then that of all together), columns prompts' languages.

    `auroc` with its interval `low` to `high`; `null_high` is the 95th percentile under shuffled
    labels, `q` their one-sided p after Benjamini-Hochberg over the matrix. `before` and
    `after` are, per direction, the AUROC of prompts of different languages without and with the
    languages' means taken off; `accuracy_before` and `accuracy_after` the accuracy on other
    languages' prompts at the threshold of the direction's own, `gain` their difference.
    `same_language` and `other_language` are the means of `auroc` over languages on the diagonal and
    off it. `n` counts pairs per language.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    rows: tuple[str, ...]
    languages: tuple[str, ...]
    site: Site
    offset: int
    n: int
    n_folds: int
    draws: int
    auroc: Float[Tensor, "row language"]
    low: Float[Tensor, "row language"]
    high: Float[Tensor, "row language"]
    null_high: Float[Tensor, "row language"]
    q: Float[Tensor, "row language"]
    before: tuple[Estimate, ...]
    after: tuple[Estimate, ...]
    accuracy_before: tuple[Estimate, ...]
    accuracy_after: tuple[Estimate, ...]
    gain: tuple[Estimate, ...]
    same_language: Estimate
    other_language: Estimate
    provenance: Provenance

    def area(self, direction: str, language: str) -> Estimate:
        """The AUROC of one direction on one language's prompts."""
        i, j = self.rows.index(direction), self.languages.index(language)
        value, low, high = (float(x[i, j]) for x in (self.auroc, self.low, self.high))
        return Estimate(value, low, high, self.n, f"AUROC, {_METHOD}", 0.5)


def language_transfer(
    residuals: Residuals, site: Site, *, offset: int = -1, draws: int = DRAWS, seed: int = 0
) -> LanguageTransfer:
    """Each language's direction on each language's held-out prompts at one site.

    >>> parallel = rl.languages.by_language(rl.load_languages(languages=("en", "es"), n_pairs=6))
    >>> read = model.residuals(parallel)
    >>> transfer = rl.languages.language_transfer(read, rl.Site(2), draws=19)
    >>> transfer.auroc.shape  # English, Spanish and both together, on English and Spanish
    torch.Size([3, 2])

    Raises:
        InputError: as `Parallel.of`.
    """
    fit = CrossFit.of(Parallel.of(residuals, site, offset))
    scores = _estimated(fit)
    null = _shuffled(fit, draws, seed)
    auroc, low, high = _bounded(scores.within)
    beyond = (null >= scores.within[0]).double().sum(0)
    p = (beyond + 1) / (draws + 1)
    k = len(fit.languages)
    diagonal = torch.eye(k, dtype=torch.bool)
    same_language, other_language = (
        scores.within[:, :k][:, mask].mean(1) for mask in (diagonal, ~diagonal)
    )
    return LanguageTransfer(
        rows=fit.rows,
        languages=fit.languages,
        site=site,
        offset=offset,
        n=fit.n,
        n_folds=len(fit.folds),
        draws=draws,
        auroc=auroc.float(),
        low=low.float(),
        high=high.float(),
        null_high=null.quantile(0.95, dim=0).float(),
        q=torch.from_numpy(false_discovery_control(p.flatten().numpy())).reshape(p.shape).float(),
        before=_estimates(scores.across[0], "AUROC across languages", fit.n),
        after=_estimates(scores.across[1], "AUROC across languages, means taken off", fit.n),
        accuracy_before=_estimates(scores.accuracy[0], "accuracy", fit.n),
        accuracy_after=_estimates(scores.accuracy[1], "accuracy, means taken off", fit.n),
        gain=_estimates(scores.accuracy[1] - scores.accuracy[0], "gain in accuracy", fit.n, 0.0),
        same_language=_estimate(same_language, "mean AUROC on the direction's own language", fit.n),
        other_language=_estimate(other_language, "mean AUROC on other languages", fit.n),
        provenance=residuals.provenance,
    )


@final
@dataclass(frozen=True, eq=False)
class LanguageLayers(Record):
    """The cross-fitted AUROC of every direction on every language at every site, no intervals."""

    SCHEMA_VERSION: ClassVar[int] = 2

    rows: tuple[str, ...]
    languages: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    n: int
    auroc: Float[Tensor, "site row language"]
    provenance: Provenance


def language_layers(residuals: Residuals, *, offset: int = -1) -> LanguageLayers:
    """Each language's direction on each language's held-out prompts at every site.

    >>> parallel = rl.languages.by_language(rl.load_languages(languages=("en", "es"), n_pairs=4))
    >>> rl.languages.language_layers(model.residuals(parallel)).auroc.shape
    torch.Size([3, 3, 2])

    Raises:
        InputError: as `Parallel.of`.
    """
    areas: list[Tensor] = []
    for site in residuals.sites:  # one fit at a time: its products are large
        fit = CrossFit.of(Parallel.of(residuals, site, offset))
        areas.append(_within(list(fit.each_fold(fit.leave_one_out()[:1])))[0])
    first = Parallel.of(residuals, residuals.sites[0], offset)
    return LanguageLayers(
        rows=(*first.languages, ALL),
        languages=first.languages,
        sites=residuals.sites,
        offset=offset,
        n=len(first.pairs),
        auroc=torch.stack(areas).float(),
        provenance=residuals.provenance,
    )


@final
@dataclass(frozen=True, eq=False)
class _Scores:
    """Each number under each draw, the estimate first; pairs of numbers are (before, after)."""

    within: Float64[Tensor, "draw row language"]
    across: tuple[Float64[Tensor, "draw row"], Float64[Tensor, "draw row"]]
    accuracy: tuple[Float64[Tensor, "draw row"], Float64[Tensor, "draw row"]]

    @classmethod
    def of(cls, folds: Sequence[Fold]) -> "_Scores":
        """All of them from the folds' coordinates."""
        moved = [Fold(_centred(f), f.centre, f.tested) for f in folds]
        return cls(
            _within(folds),
            (_across(folds), _across(moved)),
            (
                _accuracy(folds, [_own_threshold(f) for f in folds]),
                _accuracy(moved, [torch.zeros_like(_own_threshold(f)) for f in folds]),
            ),
        )

    @classmethod
    def together(cls, parts: Sequence["_Scores"]) -> "_Scores":
        """The draws of all parts, in their order."""
        return cls(
            torch.cat([part.within for part in parts]),
            _each_cat([part.across for part in parts]),
            _each_cat([part.accuracy for part in parts]),
        )


def _each_cat(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    before, after = zip(*pairs, strict=True)
    return torch.cat(before), torch.cat(after)


def _centred(fold: Fold) -> Float64[Tensor, "draw direction language pair side"]:
    """Each language's coordinates less the mean of its fitting prompts."""
    return fold.score - fold.centre[..., None, None]


def _own_threshold(fold: Fold) -> Float64[Tensor, "draw direction"]:
    """The midpoint of the sides of the direction's own language; for all languages, their mean."""
    centre = fold.centre[:, :-1].diagonal(dim1=1, dim2=2)
    return torch.cat([centre, fold.centre[:, -1].mean(-1, keepdim=True)], 1)


def _within(folds: Sequence[Fold]) -> Float64[Tensor, "draw row language"]:
    """AUROC of prompts of one language and fold, over all folds."""
    won = sum(_wins(*_sides(fold), fold.tested) for fold in folds)
    return torch.as_tensor(won) / _compared(folds)[:, None, None]


def _across(folds: Sequence[Fold]) -> Float64[Tensor, "draw row"]:
    """AUROC of a refuse-side prompt of one language and a comply-side one of another.

    All prompts of a fold against all, less those of one language against its own.
    """
    won, k = 0.0, folds[0].score.shape[2]
    for fold in folds:
        refuse, comply = _sides(fold)
        pooled = _wins(refuse.flatten(2), comply.flatten(2), fold.tested.repeat(1, k))
        won = won + pooled - _wins(refuse, comply, fold.tested).sum(-1)
    return torch.as_tensor(won) / (_compared(folds) * k * (k - 1))[:, None]


def _sides(fold: Fold) -> tuple[Tensor, Tensor]:
    return fold.score[..., 0], fold.score[..., 1]


def _compared(folds: Sequence[Fold]) -> Float64[Tensor, " draw"]:
    """How many pairs of tested pairs there are within the folds."""
    return torch.stack([fold.tested.sum(1).double().square() for fold in folds]).sum(0)


def _accuracy(
    folds: Sequence[Fold], thresholds: Sequence[Float64[Tensor, "draw row"]]
) -> Float64[Tensor, "draw row"]:
    """Share of other languages' prompts on the right side of the threshold, sides alike."""
    right, of = 0.0, 0.0
    for fold, threshold in zip(folds, thresholds, strict=True):
        beyond = (fold.score > threshold[:, :, None, None, None]).double()
        hits = (beyond[..., 0] + 1 - beyond[..., 1]) / 2
        k = fold.score.shape[2]
        others = torch.cat([1 - torch.eye(k), torch.ones(1, k)]).double()
        right = right + torch.einsum("mabj,mj,ab->ma", hits, fold.tested.double(), others)
        of = of + fold.tested.double().sum(1)[:, None] * others.sum(1)
    return torch.as_tensor(right) / torch.as_tensor(of)


def _wins(
    refuse: Float64[Tensor, "draw ... prompt"],
    comply: Float64[Tensor, "draw ... prompt"],
    tested: Bool[Tensor, "draw prompt"],
) -> Float64[Tensor, "draw ..."]:
    """How often a tested refuse-side prompt lies beyond a tested comply-side one; ties are halves.

    By places in sorted order, so that no tensor has two axes of prompts.
    """
    among = tested.reshape(len(tested), *[1] * (refuse.ndim - 2), -1)
    ordered = comply.masked_fill(~among, torch.inf).sort(-1).values
    below = torch.searchsorted(ordered, refuse.contiguous())
    not_above = torch.searchsorted(ordered, refuse.contiguous(), right=True)
    return (((below + not_above).double() / 2) * among).sum(-1)


def _at_a_time(fit: CrossFit) -> int:
    """How many draws' coordinates fit into `_MOST_BYTES`."""
    a, _, b, n, sides = fit.products.shape
    return max(1, _MOST_BYTES // (8 * a * b * n * sides))


def _estimated(fit: CrossFit) -> _Scores:
    """The estimate and the jackknife's draws, some of the draws at a time."""
    drawn = fit.leave_one_out().split(_at_a_time(fit))
    return _Scores.together([_Scores.of(list(fit.each_fold(weights))) for weights in drawn])


def _shuffled(fit: CrossFit, draws: int, seed: int) -> Float64[Tensor, "draw row language"]:
    """The matrix under shuffled labels."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (draws, fit.n), generator=generator).double() * 2 - 1
    drawn = signs.split(_at_a_time(fit))
    return torch.cat([_within(list(fit.each_fold(torch.ones_like(s), s))) for s in drawn])


def _bounded(drawn: Float64[Tensor, "draw ..."]) -> tuple[Tensor, Tensor, Tensor]:
    """The estimate, as it is, with the half width of its jackknife interval, kept in 0 to 1."""
    unbiased, low, _ = jackknife(drawn[0], drawn[1:])
    half = unbiased - low
    return drawn[0], (drawn[0] - half).clamp(min=0.0), (drawn[0] + half).clamp(max=1.0)


def _estimates(
    drawn: Float64[Tensor, "draw row"], what: str, n: int, control: float = 0.5
) -> tuple[Estimate, ...]:
    return tuple(_estimate(drawn[:, i], what, n, control) for i in range(drawn.shape[1]))


def _estimate(drawn: Float64[Tensor, " draw"], what: str, n: int, control: float = 0.5) -> Estimate:
    unbiased, low, _ = jackknife(drawn[0], drawn[1:])
    value, half = float(drawn[0]), float(unbiased - low)
    if bool(drawn.isnan().any()):
        return Estimate(None, None, None, n, f"{what}, {_METHOD}", control)
    least, most = (0.0, 1.0) if control == 0.5 else (-torch.inf, torch.inf)
    bounds = max(least, value - half), min(most, value + half)
    return Estimate(value, *bounds, n, f"{what}, {_METHOD}", control)
