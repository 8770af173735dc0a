"""What measures pairs side by side takes whole pairs alone, each prompt before its own twin."""

from dataclasses import replace

import pytest

from refusal_lens.defence import LadderMaterial, measure_ladder
from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Reading, measure_grid, whole_pairs
from refusal_lens.judges import PhraseJudge
from refusal_lens.model import Decoding
from refusal_lens.prompts import PromptSet


def grid(model, direction, prompts):
    reading = Reading(None, PhraseJudge(), Decoding(1))
    return measure_grid(model, [(direction, "direction")], prompts, reading, strengths=(1.0,))


def ladder(model, direction, prompts):
    return measure_ladder(model, [direction], LadderMaterial(prompts, PhraseJudge(), Decoding(1)))


@pytest.mark.parametrize("measure", [grid, ladder])
def test_twins_are_told_by_their_pair_and_not_by_their_place(measure, tiny_llama, three_categories):
    direction = fit_mean_difference(tiny_llama.residual_stats(three_categories)).at("red", 1)
    few = whole_pairs(three_categories, 2)
    names = tuple(f"{a.category}/{a.pair}" for a, _ in few.pairs())
    assert measure(tiny_llama, direction, few).pairs == names
    refuse, comply, other, twin = few.prompts
    unpaired = tuple(replace(p, pair=None) for p in few)
    for wrong in (unpaired, (refuse, twin, other, comply), (comply, refuse)):
        with pytest.raises(InputError, match="needs whole pairs"):
            measure(tiny_llama, direction, PromptSet(wrong))
