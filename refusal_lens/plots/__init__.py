"""Figures and tables: a result record in, a plotly figure (or rows of text) out.

Nothing is computed here beyond formatting, and no model is seen.
"""

from refusal_lens.plots.attribution.depth import plot_answer_maps as plot_answer_maps
from refusal_lens.plots.attribution.depth import plot_depth as plot_depth
from refusal_lens.plots.attribution.depth import plot_knock_outs as plot_knock_outs
from refusal_lens.plots.attribution.patches import plot_blocks as plot_blocks
from refusal_lens.plots.attribution.patches import plot_estimates as plot_estimates
from refusal_lens.plots.attribution.patches import plot_patches as plot_patches
from refusal_lens.plots.attribution.paths import plot_neurons as plot_neurons
from refusal_lens.plots.attribution.paths import plot_paths as plot_paths
from refusal_lens.plots.attribution.paths import plot_sources as plot_sources
from refusal_lens.plots.attribution.writers import plot_component_matrix as plot_component_matrix
from refusal_lens.plots.attribution.writers import plot_heads as plot_heads
from refusal_lens.plots.attribution.writers import plot_writers as plot_writers
from refusal_lens.plots.clusters import plot_clusters as plot_clusters
from refusal_lens.plots.clusters import plot_map as plot_map
from refusal_lens.plots.contrasts import plot_contrasts as plot_contrasts
from refusal_lens.plots.control_adapters import plot_planted as plot_planted
from refusal_lens.plots.cosines import plot_cosines as plot_cosines
from refusal_lens.plots.cosines import plot_difference as plot_difference
from refusal_lens.plots.curves import plot_curves as plot_curves
from refusal_lens.plots.effects import plot_effects as plot_effects
from refusal_lens.plots.front import plot_front_effects as plot_front_effects
from refusal_lens.plots.front import plot_front_scores as plot_front_scores
from refusal_lens.plots.front import plot_front_writers as plot_front_writers
from refusal_lens.plots.front_geometry import plot_front_cosines as plot_front_cosines
from refusal_lens.plots.front_geometry import plot_front_directions as plot_front_directions
from refusal_lens.plots.ladder import plot_before_after as plot_before_after
from refusal_lens.plots.ladder import plot_ladder as plot_ladder
from refusal_lens.plots.layers import plot_layers as plot_layers
from refusal_lens.plots.lengths import plot_lengths as plot_lengths
from refusal_lens.plots.lengths import plot_separation as plot_separation
from refusal_lens.plots.monitor import plot_monitor as plot_monitor
from refusal_lens.plots.monitor import plot_monitor_curves as plot_monitor_curves
from refusal_lens.plots.refusal_tokens import plot_carved as plot_carved
from refusal_lens.plots.refusal_tokens import plot_token_roc as plot_token_roc
from refusal_lens.plots.refusal_tokens import plot_tokens_chosen as plot_tokens_chosen
from refusal_lens.plots.reliability import plot_reliability as plot_reliability
from refusal_lens.plots.separability import plot_separability as plot_separability
from refusal_lens.plots.separability import plot_shares as plot_shares
from refusal_lens.plots.shared_pool import plot_pool_effects as plot_pool_effects
from refusal_lens.plots.shared_pool import plot_pooled_cosines as plot_pooled_cosines
from refusal_lens.plots.structure import plot_dimension as plot_dimension
from refusal_lens.plots.structure import plot_remainders as plot_remainders
from refusal_lens.plots.subspaces import plot_across_layers as plot_across_layers
from refusal_lens.plots.subspaces import plot_across_offsets as plot_across_offsets
from refusal_lens.plots.subspaces import plot_angles as plot_angles
from refusal_lens.plots.tokens import plot_tokens as plot_tokens
from refusal_lens.plots.trade_off import plot_trade_off as plot_trade_off
