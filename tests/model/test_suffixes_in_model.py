"""Suffixes in a model: where they go among the tokens, what they push, and a planted effect."""

from dataclasses import replace

import pytest
import torch
from support.paired_residuals import PROVENANCE

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.judges import make_judge
from refusal_lens.model import Decoding
from refusal_lens.prompts import PromptSet
from refusal_lens.sites import Site
from refusal_lens.suffixes import (
    Along,
    AnswerSettings,
    Suffix,
    append_suffix,
    compare_suffixes,
    suffix_shift,
)
from refusal_lens.suffixes.neutral import texts_for, token_counts

SUFFIXES = (Suffix("a", "now please"), Suffix("b", "Answer in one sentence."))


def test_the_suffix_is_before_the_templates_last_tokens(tiny, three_categories):
    plain, pushed = tiny.ids(three_categories), tiny.ids(append_suffix(three_categories, "Now."))
    n = tiny.chat.n_post
    assert n > 0
    for before, after in zip(plain, pushed, strict=True):
        assert list(before[-n:]) == list(after[-n:]) == list(tiny.chat.post_ids)
        assert len(after) > len(before) and before[: len(before) - n] == after[: len(before) - n]
    counts = token_counts(tiny, three_categories, [Suffix("a", "Now.")])
    assert counts == (len(pushed[0]) - len(plain[0]),)


def test_neutral_texts_have_the_length_of_their_suffix(tiny_llama, three_categories):
    texts = texts_for(tiny_llama, three_categories, SUFFIXES)
    difference = [abs(a - b) for a, b in zip(texts.tokens, texts.neutral_tokens, strict=True)]
    assert texts.tokens[0] < texts.tokens[1] and len(texts.distinct) == 4
    assert max(difference) <= 1
    assert not {s.text for s in texts.neutral} & {s.text for s in SUFFIXES}


def unit(vector: torch.Tensor, layer: int = 2) -> Direction:
    return Direction("pooled", Site(layer), -1, vector / vector.norm(), 1.0, -0.5, 0.5, PROVENANCE)


def test_a_direction_across_the_shift_sees_no_push_and_one_along_it_sees_all(
    tiny_llama, three_categories
):
    """Directions made from one prompt's own shift: exactly orthogonal to it, and exactly along."""
    one = three_categories.only(ids=[three_categories.ids[0]])
    read = [tiny_llama.residuals(p) for p in (one, append_suffix(one, "now please"))]
    delta = (read[1].at(Site(2)) - read[0].at(Site(2)))[0].double()
    drawn = torch.randn(len(delta), generator=torch.Generator().manual_seed(0)).double()
    across = suffix_shift(*read, unit(drawn - (drawn @ delta) / (delta @ delta) * delta))
    along = suffix_shift(*read, unit(-delta))
    length = float(delta.norm())
    assert length > 0.01
    assert abs(float(across.push)) < 1e-5 * length
    assert float(across.orthogonal) == pytest.approx(length, rel=1e-5)
    assert float(along.push) == pytest.approx(length, rel=1e-5)
    assert float(along.orthogonal) < 1e-3 * length


def test_a_comparison_without_a_study(tiny_llama, three_categories):
    direction = unit(torch.randn(tiny_llama.d_model, generator=torch.Generator().manual_seed(1)))
    how = AnswerSettings(make_judge("substring"), Decoding(2))
    analysis = compare_suffixes(tiny_llama, three_categories, direction, how, SUFFIXES)
    assert [row.suffix for row in analysis.rows[:2]] == list(SUFFIXES)
    assert analysis.n_prompts == len(three_categories) and analysis.layer == 2
    plain = tiny_llama.residuals(three_categories, sites=(Site(2),))
    pushed = tiny_llama.residuals(append_suffix(three_categories, SUFFIXES[0]), sites=(Site(2),))
    by_pair = suffix_shift(plain, pushed, direction).push.reshape(-1, 2).mean(1)
    assert analysis.rows[0].push.value == pytest.approx(float(by_pair.mean()), rel=1e-3)


def test_a_prompt_that_is_given_again_counts_once(tiny_llama, three_categories):
    direction = unit(torch.randn(tiny_llama.d_model, generator=torch.Generator().manual_seed(1)))
    how = AnswerSettings(make_judge("substring"), Decoding(2))
    again = [replace(p, id=f"{p.id} {i}", pair=None) for p in three_categories for i in range(2)]
    once, twice, one = (
        compare_suffixes(tiny_llama, asked, direction, how, SUFFIXES)
        for asked in (
            PromptSet(tuple(again[::2])),
            PromptSet(tuple(again)),
            PromptSet(tuple(replace(again[0], id=f"{i}") for i in range(6))),
        )
    )
    assert twice.n_prompts == once.n_prompts == len(three_categories)
    assert twice.rows[0].push == once.rows[0].push and twice.families == once.families
    assert one.n_prompts == 1 and one.rows[0].push.low is None
    assert one.families[0].push.value is not None and one.families[0].push.low is None


def test_what_can_not_be_compared_is_one_line(tiny_llama, three_categories):
    how = AnswerSettings(make_judge("substring"), Decoding(2))
    direction = unit(torch.ones(tiny_llama.d_model))
    with pytest.raises(InputError, match="no suffixes"):
        compare_suffixes(tiny_llama, three_categories, direction, how, [])
    with pytest.raises(InputError, match="no direction at layer 1; there is one at"):
        Along((direction,), 1)
    elsewhere = Direction("x", Site(2), -2, direction.vector, 1.0, 0.0, 1.0, PROVENANCE)
    with pytest.raises(InputError, match="not at offset -1"):
        Along((elsewhere,), 2)
