"""Structure of a cosine matrix: clusters with silhouettes, and the participation ratio."""

from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score

from refusal_lens.errors import InputError
from refusal_lens.geometry.products import PairProducts

DRAWS: Final = 300
"""How often pairs are drawn again, for clusters and for maps."""

Linkage = Literal["average", "complete"]


@final
@dataclass(frozen=True)
class Clustering:
    """Clusters of categories: a label (from 1) for each category, and the mean silhouette."""

    labels: tuple[int, ...]
    silhouette: float
    linkage: Linkage


def symmetrise(
    cosines: Float[np.ndarray, "category category"],
) -> Float[np.ndarray, "category category"]:
    """The mean of a matrix and its transpose, with ones on the diagonal.

    Published matrices are rounded and may differ from their transpose by .001.

    Raises:
        InputError: not a square matrix of finite cosines, or off its transpose by more than .01.
    """
    c = np.asarray(cosines, dtype=np.float64)
    if c.ndim != 2 or c.shape[0] != c.shape[1]:
        raise InputError(f"a cosine matrix must be square, found shape {c.shape}")
    if not np.isfinite(c).all():
        raise InputError(
            "the cosine matrix has undefined entries (NaN); leave those categories out first"
        )
    gap = float(np.abs(c - c.T).max())
    if gap > 0.01:
        raise InputError(f"the matrix differs from its transpose by {gap:.3g}; expected cosines")
    mean = (c + c.T) / 2
    np.fill_diagonal(mean, 1.0)
    return mean


def cluster(
    cosines: Float[np.ndarray, "category category"], n_clusters: int, method: Linkage = "average"
) -> Clustering:
    """Agglomerative clusters at distance 1 - cosine (Joad et al. 2026, second version).

    >>> import numpy as np
    >>> cosines = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    >>> a, b, c = cluster(cosines.astype("float32"), 2).labels
    >>> a == b != c
    True

    Raises:
        InputError: an undefined entry, or a number of clusters outside 2 .. categories - 1.
    """
    c = symmetrise(cosines)
    if not 2 <= n_clusters < len(c):
        raise InputError(f"{n_clusters} clusters of {len(c)} categories; give 2 to {len(c) - 1}")
    distance, labels = _cut(c, n_clusters, method)
    score = float(silhouette_score(distance, labels, metric="precomputed"))
    return Clustering(tuple(int(x) for x in labels), score, method)


def dendrogram_links(
    cosines: Float[np.ndarray, "category category"], method: Linkage = "average"
) -> Float[np.ndarray, "link 4"]:
    """SciPy's linkage matrix at distance 1 - cosine: what was joined, at which distance."""
    return linkage(squareform(_distance(symmetrise(cosines)), checks=False), method=method)


def _distance(
    cosines: Float[np.ndarray, "category category"],
) -> Float[np.ndarray, "category category"]:
    distance = np.clip(1.0 - (cosines + cosines.T) / 2, 0.0, None)
    np.fill_diagonal(distance, 0.0)
    return distance


def _cut(
    cosines: Float[np.ndarray, "category category"], n_clusters: int, method: Linkage
) -> tuple[Float[np.ndarray, "category category"], Int[np.ndarray, " category"]]:
    """Distances, and a label (from 1) for each category."""
    distance = _distance(cosines)
    tree = linkage(squareform(distance, checks=False), method=method)
    # this many clusters also where distances tie
    return distance, cut_tree(tree, n_clusters=n_clusters)[:, 0] + 1


def together(
    products: PairProducts, n_clusters: int, *, draws: int = DRAWS, seed: int = 0
) -> Float[np.ndarray, "category category"]:
    """How often two categories fall into one cluster when pairs are drawn again, 0 to 1.

    Average linkage; draws in which a cosine is undefined are left out (NaN if all are).
    """
    matrices = products.resampled(draws, seed).corrected.numpy()
    kept = [m for m in matrices if np.isfinite(m).all()]
    size = len(products.n)
    if not kept:
        return np.full((size, size), np.nan)
    same = np.zeros((size, size))
    for matrix in kept:
        labels = _cut(matrix, n_clusters, "average")[1]
        same += labels[:, None] == labels[None, :]
    return same / len(kept)


def best_clustering(
    cosines: Float[np.ndarray, "category category"], method: Linkage = "average"
) -> Clustering:
    """The clustering with the largest mean silhouette over all numbers of clusters.

    Raises:
        InputError: an undefined entry, or fewer than three categories.
    """
    clusterings = [cluster(cosines, k, method) for k in range(2, len(cosines))]
    if not clusterings:
        raise InputError(f"clusters need at least 3 categories, found {len(cosines)}")
    return max(clusterings, key=lambda clustering: clustering.silhouette)


def eigenvalue_shares(
    cosines: Float[np.ndarray, "category category"],
) -> Float[np.ndarray, " category"]:
    """Eigenvalues over their sum, largest first; a corrected matrix's negative ones count as 0."""
    values = np.clip(np.linalg.eigvalsh(symmetrise(cosines))[::-1], 0.0, None)
    return values / values.sum()


def participation_ratio(cosines: Float[np.ndarray, "category category"]) -> float:
    """Effective dimension: 1 / sum of squared eigenvalue shares; 1 is one direction.

    >>> import numpy as np
    >>> float(participation_ratio(np.eye(3, dtype="float32")))
    3.0
    """
    return float(1.0 / np.square(eigenvalue_shares(cosines)).sum())
