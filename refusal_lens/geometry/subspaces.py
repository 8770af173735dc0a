"""Subspaces of a category's pair differences, how many dimensions hold up, and the angles between.

The leading k right singular vectors of the differences, not centred, so that the mean difference
counts. k is chosen by bi-cross-validation (Owen & Perry 2009): a block of pairs and of (randomly
rotated) dimensions is held out and predicted from the rest at rank k,

    A ~ B (D_k)^+ C        for the partition [[A, B], [C, D]],

and the k of least squared error over all blocks is taken; 0 says that nothing is shared. Angles
between two subspaces are principal angles (scipy.linalg.subspace_angles); beside them stand those
of subspaces of the same sizes drawn at random.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group

from refusal_lens.errors import InputError

LARGEST: Final = 6
_FOLDS: Final = 4


@final
@dataclass(frozen=True)
class Subspace:
    """An orthonormal basis, leading direction first, and the error of each rank held out.

    `error[k]` is the squared error of rank k over that of rank 0.
    """

    basis: Float[np.ndarray, "d_model rank"]
    error: Float[np.ndarray, " ranks"]
    n: int

    @property
    def rank(self) -> int:
        """The number of dimensions chosen."""
        return self.basis.shape[1]


@final
@dataclass(frozen=True)
class Angles:
    """Principal angles in degrees, smallest first, and their means for random subspaces."""

    degrees: Float[np.ndarray, " angle"]
    random: Float[np.ndarray, " angle"]


def fit_subspace(
    differences: Float[np.ndarray, "pair d_model"], *, largest: int = LARGEST, seed: int = 0
) -> Subspace:
    """The subspace of a category's pair differences, its rank chosen by bi-cross-validation.

    >>> import numpy as np
    >>> along = np.outer(np.linspace(1, 2, 20), np.eye(8)[0])
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal((20, 8))
    >>> space = fit_subspace((along + noise).astype("float32"))
    >>> bool(abs(space.basis[0, 0]) > 0.99), space.n  # a basis of d_model x rank
    (True, 20)

    Raises:
        InputError: fewer than eight pairs, or a value that is not finite.
    """
    d = np.asarray(differences, dtype=np.float64)
    if len(d) < 2 * _FOLDS or not np.isfinite(d).all():
        raise InputError(f"found {len(d)} pairs; at least {2 * _FOLDS} are needed, all finite")
    # All that matters of d_model dimensions is the row space; a rotation of it spreads every
    # vector over all of its coordinates, so that any block of them is as good as another.
    left, sizes, right = np.linalg.svd(d, full_matrices=False)
    random = np.random.default_rng(seed)
    rotated = left * sizes @ ortho_group.rvs(len(sizes), random_state=random)
    error = _held_out(rotated[random.permutation(len(d))], largest)
    rank = int(error.argmin())
    return Subspace(right[:rank].T, error, len(d))


def principal_angles(a: Subspace, b: Subspace, *, draws: int = 50, seed: int = 0) -> Angles:
    """Angles between two subspaces, beside random ones of the same sizes in the same space.

    >>> import numpy as np
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal((20, 8))
    >>> space = fit_subspace((np.eye(8)[0] + noise).astype("float32"))
    >>> bool(principal_angles(space, space).degrees.max() < 0.1)
    True

    Raises:
        InputError: a subspace of no dimension, or of different spaces.
    """
    if not (a.rank and b.rank):
        raise InputError("a subspace has no dimension: nothing in its differences is shared")
    width = len(a.basis)
    if width != len(b.basis):
        raise InputError(f"subspaces of {width} and {len(b.basis)} dimensions can't be compared")
    random = np.random.default_rng(seed)
    drawn = [
        _angles(random.standard_normal((width, a.rank)), random.standard_normal((width, b.rank)))
        for _ in range(draws)
    ]
    return Angles(_angles(a.basis, b.basis), np.mean(drawn, axis=0))


def _angles(
    a: Float[np.ndarray, "_ _"], b: Float[np.ndarray, "_ _"]
) -> Float[np.ndarray, " angle"]:
    return np.sort(np.degrees(subspace_angles(a, b)))


def _held_out(d: Float[np.ndarray, "pair dimension"], largest: int) -> Float[np.ndarray, " ranks"]:
    """Squared error of each rank from 0, over that of rank 0."""
    rows = np.array_split(np.arange(len(d)), _FOLDS)
    columns = np.array_split(np.arange(d.shape[1]), _FOLDS)
    most = min(largest, len(d) - len(rows[0]) - 1, d.shape[1] - len(columns[0]) - 1)
    error = np.zeros(most + 1)
    for r in rows:
        for c in columns:
            a, b = d[np.ix_(r, c)], np.delete(d[r], c, axis=1)
            below = np.delete(d, r, axis=0)
            c_block, rest = below[:, c], np.delete(below, c, axis=1)
            u, s, v = np.linalg.svd(rest, full_matrices=False)
            error[0] += np.square(a).sum()
            for k in range(1, most + 1):
                inverse = v[:k].T / s[:k] @ u[:, :k].T
                error[k] += np.square(a - b @ inverse @ c_block).sum()
    return error / error[0] if error[0] > 0 else np.append(0.0, np.ones(most))
