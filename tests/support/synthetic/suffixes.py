"""Suffixes with planted effects: flips that depend on push alone, in a stream of two axes."""

import numpy as np
import torch

from refusal_lens.sites import Site
from refusal_lens.suffixes.analysis import analyse
from refusal_lens.suffixes.records import SuffixAnalysis, SuffixBasis, SuffixReadings
from refusal_lens.suffixes.suffix import Suffix
from support.paired_residuals import PROVENANCE

FAMILIES = ("pushing", "idle")
PER_FAMILY = 4
N_PAIRS = 30
SITES = (Site(1), Site(2))


def basis(families: tuple[str, ...] = FAMILIES, n_pairs: int = N_PAIRS) -> SuffixBasis:
    """Harmful prompts are refused, benign ones answered; two neutral texts serve all suffixes."""
    suffixes = tuple(
        Suffix(f"{family} {i}", f"{family} {i}.", family)
        for family in families
        for i in range(PER_FAMILY)
    )
    neutral = tuple(Suffix(f"neutral, {n} tokens", f"Text {n}.", "neutral") for n in (4, 5))
    n, sides = len(suffixes), ("refuse", "comply")
    return SuffixBasis(
        suffixes=suffixes,
        neutral=tuple(neutral[i % 2] for i in range(n)),
        tokens=tuple(4 + i % 2 for i in range(n)),
        neutral_tokens=tuple(4 + i % 2 for i in range(n)),
        ids=tuple(f"p{i}{side}" for i in range(n_pairs) for side in sides),
        labels=sides * n_pairs,
        units=tuple(f"p{i}" for i in range(n_pairs) for _ in sides),
        refused=(True, False) * n_pairs,
        layer=2,
        sites=SITES,
        vectors=torch.eye(4)[:2],
        scale=torch.tensor([1.0, 2.0]),
        centre=torch.zeros(2, 4),
        control_names=("control: random",),
        controls=torch.eye(4)[3:],
        judge="substring",
        decoding="greedy",
        provenance=PROVENANCE,
    )


def readings(of: SuffixBasis, seed: int = 0) -> SuffixReadings:
    """The first family pushes by one class distance and loses refusals so; others do nothing."""
    rng = np.random.default_rng(seed)
    texts, n = of.texts, len(of.ids)
    mean = np.array([float(t.family == of.suffixes[0].family) for t in texts])
    push = mean[:, None] + 0.5 * rng.normal(size=(len(texts), n))
    before = np.array([bool(r) for r in of.refused])
    lost = rng.random(push.shape) < 1 / (1 + np.exp(-5 * (push - 0.8)))
    pushes = torch.from_numpy(np.stack([0 * push, 2 * push], axis=-1)).float()
    return SuffixReadings(
        ids=of.ids,
        refused=tuple(tuple(bool(x) for x in row) for row in before & ~lost),
        connectivity=torch.from_numpy(rng.normal(size=(n, 2))).float(),
        cosine=torch.from_numpy(rng.uniform(-1, 1, size=(n, 2))).float(),
        push=pushes,
        orthogonal=torch.from_numpy(1 + rng.random((len(texts), n, 2))).float(),
        control_push=torch.from_numpy(rng.normal(size=(1, len(texts), n))).float(),
    )


def analysis(families: tuple[str, ...] = FAMILIES, draws: int = 20) -> SuffixAnalysis:
    of = basis(families)
    return analyse(of, [readings(of)], draws=draws)
