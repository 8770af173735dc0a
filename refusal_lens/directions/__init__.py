"""Directions: `Direction`, `DirectionSet`, and the estimators that fit them, one file each."""

from refusal_lens.directions.calibration import Calibration as Calibration
from refusal_lens.directions.direction import Direction as Direction
from refusal_lens.directions.direction import several_directions as several_directions
from refusal_lens.directions.direction_set import DirectionSet as DirectionSet
from refusal_lens.directions.estimator import NOISE_FLOOR as NOISE_FLOOR
from refusal_lens.directions.estimator import Estimator as Estimator
from refusal_lens.directions.invariance import InvarianceRecipe as InvarianceRecipe
from refusal_lens.directions.invariance import environments_by as environments_by
from refusal_lens.directions.invariant_probe import InvariantMethod as InvariantMethod
from refusal_lens.directions.invariant_probe import InvariantProbe as InvariantProbe
from refusal_lens.directions.invariant_probe import fit_invariant_probe as fit_invariant_probe
from refusal_lens.directions.mean_difference import MEAN_DIFFERENCE as MEAN_DIFFERENCE
from refusal_lens.directions.mean_difference import fit_mean_difference as fit_mean_difference
from refusal_lens.directions.mean_difference import fit_within_categories as fit_within_categories
from refusal_lens.directions.registry import ESTIMATORS as ESTIMATORS
from refusal_lens.directions.registry import make_estimator as make_estimator
from refusal_lens.directions.ridge_mean_difference import (
    fit_ridge_mean_difference as fit_ridge_mean_difference,
)
from refusal_lens.directions.som import SomDirections as SomDirections
from refusal_lens.directions.som import SomSettings as SomSettings
from refusal_lens.directions.som import fit_most_won as fit_most_won
from refusal_lens.directions.som import fit_som as fit_som
from refusal_lens.directions.weighted_ridge_mean_difference import (
    fit_weighted_ridge_mean_difference as fit_weighted_ridge_mean_difference,
)
from refusal_lens.directions.weighted_ridge_mean_difference import (
    weighted_estimator as weighted_estimator,
)
from refusal_lens.directions.whitened_orthonormal import (
    fit_whitened_orthonormal as fit_whitened_orthonormal,
)
