"""Seconds of the intervals of a geometry, against the passes that read the residuals."""

import torch

from benchmarks.document import Section, compared
from benchmarks.setting import Setting, lens
from benchmarks.timing import Task, take_turns
from refusal_lens.geometry import PairProducts, cosine_table
from refusal_lens.model import LensModel

N_CATEGORIES = 11
N_PAIRS = 30


def measure(setting: Setting) -> Section:
    """1,000 resamples, and the jackknife, of 11 categories at every layer and one offset."""
    model, prompts = lens(setting.source), setting.pairs(setting.size(3, 1))
    reading = "reading the residuals"
    tasks = interval_tasks(model, setting.size(1000, 10))
    timings = take_turns({**tasks, reading: lambda: model.residuals(prompts)}, setting.turns)
    n = N_CATEGORIES * N_PAIRS * 2
    timings[reading] = read = timings[reading].times(n / len(prompts))
    return Section(
        "Intervals",
        f"All cosines and reliabilities of {N_CATEGORIES} categories of {N_PAIRS} pairs at "
        f"{model.n_layers} layers and one offset, against reading the residuals of the {n} prompts "
        f"(measured on {len(prompts)} of them and scaled). {setting.turns} turns.",
        [compared(name, timings[name], (reading, read), gap="") for name in tasks],
        timings,
    )


def interval_tasks(model: LensModel, draws: int) -> dict[str, Task]:
    """Resamples and jackknife of random pairs at every layer."""
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
            moments = products.resampled(draws, seed)
            _ = moments.corrected, moments.reliability

    def jackknife() -> None:
        for products in sites:
            cosine_table(products)

    return {f"{draws:,} resamples": resample, "jackknife": jackknife}
