"""Refusal tokens: what an answer begins with decides, and can be moved by a threshold or a bias.

Jain et al. 2024 (arXiv 2412.06748) train a model to begin every answer with a token: one that
answers, or one for the category of its refusal. Here: the tokens' probabilities at step 0, refusal
against over-refusal as a threshold or a bias moves them, the same for a direction at matched
refusal, and the directions that such training leaves in the residual stream (2603.13359).
"""

from refusal_lens.refusal_tokens.carved import Carved as Carved
from refusal_lens.refusal_tokens.carved import measure_carved as measure_carved
from refusal_lens.refusal_tokens.decision import StepZero as StepZero
from refusal_lens.refusal_tokens.decision import bias_of as bias_of
from refusal_lens.refusal_tokens.decision import read_step_zero as read_step_zero
from refusal_lens.refusal_tokens.measure import TokenEffects as TokenEffects
from refusal_lens.refusal_tokens.names import RefusalTokens as RefusalTokens
from refusal_lens.refusal_tokens.names import load_tokens as load_tokens
from refusal_lens.refusal_tokens.readings import TokenReadings as TokenReadings
from refusal_lens.refusal_tokens.readings import read_answers as read_answers
from refusal_lens.refusal_tokens.roc import Roc as Roc
from refusal_lens.refusal_tokens.roc import measure_roc as measure_roc
