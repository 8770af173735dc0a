"""Maps of the categories in the plane, with the uncertainty of each place.

Classical multidimensional scaling (Torgerson 1952) of the angles arccos(c_ab) between directions.
A map is one of many that are equal up to rotation and reflection: those of bootstrap draws are
turned onto the first (orthogonal Procrustes) before their spread is taken.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float
from scipy.linalg import orthogonal_procrustes

from refusal_lens.errors import InputError
from refusal_lens.geometry.clusters import DRAWS
from refusal_lens.geometry.jackknife import cosine_table
from refusal_lens.geometry.products import PairProducts


@final
@dataclass(frozen=True)
class PlaneMap:
    """Places of the categories (radians) and the covariance of each over bootstrap draws.

    `shown` is the share of the squared angles' scaling that two dimensions hold.
    """

    place: Float[np.ndarray, "category 2"]
    covariance: Float[np.ndarray, "category 2 2"]
    shown: float
    draws: int


def plane_map(products: PairProducts, *, draws: int = DRAWS, seed: int = 0) -> PlaneMap:
    """The map of corrected cosines, with bootstrap covariances.

    Draws in which a cosine is undefined are left out; `draws` of the result counts those kept. With
    fewer than three of them the covariances are NaN: "undefined".

    Raises:
        InputError: fewer than three categories, or an undefined cosine.
    """
    if len(products.n) < 3:
        raise InputError(f"a map needs at least 3 categories, found {len(products.n)}")
    whole = cosine_table(products).corrected.numpy()
    if not np.isfinite(whole).all():
        raise InputError("the cosine matrix has undefined entries; leave those categories out")
    place, shown = _scaled(whole)
    resampled = products.resampled(draws, seed).corrected.numpy()
    turned = [_onto(place, _scaled(matrix)[0]) for matrix in resampled if np.isfinite(matrix).all()]
    covariance = np.full((len(place), 2, 2), np.nan)
    if len(turned) > 2:
        spread = np.stack(turned) - np.mean(turned, axis=0)
        covariance = np.einsum("bci,bcj->cij", spread, spread) / (len(turned) - 1)
    return PlaneMap(place, covariance, shown, len(turned))


def _scaled(
    cosines: Float[np.ndarray, "category category"],
) -> tuple[Float[np.ndarray, "category 2"], float]:
    angles = np.arccos(np.clip(cosines, -1.0, 1.0))
    centre = np.eye(len(angles)) - 1.0 / len(angles)
    values, vectors = np.linalg.eigh(-0.5 * centre @ np.square(angles) @ centre)
    two = np.clip(values[[-1, -2]], 0.0, None)
    positive = np.clip(values, 0.0, None).sum()
    return vectors[:, [-1, -2]] * np.sqrt(two), float(two.sum() / positive) if positive else 1.0


def _onto(
    place: Float[np.ndarray, "category 2"], other: Float[np.ndarray, "category 2"]
) -> Float[np.ndarray, "category 2"]:
    turn, _ = orthogonal_procrustes(other, place)
    return other @ turn
