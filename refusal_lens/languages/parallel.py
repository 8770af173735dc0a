"""Residuals of parallel pairs as one tensor: language x pair x side."""

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.residuals import Residuals, pair_rows
from refusal_lens.sites import Site

LEAST_PAIRS: Final = 4
N_FOLDS: Final = 5


@final
@dataclass(frozen=True, eq=False)
class Parallel:
    """Residuals of the same pairs in several languages, at one site and offset.

    Axis `side` is (refuse, comply). `pairs` names the pairs, the same ones in every language.

    >>> parallel = rl.languages.by_language(rl.load_languages(languages=("en", "es"), n_pairs=4))
    >>> rl.languages.Parallel.of(model.residuals(parallel), rl.Site(2)).x.shape
    torch.Size([2, 4, 2, 32])
    """

    languages: tuple[str, ...]
    pairs: tuple[str, ...]
    x: Float64[Tensor, "language pair side d_model"]

    @classmethod
    def of(cls, residuals: Residuals, site: Site, offset: int = -1) -> "Parallel":
        """The residuals of `by_language` prompts at a site.

        Raises:
            InputError: fewer than two languages, categories with different pairs (they are no
                parallel languages), prompts without a pair, or fewer than four pairs.
        """
        prompts = residuals.labelled
        both = zip(prompts.pairs(), pair_rows(prompts).tolist(), strict=True)
        rows = {(refuse.category, refuse.pair): pair for (refuse, _), pair in both}
        pairs = tuple(dict.fromkeys(p.pair or "" for p in prompts))
        languages = prompts.categories
        if len(languages) < 2:
            raise InputError(
                f"the prompts are of {[*languages]}; languages are compared with each other: "
                "give two or more, rl.load_languages(languages=('en', 'de'))"
            )
        keys = [(c, pair) for c in languages for pair in pairs]
        if missing := [key for key in keys if key not in rows]:
            language, pair = missing[0]
            raise InputError(
                f"pair {pair!r} of language {language!r} lacks a side, or both; give the same "
                "pairs in every language: rl.languages.by_language(rl.load_languages())"
            )
        if len(pairs) < LEAST_PAIRS:
            raise InputError(f"{len(pairs)} parallel pairs; expected at least {LEAST_PAIRS}")
        x = residuals.at(site, offset).double()[[row for key in keys for row in rows[key]]]
        return cls(languages, pairs, x.reshape(len(languages), len(pairs), 2, -1))

    @property
    def difference(self) -> Float64[Tensor, "language pair d_model"]:
        """Refuse minus comply within each pair."""
        return self.x[:, :, 0] - self.x[:, :, 1]

    @property
    def folds(self) -> tuple[Tensor, ...]:
        """The places of the pairs of each fold, dealt out in turn; a fold has two pairs or more."""
        n = len(self.pairs)
        n_folds = min(N_FOLDS, n // 2)
        return tuple(torch.arange(f, n, n_folds) for f in range(n_folds))
