"""Refusal tokens on a random tiny model: what is read is what the model does."""

import math

import pytest
import torch
from support.tiny_architectures import SIZES
from support.tiny_models import write_tiny
from transformers import LlamaConfig

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.evaluation import whole_pairs
from refusal_lens.interventions import Ablate
from refusal_lens.judges import Verdict
from refusal_lens.judges.registry import make_judge
from refusal_lens.model import Decoding, load_model
from refusal_lens.placement import Placement
from refusal_lens.refusal_tokens import (
    RefusalTokens,
    measure_carved,
    measure_roc,
    read_answers,
    read_step_zero,
)
from refusal_lens.refusal_tokens.after import answers_after, feed_after, unembedding_of
from refusal_lens.refusal_tokens.carved import BEFORE, ONE, OWN_TOKEN
from refusal_lens.refusal_tokens.measure import (
    ADDED,
    BIAS,
    NATS,
    Answered,
    choose_direction,
    measure_effects,
    measure_trade_offs,
)

TOKENS = RefusalTokens(7, ("red", "green", "blue"), (9, 10, 11), ("r", "a", "b", "c"))
FEW = Decoding(max_new_tokens=4)


class Longer:
    """Calls an answer a refusal where it has an odd number of characters."""

    name = "odd length"

    def judge(self, prompt: str, answer: str) -> Verdict:
        return Verdict("refused" if len(answer) % 2 else "complied", None, ())


HOW = Answered(Longer(), FEW, (-1.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def readings(tiny_llama, three_categories):
    return read_answers(tiny_llama, three_categories, TOKENS, Longer(), FEW)


def test_step_zero_is_the_softmax_at_the_last_token(tiny_llama, three_categories, readings):
    p = tiny_llama.logits(three_categories).double().softmax(-1)
    assert torch.allclose(readings.respond.exp().double(), p[:, 7], rtol=1e-4)
    assert torch.allclose(readings.refuse.exp().double(), p[:, [9, 10, 11]], rtol=1e-4)
    p[:, [7, 9, 10, 11]] = 0
    assert torch.allclose(readings.other.exp().double(), p.amax(-1), rtol=1e-4)


def test_answers_behind_a_token_continue_the_prompt_with_it(tiny_llama):
    prompts, tokens = ["Why?", "Tell me more"], [9, 40]
    ids = [[*tiny_llama.chat.ids(p), t] for p, t in zip(prompts, tokens, strict=True)]
    hf = tiny_llama.backend.model.original_model
    expected = []
    for row in ids:
        for _ in range(4):
            row = [*row, int(hf(torch.tensor([row])).logits[0, -1].argmax())]
        expected.append(tiny_llama.chat.answer(row[-4:]))
    assert answers_after(tiny_llama, prompts, tokens, FEW) == expected
    assert feed_after(tiny_llama, prompts, tokens).ids[1][-1] == 40


def test_the_greedy_answer_is_the_one_behind_its_own_first_token(tiny_llama, three_categories):
    few = three_categories.only(label="refuse")
    first = tiny_llama.logits(few).argmax(-1).tolist()
    whole = tiny_llama.generate_ids(few, Decoding(max_new_tokens=5))
    behind = answers_after(tiny_llama, few, first, FEW)
    stopped = [len(ids) == 0 for ids in whole]  # an answer that ends at once has nothing behind
    assert not all(stopped)
    for ids, text, ended in zip(whole, behind, stopped, strict=True):
        assert ended or tiny_llama.chat.answer(ids[1:]) == text


def test_the_bias_of_the_grid_is_read_from_the_two_answers(tiny_llama, three_categories, readings):
    direction = pooled(tiny_llama, three_categories)
    pairs = whole_pairs(three_categories, 6)
    grid = measure_trade_offs(tiny_llama, direction, readings, pairs, HOW)
    assert grid.names == (BIAS, ADDED, "control: random") and grid.lengths[0] == NATS
    assert grid.refused.shape == (3, 3, 2, 6)
    by_bias = readings.read_as(readings.step_zero.by_bias(NATS))
    at = {key: int(by_bias[i]) for i, key in enumerate(readings.ids)}
    expected = [[at[pair[side]] for pair in grid.ids] for side in (0, 1)]
    assert grid.refused[0, 2].tolist() == expected
    assert grid.kinds == ("direction", "direction", "control")
    assert grid.trade_off().curves[0].strengths == (-1.0, 0.0, 1.0)


def pooled(model, prompts) -> Direction:
    return choose_direction(model, prompts, prompts, TOKENS, [1, 2])[0]


def test_effects_hold_what_reading_under_the_edit_gives(tiny_llama, three_categories, readings):
    direction = pooled(tiny_llama, three_categories)
    effects = measure_effects(tiny_llama, direction, three_categories, readings, HOW)
    with tiny_llama.editing(Ablate(direction)):
        edited = read_answers(tiny_llama, three_categories, TOKENS, Longer(), FEW)
    rows = {(row.edit, row.harmful): row for row in effects.rows}
    harmful = edited.harmful & (edited.refused >= 0)
    row = rows["direction ablated", True]
    assert row.behind_refusal.value == float((edited.refused[harmful] == 1).double().mean())
    assert row.behind_refusal.control == rows["none", True].behind_refusal.value
    assert not torch.equal(edited.respond, readings.respond)
    assert {row.edit for row in effects.rows} == {
        "none",
        "direction ablated",
        "control: random ablated",
    }


def test_carved_reads_the_places_that_it_names(tiny_llama, three_categories):
    carved = measure_carved(tiny_llama, three_categories, TOKENS, {"base": tiny_llama})
    assert carved.places == ("base, before", BEFORE, OWN_TOKEN, ONE)
    assert torch.equal(carved.corrected[0].nan_to_num(9), carved.corrected[1].nan_to_num(9))
    assert torch.equal(carved.mean[0].nan_to_num(9), carved.mean[1].nan_to_num(9))
    assert bool((carved.change[0].nan_to_num(0.0) == 0).all())
    # At layer 0 the own tokens' embeddings are all that differs; behind one token nothing does.
    matrix = tiny_llama.backend.model.original_model.get_input_embeddings().weight
    rows = (matrix[[9, 10, 11]] - matrix[7]).detach()
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
    own_place = carved.places.index(OWN_TOKEN)
    order = [TOKENS.categories.index(c) for c in carved.categories]
    assert torch.allclose(carved.corrected[own_place, 0], cosines[order][:, order], atol=1e-3)
    assert bool(carved.corrected[carved.places.index(ONE), 0].isnan().any())


def test_token_rows_are_what_raises_a_token_over_respond(tiny_llama, three_categories):
    carved = measure_carved(tiny_llama, three_categories, TOKENS, {})
    unembedding = unembedding_of(tiny_llama)
    hf = tiny_llama.backend.model.original_model
    weight = hf.model.norm.weight.detach()
    rows = torch.stack(
        [(unembedding[TOKENS.of(c)] - unembedding[7]) * weight for c in carved.categories]
    )
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
    assert torch.allclose(carved.token_rows, cosines, atol=1e-4)


def test_prompts_without_tokens_are_one_line(tiny_llama, three_categories, tmp_path):
    one = RefusalTokens(7, ("red",), (9,), ("r", "a"))
    with pytest.raises(InputError, match="two or more need a token"):
        measure_carved(tiny_llama, three_categories, one, {})
    config = LlamaConfig(**(SIZES | {"num_hidden_layers": 4}))
    deep = load_model(write_tiny(tmp_path / "deep", config), placement=Placement(device="cpu"))
    with pytest.raises(InputError, match="'deep' has 4 layers of width 32"):
        measure_carved(tiny_llama, three_categories, TOKENS, {"deep": deep})
    beyond = RefusalTokens(7, ("red",), (3000,), ("r", "a"))
    with pytest.raises(InputError, match="token id 3000 is beyond"):
        read_step_zero(tiny_llama.logits(["Why?"]), beyond)


def test_the_rates_of_a_curve_are_the_shares_of_readings(readings):
    roc = measure_roc(readings, thresholds=(0.0, 1.01), biases=(-math.inf, math.inf))
    known = readings.harmful & (readings.refused >= 0)
    always = float((readings.refused[known] == 1).double().mean())
    assert roc.by_threshold[0].text[0].value == pytest.approx(always)
    assert roc.by_bias[1].text[0].value == pytest.approx(always)
    assert roc.by_threshold[1].token[0].value == 0.0
    assert make_judge("refusal").name not in readings.judge
