"""Sparse features of a run, with invented numbers."""

import torch

from refusal_lens.intervals import mean_estimate, wilson
from refusal_lens.records import Estimate
from refusal_lens.sites import Site
from refusal_lens.sparse import (
    Context,
    FeatureCard,
    FeatureCards,
    FeatureEffect,
    FeatureEffects,
    FeatureSummary,
    FiringTests,
    Listed,
    Pool,
    Quality,
    compare_firing,
    permuted,
    published_lists,
    rate_difference,
)
from support.paired_residuals import PROVENANCE

SAE = "topk SAE of 24 latents at resid_pre[3] (0123abcd)"
FEW = ("advice", "humanizing", "safety")


def pool(categories: tuple[str, ...] = FEW, n: int = 48) -> Pool:
    """Latent 0 fires on refused prompts everywhere, 1 in the first category."""
    generator = torch.Generator().manual_seed(0)
    refused = torch.arange(n * len(categories)) % 2 == 0
    names = tuple(c for c in categories for _ in range(n))
    fires = torch.rand(len(names), 24, generator=generator) < 0.2
    fires[:, 0] = refused
    fires[:, 1] = refused & torch.tensor([name == categories[0] for name in names])
    return Pool(fires, refused, names)


def firing(categories: tuple[str, ...] = FEW) -> FiringTests:
    return compare_firing(pool(categories), sae=SAE, site=Site(3), offset=-1, provenance=PROVENANCE)


def summary(categories: tuple[str, ...] = FEW) -> FeatureSummary:
    tests = firing(categories)
    return FeatureSummary(
        SAE,
        Quality(144, 0.71, 3.8, 2, 24),
        Listed.of(tests),
        tests.expected_core,
        permuted(pool(categories), tests, draws=5, seed=0),
        published_lists(tests.difference, tests.categories),
        (0, 1),
        ((5, 6), (7, 8)),
        Estimate(0.6, 0.5, 0.7, 66, "difference", 0.02),
        Estimate(0.4, None, None, 2, "cosine", 0.1),
        mean_estimate([0.2, 0.3, 0.25], 0.05),
        150.0,
        PROVENANCE,
    )


def cards(texts: tuple[str, ...] = ("Should I", " sell", " my shares", "no")) -> FeatureCards:
    before, token, after, promoted = texts
    context = Context("advice-1-refuse", "advice", "refuse", before, token, after, 3.25)
    made = tuple(
        FeatureCard(
            latent,
            role,
            n_lists,
            0.7,
            rate_difference(15, 20, 5, 20),
            {"advice": (0.9, 0.1)},
            (context,),
            (promoted, promoted),
            0.3,
        )
        for latent, role, n_lists in ((0, "core", 3), (1, "tail", 1))
    )
    return FeatureCards(made, 66, PROVENANCE)


def effects() -> FeatureEffects:
    rows = (
        FeatureEffect("none", "none", "refuse", wilson(12, 24)),
        FeatureEffect("ablated", "latents", "refuse", wilson(4, 24, 0.5), 0.03),
        FeatureEffect("ablated", "control: other latents", "refuse", wilson(11, 24, 0.5)),
        FeatureEffect("none", "none", "comply", wilson(4, 24)),
        FeatureEffect("added", "latents", "comply", wilson(14, 24, 4 / 24), 0.4),
    )
    return FeatureEffects(SAE, 2, 2, "refusal", "greedy", rows, PROVENANCE)
