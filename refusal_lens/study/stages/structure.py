"""Sign-flip tests over all layers and offsets; what lies behind the matrix; the shared pool."""

from collections.abc import Generator
from contextlib import suppress
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.geometry import (
    Separability,
    SharedPool,
    Structure,
    fit_shared_pool,
    fit_structure,
    separability,
)
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site
from refusal_lens.study.fitted import FitSizes
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.stage import Bench, Records, Stage, count_kept, reading_again

SEPARABILITY: Final = Key("structure", "separability", Separability)
STRUCTURE: Final = Key("structure", "structure", Structure)
SHARED_POOL: Final = Key("structure", "shared_pool", SharedPool)

POOL: Final = (
    "safety_core"  # Joad et al. 2026 take the benign side of WildGuardMix, their safety core
)


def structure(bench: Bench, tick: Progress) -> Records:
    """Sign-flip tests over all layers and offsets; what lies behind the matrix; the shared pool."""
    layer, seed = chosen_layer(bench.results), bench.study.seed
    at_layer: list[Residuals] = []

    def by_category() -> Generator[Residuals]:
        for category in bench.train.categories:  # one at a time: every offset takes memory
            prompts = bench.train.only(category=category)
            part = bench.model.residuals(prompts, offsets="post", progress=tick)
            at_layer.append(part.select(sites=[Site(layer)]))
            yield part

    kept = bench.post_resid()
    records: Records = {SEPARABILITY: separability(kept or by_category(), seed=seed)}
    resid = bench.train_resid()
    # Too few categories with a direction at the layer, or too few pairs: the report says so.
    with suppress(InputError):
        there = kept or Residuals.join(at_layer)
        records[STRUCTURE] = fit_structure(resid, layer, at_layer=there, seed=seed)
    categories = bench.train.categories
    pool = POOL if POOL in categories else categories[0]
    records[SHARED_POOL] = fit_shared_pool(resid, pool, sites=(Site(layer),))
    count_kept(bench, tick)
    return records


STAGE: Final = Stage(
    "structure",
    "separable or not; clusters, dimension, subspaces",
    run=structure,
    work=reading_again,
    writes=(SEPARABILITY, STRUCTURE, SHARED_POOL),
    needs=("geometry",),
    after=("selection",),
    uses=(FitSizes,),
    place=100,
)
