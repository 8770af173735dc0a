"""What texts behind a request do to refusal, and to the residual stream (Ball et al., 2510.22014).

Given suffixes are analysed; nothing here searches for suffixes or changes them.
"""

from refusal_lens.suffixes.files import load_suffixes as load_suffixes
from refusal_lens.suffixes.suffix import Suffix as Suffix
from refusal_lens.suffixes.suffix import append_suffix as append_suffix
