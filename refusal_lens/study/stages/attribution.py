"""What each part writes along each direction."""

from contextlib import suppress
from typing import Final

from refusal_lens.attribution import ComponentMatrix, Decomposition, component_matrix, decompose
from refusal_lens.errors import InputError
from refusal_lens.geometry import Geometry, MatrixCorrelation, matrix_correlation
from refusal_lens.progress import Progress
from refusal_lens.study.stage import Bench, Records, Stage, own_directions


def attribution(bench: Bench, tick: Progress) -> Records:
    """Every part's share in each category's direction at the chosen layer, and across them."""
    directions = own_directions(bench, bench.chosen_layer())
    found = decompose(bench.model, bench.train, directions, progress=tick)
    records: Records = {"decomposition": found}
    # One category only, or too few of them to permute: the report says so.
    with suppress(InputError):
        matrix = component_matrix([found.attribution(d.category) for d in directions])
        records["matrix"] = matrix
        geometry = bench.results.get("geometry", "intended", Geometry)
        rows = [geometry.categories.index(c) for c in matrix.categories]
        naive = geometry.naive[geometry.sites.index(directions[0].site)][rows][:, rows]
        seed = bench.study.seed
        records["correlation"] = matrix_correlation(matrix.similarity, naive, seed=seed)
    return records


STAGE: Final = Stage(
    "attribution",
    "what each part writes along each direction",
    ("directions", "geometry"),
    (Decomposition, ComponentMatrix, MatrixCorrelation),
    attribution,
    lambda b: len(b.train),
    lambda b: 1,
    after=("selection",),
)
