"""Defence: how much refusal survives ablation of one to k directions, and in which comparison."""

from refusal_lens.defence.before_after import BeforeAfter as BeforeAfter
from refusal_lens.defence.before_after import Change as Change
from refusal_lens.defence.before_after import compare_ladders as compare_ladders
from refusal_lens.defence.deflation import SETS as SETS
from refusal_lens.defence.deflation import Place as Place
from refusal_lens.defence.deflation import deflate as deflate
from refusal_lens.defence.deflation import ladder_directions as ladder_directions
from refusal_lens.defence.ladder import Ladder as Ladder
from refusal_lens.defence.measure import LadderMaterial as LadderMaterial
from refusal_lens.defence.measure import measure_ladder as measure_ladder
from refusal_lens.defence.reading import LadderReading as LadderReading
from refusal_lens.defence.reading import Rung as Rung
from refusal_lens.defence.reading import read_ladder as read_ladder
