"""From verdicts and shifts to what each suffix did, and whether one predicts the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import torch

from refusal_lens.records import Estimate
from refusal_lens.suffixes.flips import FlipRows, Prediction, predict_flips, with_products
from refusal_lens.suffixes.records import (
    FamilyRow,
    FlipGroup,
    SuffixAnalysis,
    SuffixBasis,
    SuffixReadings,
)
from refusal_lens.suffixes.resampling import (
    DRAWS,
    auroc_estimate,
    crossed_weights,
    weighted_mean,
)
from refusal_lens.suffixes.rows import Flags, suffix_rows
from refusal_lens.suffixes.suffix import NEUTRAL, suffixes_digest

MAIN: Final = ("connectivity", "push", "orthogonal shift")
"""What the main regression takes, as in the paper."""
_FIT_DRAWS: Final = 300
_SITE_DRAWS: Final = 300


def analyse(
    basis: SuffixBasis, readings: Sequence[SuffixReadings], *, draws: int = DRAWS, seed: int = 0
) -> SuffixAnalysis:
    """Rates, pushes and predictions of flips from what was measured, of any number of parts.

    Prompts that no part holds are left out.

    >>> how = rl.suffixes.AnswerSettings(rl.make_judge("substring"), rl.Decoding(2))
    >>> along, few = rl.suffixes.Along((direction,), 2), prompts.only(split="test")
    >>> basis = rl.suffixes.prepare(model, few, along, how, rl.load_suffixes()[:2])
    >>> analyse(basis, [rl.suffixes.measure_texts(model, few, basis, how)], draws=5).n_prompts
    12
    """
    whole = _joined(basis, readings)
    rows = suffix_rows(basis, whole.flags, whole.push, whole.orthogonal)
    families = _families(basis, whole, draws, seed)
    n_curves, curves = _curves(basis, whole, draws, seed)
    return SuffixAnalysis(
        layer=basis.layer,
        sites=basis.sites,
        scale=whole.scale,
        n_prompts=len(whole.flags.units),
        n_refused=int((whole.flags.plain == 1).sum()),
        judge=basis.judge,
        decoding=basis.decoding,
        control_names=basis.control_names,
        rows=rows,
        families=families,
        groups=tuple(_group(basis, whole, kind, draws, seed) for kind in ("lost", "gained")),
        n_curves=n_curves,
        curves=curves,
        points=_points(basis, whole),
        suffixes_digest=suffixes_digest(basis.suffixes),
        provenance=basis.provenance,
    )


@final
@dataclass(frozen=True, eq=False)
class _Whole:
    """All parts together, in the order of the basis' prompts; numbers at the layer unless `by_`."""

    flags: Flags
    scale: float
    connectivity: np.ndarray  # prompt
    cosine: np.ndarray  # prompt
    push: np.ndarray  # text x prompt
    orthogonal: np.ndarray  # text x prompt
    by_site: np.ndarray  # text x prompt x site: push in distances between the class means
    control_push: np.ndarray  # control x text x prompt


def _joined(basis: SuffixBasis, readings: Sequence[SuffixReadings]) -> _Whole:
    ids = [key for part in readings for key in part.ids]
    kept = [i for i, key in enumerate(basis.ids) if key in set(ids)]
    order = [ids.index(basis.ids[i]) for i in kept]
    at = basis.at
    push = torch.cat([r.push for r in readings], dim=1)[:, order].double()
    orthogonal = torch.cat([r.orthogonal for r in readings], dim=1)[:, order, at].double()
    texts = [[v for r in readings for v in r.refused[t]] for t in range(len(basis.texts))]
    flags = Flags(
        plain=_numbers([basis.refused[i] for i in kept]),
        texts=np.stack([_numbers(row)[order] for row in texts]),
        harmful=np.array([basis.labels[i] == "refuse" for i in kept]),
        units=tuple(basis.units[i] for i in kept),
    )
    connectivity, cosine = (
        torch.cat([getattr(r, name) for r in readings])[order, at].double().numpy()
        for name in ("connectivity", "cosine")
    )
    control = torch.cat([r.control_push for r in readings], dim=2)[:, :, order]
    scale = float(basis.scale[at])
    return _Whole(
        flags=flags,
        scale=scale,
        connectivity=connectivity,
        cosine=cosine,
        push=push[:, :, at].numpy() / scale,
        orthogonal=orthogonal.numpy() / scale,
        by_site=(push / basis.scale.double()).numpy(),
        control_push=control.double().numpy() / scale,
    )


def _numbers(flags: Sequence[bool | None]) -> np.ndarray:
    """1 refused, 0 not, NaN where the answer could not be read."""
    return np.array([np.nan if flag is None else float(flag) for flag in flags])


def _families(basis: SuffixBasis, whole: _Whole, draws: int, seed: int) -> tuple[FamilyRow, ...]:
    flags, n = whole.flags, len(basis.suffixes)
    change = flags.texts - flags.plain
    places = np.array([basis.neutral_place(i) for i in range(n)])
    against = flags.texts[:n] - flags.texts[places]
    every = _family_texts(basis)
    neutral_texts = every[NEUTRAL]

    def mean(table: np.ndarray, texts: list[int], control: float | None) -> Estimate:
        values, units, of = _crossed(table[texts], flags.units)
        return weighted_mean(values, crossed_weights(units, of, draws, seed), control)

    neutral = mean(change, neutral_texts, 0.0)
    neutral_push = mean(whole.push, neutral_texts, 0.0)
    return tuple(
        FamilyRow(
            family=name,
            n_suffixes=len(texts),
            change=neutral if name == NEUTRAL else mean(change, texts, neutral.value),
            change_neutral=None if name == NEUTRAL else mean(against, texts, 0.0),
            push=neutral_push if name == NEUTRAL else mean(whole.push, texts, neutral_push.value),
        )
        for name, texts in every.items()
    )


def _family_texts(basis: SuffixBasis) -> dict[str, list[int]]:
    """Places of each family's texts, the neutral ones last."""
    texts: dict[str, list[int]] = {}
    for i, text in enumerate(basis.texts):
        texts.setdefault(text.family if i < len(basis.suffixes) else NEUTRAL, []).append(i)
    return texts


def _crossed(table: np.ndarray, units: Sequence[str]) -> tuple[np.ndarray, list[str], list[int]]:
    """The defined cells of a table of texts and prompts, with the unit and the text of each."""
    text, prompt = np.nonzero(~np.isnan(table))
    return table[text, prompt], [units[p] for p in prompt.tolist()], text.tolist()


def _curves(basis: SuffixBasis, whole: _Whole, draws: int, seed: int) -> tuple[int, torch.Tensor]:
    refused = np.nonzero(whole.flags.plain == 1)[0]
    every = _family_texts(basis)
    curves = torch.full((len(every), 3, len(basis.sites)), torch.nan)
    for f, texts in enumerate(every.values()):
        for s in range(len(basis.sites)):
            table = whole.by_site[texts][:, refused, s]
            values, units, of = _crossed(table, [whole.flags.units[p] for p in refused])
            mean = weighted_mean(values, crossed_weights(units, of, draws, seed))
            for k, value in enumerate((mean.value, mean.low, mean.high)):
                curves[f, k, s] = torch.nan if value is None else value
    return len(refused), curves


def _group(
    basis: SuffixBasis,
    whole: _Whole,
    kind: Literal["lost", "gained"],
    draws: int,
    seed: int,
) -> FlipGroup:
    """Flips of the prompts that were refused without a suffix, or of those that were not."""
    n, before = len(basis.suffixes), 1.0 if kind == "lost" else 0.0
    eligible = (whole.flags.plain == before) & ~np.isnan(whole.flags.texts[:n])
    text, prompt = np.nonzero(eligible)
    flipped = whole.flags.texts[text, prompt] != before
    columns: dict[str, np.ndarray] = {
        "connectivity": whole.connectivity[prompt],
        "cosine": whole.cosine[prompt],
        "push": whole.push[text, prompt],
        "orthogonal shift": whole.orthogonal[text, prompt],
        "tokens": np.array(basis.tokens, dtype=float)[text],
    }
    columns |= {
        f"push, {name}": whole.control_push[c][text, prompt]
        for c, name in enumerate(basis.control_names)
    }
    units = tuple(whole.flags.units[p] for p in prompt)
    rows = FlipRows(columns, flipped, tuple(prompt.tolist()), units, tuple(text.tolist()))
    weights = crossed_weights(units, rows.suffixes, min(draws, _SITE_DRAWS), seed)
    sign = 1.0 if kind == "lost" else -1.0
    by_site = [
        auroc_estimate(sign * whole.by_site[text, prompt, s], flipped, weights)
        for s in range(len(basis.sites))
    ]
    return FlipGroup(
        kind=kind,
        n_rows=len(flipped),
        n_flips=int(flipped.sum()),
        n_prompts=len({*prompt.tolist()}),
        reason=rows.reason,
        predictions=() if rows.reason else _predictions(rows, draws, seed),
        by_site=tuple(by_site),
    )


def _predictions(rows: FlipRows, draws: int, seed: int) -> tuple[Prediction, ...]:
    alone = [(name, (name,)) for name in rows.columns]
    together = [
        (", ".join(MAIN), MAIN),
        ("the same with products", with_products(MAIN)),
    ]
    few = min(draws, _FIT_DRAWS)
    return tuple(
        predict_flips(rows, columns, name=name, draws=few, seed=seed)
        for name, columns in (*together, *alone)
    )


def _points(basis: SuffixBasis, whole: _Whole) -> torch.Tensor:
    n = len(basis.suffixes)
    eligible = (whole.flags.plain == 1) & ~np.isnan(whole.flags.texts[:n])
    text, prompt = np.nonzero(eligible)
    values = (
        whole.push[text, prompt],
        whole.orthogonal[text, prompt],
        (whole.flags.texts[text, prompt] == 0).astype(float),
    )
    return torch.from_numpy(np.stack(values, axis=1)).float()
