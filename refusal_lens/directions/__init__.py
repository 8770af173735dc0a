"""Directions: `Direction`, `DirectionSet`, one file per estimator."""

from refusal_lens.directions.base import Direction as Direction
from refusal_lens.directions.base import DirectionSet as DirectionSet
from refusal_lens.directions.base import several_directions as several_directions
from refusal_lens.directions.mean_difference import fit_mean_difference as fit_mean_difference
from refusal_lens.directions.mean_difference import fit_within_categories as fit_within_categories
