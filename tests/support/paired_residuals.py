"""Residuals of paired prompts, random or with given differences, and what they are of."""

import torch

from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import Provenance
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site
from support.simulated import generator, means

PROVENANCE = Provenance("tiny", "digest", "template", "prefix", "prompts", "float32", "cpu")


SITE = Site(1)


def prompts_of(n_pairs, categories=("red", "blue")):
    return PromptSet(
        tuple(
            Prompt(f"{c}{i}{label}", "text", c, label, "train", "test", f"{c}{i}")
            for c in categories
            for i in range(n_pairs)
            for label in ("refuse", "comply")
        )
    )


def residuals_of(resid, prompts, sites=(SITE,)):
    """Residuals [prompt, site, d_model] at offset -1."""
    return Residuals.of(resid[:, None], prompts, sites=sites, offsets=(-1,), provenance=PROVENANCE)


def with_differences(differences, sites, offsets=(-1,)):
    """Residuals of pairs with given differences {category: [pair, offset, site, d_model]}.

    The comply sides are zero.
    """
    prompts = PromptSet(
        tuple(
            Prompt(f"{c}{i}{label}", "text", c, label, "train", "test", f"{c}{i}")
            for c, d in differences.items()
            for i in range(len(d))
            for label in ("refuse", "comply")
        )
    )
    both = [torch.stack([d, torch.zeros_like(d)], 1).flatten(0, 1) for d in differences.values()]
    return Residuals.of(
        torch.cat(both), prompts, sites=sites, offsets=offsets, provenance=PROVENANCE
    )


def some_residuals(n_pairs=10, d=12, seed=0, n_sites=1):
    """Rows refuse, comply, refuse, ...; the two categories' differences have cosine .6."""
    random = generator(seed)
    resid = torch.randn(4 * n_pairs, n_sites, d, generator=random)
    mu = (3 * means(0.6, d)).float()
    resid[: 2 * n_pairs : 2] += mu[0]
    resid[2 * n_pairs :: 2] += mu[1]
    return resid
