"""Sign-flip tests over all layers and offsets; what lies behind the matrix; the shared pool."""

from collections.abc import Generator
from contextlib import suppress
from typing import Final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry import (
    PairReadings,
    Separability,
    SharedPool,
    Structure,
    fit_shared_pool,
    fit_structure,
    separability,
)
from refusal_lens.geometry.frame import twin_differences
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import twins
from refusal_lens.sites import Site, block_inputs
from refusal_lens.study.cached import cached
from refusal_lens.study.stage import Bench, Records, Stage, n_read_again

POOL: Final = (
    "safety_core"  # Joad et al. 2026 take the benign side of WildGuardMix, their safety core
)


def structure(bench: Bench, tick: Progress) -> Records:
    """Sign-flip tests over all layers and offsets; what lies behind the matrix; the shared pool."""
    model, layer = bench.model, bench.chosen_layer()
    sites, offsets = block_inputs(model.n_layers), model.chat.offsets
    by_site: dict[str, Tensor] = {}
    by_offset: dict[str, Tensor] = {}

    def by_category() -> Generator[tuple[str, Tensor]]:
        for category in bench.train.categories:  # one at a time: every offset takes memory
            own = bench.train.only(category=category)
            resid = _post(bench, own, tick)
            differences = twin_differences(resid.double(), twins(own))
            by_site[category] = differences[:, offsets.index(-1)].clone()
            by_offset[category] = differences[:, :, layer].clone()
            yield category, differences

    provenance = model.provenance(bench.train)
    tests = separability(
        by_category(), sites=sites, offsets=offsets, provenance=provenance, seed=bench.study.seed
    )
    records: Records = {"separability": tests}
    # Too few categories with a direction at the layer, or too few pairs: the report says so.
    with suppress(InputError):
        readings = PairReadings(sites, -1, layer, offsets, by_site, by_offset)
        records["structure"] = fit_structure(readings, provenance=provenance, seed=bench.study.seed)
    resid = bench.train_resid()[:, :, [layer]]
    with cached(model, bench.train, resid, (Site(layer),)) as cache:
        pool = bench.train.categories[0] if POOL not in bench.train.categories else POOL
        records["shared_pool"] = fit_shared_pool(cache, bench.train, pool)
    return records


def _post(
    bench: Bench, own: PromptSet, tick: Progress
) -> Float[Tensor, "prompt offset site d_model"]:
    """Some of the fitting prompts' residuals at every offset of the template."""
    kept = bench.post_resid(tick)
    if kept is None:
        return bench.model.residuals(own, offsets="post", progress=tick)
    row = {key: i for i, key in enumerate(bench.train.ids)}
    return kept[[row[key] for key in own.ids]]


STAGE: Final = Stage(
    "structure",
    "separable or not; clusters, dimension, subspaces",
    ("geometry",),
    (Separability, Structure, SharedPool),
    structure,
    n_read_again,
    lambda b: 1,
    after=("selection",),
)
