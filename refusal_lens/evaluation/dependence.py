"""Whether a label depends on a direction: adjusted mutual information, with what chance gives.

A cell is (prompt, direction, label), as integers; a prompt has at most one cell a direction.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import entr
from sklearn.metrics.cluster import expected_mutual_information

from refusal_lens.records import Estimate

DRAWS: Final = 9_999
BOOTSTRAPS: Final = 400
_CHUNK: Final = 500
_EPSILON: Final = 1e-12
_METHOD: Final = (
    "adjusted mutual information of direction and manner; control: directions permuted within "
    "prompt"
)
GridCells = Int64[np.ndarray, "cell 3"]
Counts = Float64[np.ndarray, "*draw row manner"]


def dependence_of(
    cells: GridCells, *, draws: int, rng: np.random.Generator
) -> tuple[Estimate, float | None]:
    """Adjusted mutual information of direction and manner over cells (prompt, direction, manner).

    The interval is normal, with the standard deviation of a bootstrap over prompts: a percentile
    interval would sit too high, since prompts drawn twice look like dependence. p permutes the
    directions within each prompt, (b + 1) / (B + 1). Cells lie in the order of their prompts.
    """
    prompts = np.unique(cells[:, 0])
    if len(np.unique(cells[:, 1])) < 2 or len(np.unique(cells[:, 2])) < 2 or len(prompts) < 2:
        return Estimate(None, None, None, len(prompts), _METHOD), None
    shape = (int(cells[:, 1].max()) + 1, int(cells[:, 2].max()) + 1)
    each = [cells[cells[:, 0] == q, 1:] for q in prompts]
    of_prompt = np.stack([table(one[:, 0], one[:, 1], shape) for one in each])
    whole = of_prompt.sum(0)
    value = float(adjusted(whole, information(whole)))
    p, permuted = permutation_test(cells, draws, rng)
    picks = rng.integers(len(prompts), size=(BOOTSTRAPS, len(prompts)))
    drawn = [float(adjusted(counts := of_prompt[x].sum(0), information(counts))) for x in picks]
    half = 1.96 * float(np.std(drawn, ddof=1))
    control = float(adjusted(whole, permuted).mean())
    return Estimate(value, value - half, value + half, len(prompts), _METHOD, control), p


def permutation_test(
    cells: GridCells, draws: int, rng: np.random.Generator
) -> tuple[float, Float64[np.ndarray, " draw"]]:
    """p of the information that directions give about manners, and the permuted information."""
    shape = (int(cells[:, 1].max()) + 1, int(cells[:, 2].max()) + 1)
    permuted = _permuted(cells, shape, draws, rng)
    seen = float(information(table(cells[:, 1], cells[:, 2], shape)))
    # Equal tables may differ in the last bits.
    return (float((permuted >= seen - 1e-9).sum()) + 1) / (draws + 1), permuted


def table(
    rows: Int64[np.ndarray, " cell"], columns: Int64[np.ndarray, " cell"], shape: tuple[int, int]
) -> Float64[np.ndarray, "row manner"]:
    """How often each row meets each column."""
    flat = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    return flat.reshape(shape).astype(np.float64)


def information(counts: Counts) -> Float64[np.ndarray, "*draw"]:
    """Mutual information (nats) of the rows and columns of tables of counts."""
    share = counts / counts.sum((-2, -1), keepdims=True)
    apart = share.sum(-1, keepdims=True) * share.sum(-2, keepdims=True)
    ratio = np.divide(share, apart, out=np.ones_like(share), where=share > 0)
    return np.asarray((share * np.log(ratio)).sum((-2, -1)))


def _permuted(
    cells: GridCells, shape: tuple[int, int], draws: int, rng: np.random.Generator
) -> Float64[np.ndarray, " draw"]:
    """The information in tables whose directions were permuted within each prompt."""
    permuted: list[np.ndarray] = []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        keys = cells[:, 0][None] + rng.uniform(size=(size, len(cells)))
        moved = cells[:, 1][np.argsort(keys, axis=1)]
        flat = moved * shape[1] + cells[:, 2] + np.arange(size)[:, None] * shape[0] * shape[1]
        counts = np.bincount(flat.ravel(), minlength=size * shape[0] * shape[1])
        permuted.append(information(counts.reshape(size, *shape).astype(np.float64)))
    return np.concatenate(permuted)


def adjusted(
    counts: Float64[np.ndarray, "row manner"], values: Float64[np.ndarray, "*draw"]
) -> Float64[np.ndarray, "*draw"]:
    """Information (nats) adjusted for chance as scikit-learn does, for tables with these margins.

    Zero where rows and columns are independent, one where each says the other (also where nothing
    else can be, as of a single answer in each row and column: chance does as well then).
    """
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    if counts.shape == (1, 1):
        return np.ones_like(values)
    n = int(counts.sum())
    chance = float(expected_mutual_information(counts.astype(np.int64), n))
    most = sum(float(entr(counts.sum(axis) / n).sum()) for axis in (0, 1)) / 2
    if most - chance < _EPSILON:
        return np.ones_like(values)
    return np.asarray((values - chance) / (most - chance))


def share_of_clusters(
    counts: Counts, clusters: Sequence[int | None], draws: int, rng: np.random.Generator
) -> tuple[Estimate | None, float | None]:
    """How much of the information that rows give about columns the rows' clusters alone give.

    With the p of clusters dealt to rows at random; None where there is nothing to share out.
    """
    known = [i for i, c in enumerate(clusters) if c is not None and counts[i].sum() > 0]
    of = np.array([clusters[i] for i in known])
    whole = float(information(counts[known])) if known else 0.0
    if len(set(of.tolist())) < 2 or len(known) < 3 or whole <= 0:
        return None, None
    dealt = rng.permuted(np.tile(of, (draws, 1)), axis=1)
    groups = np.unique(of)
    member = (np.concatenate([of[None], dealt])[:, None] == groups[:, None]).astype(np.float64)
    share = information(member @ counts[known]) / whole
    p = (float((share[1:] >= share[0] - 1e-9).sum()) + 1) / (draws + 1)
    method = "share of the information about the manner; control: clusters dealt at random"
    return Estimate(float(share[0]), None, None, len(known), method, float(share[1:].mean())), p
