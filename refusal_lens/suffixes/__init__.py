"""What texts behind a request do to refusal, and to the residual stream (Ball et al., 2510.22014).

Given suffixes are analysed; nothing here searches for suffixes or changes them.
"""

from refusal_lens.suffixes.analysis import analyse as analyse
from refusal_lens.suffixes.files import load_suffixes as load_suffixes
from refusal_lens.suffixes.flips import FlipRows as FlipRows
from refusal_lens.suffixes.flips import predict_flips as predict_flips
from refusal_lens.suffixes.measure import Along as Along
from refusal_lens.suffixes.measure import AnswerSettings as AnswerSettings
from refusal_lens.suffixes.measure import compare_suffixes as compare_suffixes
from refusal_lens.suffixes.measure import measure_texts as measure_texts
from refusal_lens.suffixes.measure import prepare as prepare
from refusal_lens.suffixes.records import SuffixAnalysis as SuffixAnalysis
from refusal_lens.suffixes.records import SuffixBasis as SuffixBasis
from refusal_lens.suffixes.records import SuffixReadings as SuffixReadings
from refusal_lens.suffixes.shift import Shift as Shift
from refusal_lens.suffixes.shift import shift_along as shift_along
from refusal_lens.suffixes.shift import suffix_shift as suffix_shift
from refusal_lens.suffixes.suffix import Suffix as Suffix
from refusal_lens.suffixes.suffix import append_suffix as append_suffix
