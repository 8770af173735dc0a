"""Cosines with reliability and intervals, by intended label and by behaviour."""

from dataclasses import replace
from typing import Final

import torch

from refusal_lens.directions import DirectionSet, fit_mean_difference
from refusal_lens.evaluation import Answers
from refusal_lens.geometry import Frame, Geometry, fit_geometry
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.study.cached import cached, last_token_stats
from refusal_lens.study.stage import Bench, Records, Stage, n_read_again


def geometry(bench: Bench, tick: Progress) -> Records:
    """Cosines with reliability and intervals, by intended label and by behaviour.

    Also with the pooled direction removed, and whitened where there are prompts enough. The same
    residuals with the labels of random pairs exchanged give the shuffled-label control.
    """
    resid = bench.train_resid(tick)
    read = bench.results.get("behaviour", "train", Answers)
    intended = bench.results.get("directions", "pooled", DirectionSet)
    kept = read.as_intended(bench.train)
    enough = [
        c for c in kept.categories if len(kept.only(category=c, label="refuse")) >= LEAST_PAIRS
    ]
    with cached(bench.model, bench.train, resid) as cache:
        records: Records = {
            "intended": fit_geometry(cache, bench.train),
            "removed": fit_geometry(cache, bench.train, frame=Frame(removed=intended)),
        }
        if len(enough) > 1:
            records["behaviour"] = fit_geometry(cache, kept.only(category=enough))
        if len(bench.train) - 2 * len(bench.train.categories) > bench.model.d_model:
            records["whitened"] = fit_geometry(cache, bench.train, frame=Frame(whitened=True))
    shuffled = exchange_labels(bench.train, bench.study.seed)
    records["shuffled"] = fit_mean_difference(
        last_token_stats(bench.model, shuffled, resid).pooled()
    )
    return records


def exchange_labels(prompts: PromptSet, seed: int) -> PromptSet:
    """The same prompts, the labels of each pair exchanged with probability one half.

    An unpaired prompt counts by itself.
    """
    generator = torch.Generator().manual_seed(seed)
    units = [(p.category, p.pair or p.id) for p in prompts]
    flip = {
        unit: bool(torch.randint(0, 2, (1,), generator=generator)) for unit in dict.fromkeys(units)
    }
    other: dict[Label, Label] = {"refuse": "comply", "comply": "refuse"}
    return PromptSet(
        tuple(
            replace(p, label=other[p.label]) if flip[unit] else p
            for p, unit in zip(prompts, units, strict=True)
        )
    )


STAGE: Final = Stage(
    "geometry",
    "cosines with reliability",
    ("behaviour", "directions"),
    (Geometry, DirectionSet),
    geometry,
    n_read_again,
    lambda b: 1,
)
