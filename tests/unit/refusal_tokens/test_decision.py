"""Step 0 on hand-set logits: probabilities, a threshold, a bias, and where the two are one."""

import math

import pytest
import torch

from refusal_lens.errors import InputError
from refusal_lens.refusal_tokens.decision import OTHER, RESPOND, StepZero, bias_of, read_step_zero
from refusal_lens.refusal_tokens.names import RefusalTokens

TOKENS = RefusalTokens(1, ("advice", "safety"), (2, 3), ("[respond]", "[advice]", "[safety]"))
RED, BLUE = 0, 1  # the places of the two categories


def step(*rows: tuple[float, float, float, float]) -> StepZero:
    """Probabilities of (another token, respond, advice, safety), one row per prompt."""
    return read_step_zero(torch.tensor(rows, dtype=torch.float64).log().float(), TOKENS)


def two_way(p: float) -> StepZero:
    """All the mass on advice, with probability p, and on respond."""
    return step((1e-30, 1 - p, p, 1e-30))


def test_probabilities_are_those_of_the_softmax_over_the_whole_vocabulary():
    read = step((0.4, 0.3, 0.2, 0.1), (0.1, 0.1, 0.3, 0.5))
    assert torch.allclose(read.p, torch.tensor([0.2, 0.5]), atol=1e-6)
    assert torch.allclose(read.p_any, torch.tensor([0.3, 0.8]), atol=1e-6)
    assert torch.allclose(read.p_named, torch.tensor([0.6, 0.9]), atol=1e-6)
    assert read.category.tolist() == [RED, BLUE]
    assert torch.allclose(read.margin, torch.tensor([0.2 / 0.3, 0.5 / 0.1]).log(), atol=1e-5)


@pytest.mark.parametrize("p", [0.02, 0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("threshold", [0.01, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_a_threshold_is_the_bias_of_its_closed_form_where_two_tokens_have_all_mass(p, threshold):
    read, bias = two_way(p), math.log((1 - threshold) / threshold)
    assert bias_of(threshold) == pytest.approx(bias)
    expected = RED if p >= threshold else RESPOND
    assert read.by_threshold(threshold).tolist() == [expected]
    assert read.by_bias(bias_of(threshold)).tolist() == [expected]


def test_with_mass_elsewhere_a_threshold_is_no_bias():
    read = step((0.0001, 0.3, 0.25, 0.4499))
    # c* is safety with .45: under a threshold of one half it does not come, by bias 0 it does.
    assert read.by_threshold(0.5).tolist() == [RESPOND]
    assert read.by_bias(bias_of(0.5)).tolist() == [BLUE]


def test_the_decision_turns_where_the_bias_is_minus_the_margin():
    read = step((0.05, 0.6, 0.3, 0.05))
    turn = -float(read.margin[0])
    assert read.by_bias(turn - 1e-3).tolist() == [RESPOND]
    assert read.by_bias(turn + 1e-3).tolist() == [RED]


def test_a_threshold_sends_what_is_not_reached_to_respond_and_a_bias_may_leave_another_token():
    read = step((0.7, 0.1, 0.15, 0.05))
    assert read.by_threshold(0.2).tolist() == [RESPOND]
    assert read.by_bias(0.0).tolist() == [OTHER]
    assert read.by_bias(2.0).tolist() == [RED]


def test_only_the_categories_named_are_controlled():
    read = step((0.001, 0.2, 0.7, 0.099), (0.001, 0.2, 0.099, 0.7), (0.001, 0.6, 0.3, 0.099))
    never = read.by_threshold(1.01, ["advice"])
    assert never.tolist() == [RESPOND, BLUE, RESPOND]
    always = read.by_threshold(0.0, ["safety"])
    assert always.tolist() == [RED, BLUE, RESPOND]  # c* of the last is advice: unedited argmax
    assert read.by_bias(-50.0, ["advice"]).tolist() == [RESPOND, BLUE, RESPOND]
    assert read.by_bias(50.0, ["safety"]).tolist() == [BLUE, BLUE, BLUE]


def test_the_ends_of_a_threshold_are_always_and_never():
    read = step((0.4, 0.3, 0.2, 0.1), (0.1, 0.1, 0.3, 0.5))
    assert read.by_threshold(0.0).tolist() == [RED, BLUE]
    assert read.by_threshold(1.01).tolist() == [RESPOND, RESPOND]
    assert bias_of(0.0) == math.inf and bias_of(1.0) == -math.inf


def test_what_makes_no_sense_is_one_line():
    read = two_way(0.5)
    for wrong, words in (
        (lambda: bias_of(1.5), "threshold 1.5 is no probability"),
        (lambda: read.by_threshold(math.nan), "threshold nan"),
        (lambda: read.by_bias(math.nan), "bias nan"),
        (lambda: read.by_bias(0.0, ["magic"]), "category 'magic' has no token"),
        (lambda: read_step_zero(torch.zeros(1, 3), TOKENS), "token id 3 is beyond"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            wrong()
        assert "\n" not in str(caught.value)


def test_an_endless_bias_keeps_the_order_of_the_tokens_that_it_raises():
    read = step((0.4, 0.3, 0.2, 0.1), (0.1, 0.1, 0.3, 0.5))
    assert read.by_bias(math.inf).tolist() == read.category.tolist() == [RED, BLUE]
    assert read.by_bias(math.inf, ["advice"]).tolist() == [RED, RED]
    assert read.by_bias(-math.inf, ["safety"]).tolist() == [OTHER, RED]
    assert read.by_bias(math.inf, []).tolist() == read.by_bias(0.0).tolist()


def by_hand(*log_p: float) -> StepZero:
    """Log-probabilities of advice, kept as float32."""
    refuse = torch.tensor([[x, -200.0] for x in log_p], dtype=torch.float64).float()
    nothing = torch.full((len(log_p),), -100.0)
    return StepZero(TOKENS, nothing, refuse, nothing)


def test_a_probability_of_exactly_the_threshold_is_emitted():
    cuts = [i / 100 for i in range(1, 100)]
    read = by_hand(*map(math.log, cuts))
    for i, cut in enumerate(cuts):
        assert read.by_threshold(cut).tolist() == [RESPOND] * i + [RED] * (99 - i)


def test_a_threshold_of_one_is_never_reached():
    read = by_hand(-1e-11, -0.0, -1e-30)
    assert bias_of(1.0) == -math.inf
    assert read.by_threshold(1.0).tolist() == [RESPOND] * 3 == read.by_threshold(2.0).tolist()
    assert read.by_threshold(1 - 1e-10).tolist() == [RED] * 3
    assert by_hand(-1e-9).by_threshold(1 - 1e-10).tolist() == [RESPOND]
    assert by_hand(-math.inf, -300.0).by_threshold(0.0).tolist() == [BLUE, BLUE]
    assert by_hand(-math.inf, -300.0).by_threshold(-1.0).tolist() == [BLUE, BLUE]


def test_a_bias_keeps_the_order_that_float_sums_would_tie():
    """2**-22 nats apart: with 1e9 added, both are one number."""
    refuse = torch.tensor([[-3.0, -3.0 + 2**-22], [-3.0 + 2**-22, -3.0]])
    read = StepZero(TOKENS, torch.tensor([-0.1, -0.1]), refuse, torch.tensor([-9.0, -9.0]))
    for bias in (1e9, math.inf):
        assert read.by_bias(bias).tolist() == [BLUE, RED]
    assert read.by_bias(-math.inf).tolist() == [RESPOND, RESPOND]
