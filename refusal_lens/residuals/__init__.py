"""Residuals of prompts with what their axes are, and statistics streamed from them."""

from refusal_lens.residuals.axes import check_read_alike as check_read_alike
from refusal_lens.residuals.axes import half_pairs as half_pairs
from refusal_lens.residuals.axes import index_axes as index_axes
from refusal_lens.residuals.axes import pair_rows as pair_rows
from refusal_lens.residuals.base import Residuals as Residuals
from refusal_lens.residuals.stats import ResidualStats as ResidualStats
from refusal_lens.residuals.stats import StatsAccumulator as StatsAccumulator
