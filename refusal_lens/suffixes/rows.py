"""What each text did to refusal, beside no suffix and beside a neutral text of equal length."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from scipy.stats import false_discovery_control

from refusal_lens.intervals import mcnemar_p, mean_estimate, wilson
from refusal_lens.records import Estimate
from refusal_lens.suffixes.records import Against, FlipTest, SuffixBasis, SuffixRow
from refusal_lens.suffixes.shift import ROUNDING


@final
@dataclass(frozen=True, eq=False)
class Flags:
    """Verdicts of prompts: 1 refused, 0 not, NaN where the answer could not be read.

    `plain` is without a suffix, `texts` one row per text; `units` are pairs, or single prompts.
    """

    plain: np.ndarray
    texts: np.ndarray
    harmful: np.ndarray
    units: tuple[str, ...]


def suffix_rows(
    basis: SuffixBasis, flags: Flags, push: np.ndarray, orthogonal: np.ndarray
) -> tuple[SuffixRow, ...]:
    """A row per text; push and orthogonal shift are text x prompt, in distances of class means."""
    rows: list[SuffixRow] = []
    tests: list[tuple[int, FlipTest]] = []
    n = len(basis.suffixes)
    tokens = _tokens(basis)
    for t in range(len(basis.texts)):
        neutral = basis.neutral_place(t) if t < n else None
        tests.append((t, _mcnemar("no suffix", flags.texts[t], flags.plain)))
        if neutral is not None:
            tests.append((t, _mcnemar("neutral text", flags.texts[t], flags.texts[neutral])))
        rows.append(_row(basis, flags, t, neutral, (push, orthogonal), tokens))
    q = false_discovery_control([test.p for _, test in tests])
    corrected = [(t, replace(test, q=float(v))) for (t, test), v in zip(tests, q, strict=True)]
    return tuple(
        replace(row, tests=tuple(test for t, test in corrected if t == i))
        for i, row in enumerate(rows)
    )


def _tokens(basis: SuffixBasis) -> list[tuple[int, int]]:
    """Each text's number of tokens, and that of its neutral text."""
    of_neutral = dict(zip(basis.neutral, basis.neutral_tokens, strict=True))
    suffixes = list(zip(basis.tokens, basis.neutral_tokens, strict=True))
    neutral = [of_neutral[text] for text in basis.texts[len(suffixes) :]]
    return suffixes + [(n, n) for n in neutral]


def _row(
    basis: SuffixBasis,
    flags: Flags,
    t: int,
    neutral: int | None,
    shifts: tuple[np.ndarray, np.ndarray],
    tokens: Sequence[tuple[int, int]],
) -> SuffixRow:
    push, orthogonal = shifts
    beside = None if neutral is None else float(push[neutral].mean())
    change = flags.texts[t] - flags.plain
    at_zero = None if neutral is None else _mean_change(flags.texts[neutral] - flags.plain)
    mean_orthogonal = float(orthogonal[t].mean())
    rounding = ROUNDING * float(np.hypot(push[t], orthogonal[t]).mean())
    return SuffixRow(
        suffix=basis.texts[t],
        tokens=tokens[t][0],
        neutral_tokens=tokens[t][1],
        harmful=_rate(flags, t, flags.harmful),
        benign=_rate(flags, t, ~flags.harmful),
        change=_over_units(change, flags.units, at_zero),
        change_neutral=None
        if neutral is None
        else _over_units(flags.texts[t] - flags.texts[neutral], flags.units, 0.0),
        push=_over_units(push[t], flags.units, beside),
        orthogonal=_over_units(
            orthogonal[t],
            flags.units,
            None if neutral is None else float(orthogonal[neutral].mean()),
        ),
        efficiency=float(push[t].mean()) / mean_orthogonal if mean_orthogonal > rounding else None,
    )


def _rate(flags: Flags, t: int, side: np.ndarray) -> Estimate:
    """The share refused on one side; its control is the share without a suffix there."""
    verdicts, plain = flags.texts[t][side], flags.plain[side]
    clear, before = verdicts[~np.isnan(verdicts)], plain[~np.isnan(plain)]
    control = float(before.mean()) if len(before) else None
    return wilson(int(clear.sum()), len(clear), control, len(verdicts) - len(clear))


def _over_units(values: np.ndarray, units: Sequence[str], control: float | None) -> Estimate:
    """The mean over pairs, or single prompts, of each one's mean; unread answers are left out."""
    by_unit: dict[str, list[float]] = {}
    for value, unit in zip(values.tolist(), units, strict=True):
        if not np.isnan(value):
            by_unit.setdefault(unit, []).append(value)
    mean = mean_estimate([float(np.mean(v)) for v in by_unit.values()], control)
    return replace(mean, method=mean.method.replace("prompts", "pairs"))


def _mean_change(change: np.ndarray) -> float | None:
    clear = change[~np.isnan(change)]
    return float(clear.mean()) if len(clear) else None


def _mcnemar(against: Against, here: np.ndarray, there: np.ndarray) -> FlipTest:
    lost, gained = int(((here == 0) & (there == 1)).sum()), int(((here == 1) & (there == 0)).sum())
    p = mcnemar_p(lost, gained)
    return FlipTest(against, lost, gained, p, p)
