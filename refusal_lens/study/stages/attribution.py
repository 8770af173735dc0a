"""What each part writes along each direction."""

from contextlib import suppress
from typing import Final

from refusal_lens.attribution import ComponentMatrix, Decomposition, component_matrix, decompose
from refusal_lens.errors import InputError
from refusal_lens.geometry import MatrixCorrelation, matrix_correlation
from refusal_lens.progress import Progress
from refusal_lens.study.fitted import FitSizes
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.stage import Bench, Records, Stage, Work, category_directions
from refusal_lens.study.stages.geometry import INTENDED

DECOMPOSITION: Final = Key("attribution", "decomposition", Decomposition)
MATRIX: Final = Key("attribution", "matrix", ComponentMatrix)
CORRELATION: Final = Key("attribution", "correlation", MatrixCorrelation)


def attribution(bench: Bench, tick: Progress) -> Records:
    """Every part's share in each category's direction at the chosen layer, and across them."""
    directions = category_directions(bench, chosen_layer(bench.results))
    decomposition = decompose(bench.model, bench.train, directions, progress=tick)
    records: Records = {DECOMPOSITION: decomposition}
    # One category only, or too few of them to permute: the report says so.
    with suppress(InputError):
        matrix = component_matrix([decomposition.attribution(d.category) for d in directions])
        records[MATRIX] = matrix
        geometry = bench.results.get(INTENDED)
        rows = [geometry.categories.index(c) for c in matrix.categories]
        naive = geometry.naive[geometry.sites.index(directions[0].site)][rows][:, rows]
        seed = bench.study.seed
        records[CORRELATION] = matrix_correlation(matrix.similarity, naive, seed=seed)
    return records


STAGE: Final = Stage(
    "attribution",
    "what each part writes along each direction",
    run=attribution,
    work=lambda b: Work.over(b.train),
    writes=(DECOMPOSITION, MATRIX, CORRELATION),
    needs=("directions", "geometry"),
    after=("selection",),
    uses=(FitSizes,),
    plan="attribution",
    place=310,
)
