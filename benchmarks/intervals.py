"""Seconds of the intervals of a geometry, against the passes that read the residuals."""

import argparse
import statistics

import torch
from timing import take_turns

from refusal_lens.geometry import PairProducts, cosine_table
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet

N_CATEGORIES = 11
N_PAIRS = 30
DRAWS = 1000


def intervals_section(model: LensModel, prompts: PromptSet, args: argparse.Namespace) -> str:
    """1,000 resamples, and the jackknife, of 11 categories at every layer and one offset."""
    generator = torch.Generator().manual_seed(0)
    sites = [
        PairProducts.of(
            [
                torch.randn(N_PAIRS, model.d_model, generator=generator, dtype=torch.float64)
                for _ in range(N_CATEGORIES)
            ]
        )
        for _ in range(model.n_layers)
    ]

    def resample() -> None:
        for seed, products in enumerate(sites):
            moments = products.resampled(DRAWS, seed)
            _ = moments.corrected, moments.reliability

    def jackknife() -> None:
        for products in sites:
            cosine_table(products)

    tasks = {
        f"{DRAWS:,} resamples": resample,
        "jackknife": jackknife,
        "reading": lambda: model.residuals(prompts),
    }
    found = take_turns(tasks, args.repeats)
    n = N_CATEGORIES * N_PAIRS * 2
    unit = statistics.median(found["reading"].wall) / len(prompts) * n
    rows = [
        f"| {name} | {statistics.median(t.wall):.1f} | {statistics.median(t.wall) / unit:.3f} |"
        for name, t in found.items()
        if name != "reading"
    ]
    return "\n".join(
        [
            f"Wall seconds of all cosines and reliabilities of {N_CATEGORIES} categories of "
            f"{N_PAIRS} pairs at {model.n_layers} layers and one offset (target for "
            f"{DRAWS:,} resamples: at most 60 s), and that over the time of reading the residuals "
            f"of the {n} prompts (measured on {len(prompts)} of them). {args.repeats} turns.",
            "",
            "| intervals | seconds | over reading the residuals |",
            "|---|---|---|",
            *rows,
        ]
    )
