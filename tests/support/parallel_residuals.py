"""Residuals of the same pairs in several languages, with directions and offsets that are known."""

import torch

from refusal_lens.prompts import Prompt, PromptSet
from support.paired_residuals import residuals_of
from support.simulated import generator

D, N = 24, 30


def parallel_prompts(languages=("en", "de"), n=N):
    """The same pairs in every language."""
    return PromptSet(
        tuple(
            Prompt(f"{c}/{i}{side}", "text", c, side, "test", "test", f"p{i}", c)
            for c in languages
            for i in range(n)
            for side in ("refuse", "comply")
        )
    )


def parallel_residuals(directions, offsets=None, *, shared=0.0, noise=1.0, n=N, seed=0):
    """Languages with given true directions and offsets; `shared` content comes back in each.

    The content of a pair's refuse side, the same in every language, is `shared` times noise.
    """
    languages = tuple("abcdefgh"[: len(directions)])
    random = generator(seed)
    content = shared * torch.randn(n, D, generator=random)
    rows = []
    for k, direction in enumerate(directions):
        offset = torch.zeros(D) if offsets is None else offsets[k]
        own_noise = noise * torch.randn(n, 2, D, generator=random)
        x = own_noise + offset
        x[:, 0] += direction + content
        rows.append(x.flatten(0, 1))
    return residuals_of(torch.cat(rows)[:, None], parallel_prompts(languages, n))


def unit(i, length=4.0):
    vector = torch.zeros(D)
    vector[i] = length
    return vector
