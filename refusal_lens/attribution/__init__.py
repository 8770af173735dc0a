"""Attribution: which tokens, layers, heads and MLPs carry and write a direction."""

from refusal_lens.attribution.anatomy import Component as Component
from refusal_lens.attribution.base import Attribution as Attribution
from refusal_lens.attribution.base import Decomposition as Decomposition
from refusal_lens.attribution.base import Target as Target
from refusal_lens.attribution.decompose import decompose as decompose
from refusal_lens.attribution.decompose import decompose_prompt as decompose_prompt
from refusal_lens.attribution.tokens import TokenMap as TokenMap
from refusal_lens.attribution.tokens import token_map as token_map
