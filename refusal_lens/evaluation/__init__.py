"""Evaluation: conditions x prompts x judge, scores without generating, trade-offs."""

from refusal_lens.evaluation.base import Evaluation as Evaluation
from refusal_lens.evaluation.base import accuracy as accuracy
from refusal_lens.evaluation.costs import Cost as Cost
from refusal_lens.evaluation.costs import CostMaterial as CostMaterial
from refusal_lens.evaluation.costs import Costs as Costs
from refusal_lens.evaluation.costs import measure_costs as measure_costs
from refusal_lens.evaluation.grid import Grid as Grid
from refusal_lens.evaluation.grid import Reading as Reading
from refusal_lens.evaluation.grid import measure_grid as measure_grid
from refusal_lens.evaluation.grid import whole_pairs as whole_pairs
from refusal_lens.evaluation.manners import MannerMatrix as MannerMatrix
from refusal_lens.evaluation.manners import Steered as Steered
from refusal_lens.evaluation.manners import Taught as Taught
from refusal_lens.evaluation.manners import manner_matrix as manner_matrix
from refusal_lens.evaluation.manners import steer as steer
from refusal_lens.evaluation.matched import Matched as Matched
from refusal_lens.evaluation.matched import match_refusal as match_refusal
from refusal_lens.evaluation.run import Said as Said
from refusal_lens.evaluation.run import answer_under as answer_under
from refusal_lens.evaluation.run import evaluate as evaluate
from refusal_lens.evaluation.run import read_all as read_all
from refusal_lens.evaluation.scoring import fit_score as fit_score
from refusal_lens.evaluation.scoring import refusal_scores as refusal_scores
from refusal_lens.evaluation.side_by_side import SideBySide as SideBySide
from refusal_lens.evaluation.trade_off import Curve as Curve
from refusal_lens.evaluation.trade_off import TradeOff as TradeOff
