"""Languages of simulated residuals: b has the direction of a and lies far along it, c another."""

from functools import cache

from refusal_lens.intervals import wilson
from refusal_lens.languages import (
    AblationTransfer,
    LanguageCosines,
    LanguageLayers,
    LanguageTransfer,
    language_cosines,
    language_layers,
    language_transfer,
)
from refusal_lens.languages.ablation import RANDOM, SHUFFLED
from refusal_lens.languages.crossfit import ALL
from refusal_lens.residuals import Residuals
from support.paired_residuals import PROVENANCE, SITE
from support.parallel_residuals import parallel_residuals, unit

LANGUAGES = ("a", "b", "c")


@cache
def _residuals() -> Residuals:
    offsets = [0 * unit(0), unit(0, 12.0), 0 * unit(0)]
    return parallel_residuals([unit(0), unit(0), unit(1)], offsets, n=12)


def cosines() -> LanguageCosines:
    return language_cosines(_residuals())


def language_areas() -> LanguageTransfer:
    return language_transfer(_residuals(), SITE, draws=19)


def language_curves() -> LanguageLayers:
    return language_layers(_residuals())


def ablation() -> AblationTransfer:
    """Nothing was refused in c."""
    rows = (*LANGUAGES, ALL, SHUFFLED, RANDOM)
    hits = [1, 1, 7, 0, 7, 8]
    rates = tuple((wilson(n, 8, 1.0), wilson(min(8, n + 1), 8, 1.0), wilson(0, 0)) for n in hits)
    return AblationTransfer(
        rows=rows,
        languages=LANGUAGES,
        layer=SITE.layer,
        judge="opening",
        decoding="greedy",
        rates=rates,
        pooled=tuple(wilson(2 * n, 16, 1.0) for n in hits),
        provenance=PROVENANCE,
    )
