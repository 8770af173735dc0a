"""COSMIC against a few independent lines on Hugging Face's own hidden states; separation."""

import math

import pytest
import torch

from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate, Add
from refusal_lens.records import Estimate
from refusal_lens.selection import (
    cosmic_passing,
    evaluation_layers,
    measure_separation,
    select_cosmic,
)
from refusal_lens.selection.cosmic import hidden_states
from refusal_lens.selection.separation import Separation, Separations, standardised_distance


def test_hidden_states_are_those_of_hugging_face(tiny_llama, three_categories, hugging_face):
    model, _ = hugging_face("llama")
    few = three_categories.first(1)
    hidden = hidden_states(tiny_llama, few)
    for prompt, states in zip(few, hidden, strict=True):
        ids = torch.tensor([tiny_llama.chat.ids(prompt)])
        with torch.no_grad():
            expected = model(input_ids=ids, output_hidden_states=True).hidden_states[1:]
        # float32 through another implementation of the same model
        assert torch.allclose(states, torch.stack([h[0, -1] for h in expected]), atol=1e-4)


def test_the_scores_are_those_of_a_few_independent_lines(tiny_llama, three_categories):
    train, val = three_categories.only(category=("red", "green")), three_categories
    sides = [tuple(s.only(label=label) for label in ("refuse", "comply")) for s in (train, val)]
    fitted = fit_mean_difference(tiny_llama.residual_stats(train).pooled())
    d = fitted.at("pooled", 1)
    selection = select_cosmic(tiny_llama, [d], train=sides[0], val=sides[1])
    a, b = (hidden_states(tiny_llama, s).mean(0) for s in sides[0])
    layer = int(torch.cosine_similarity(a, b, dim=-1).argmin())
    assert selection.evaluated == (layer,)

    def pooled(prompts):
        return hidden_states(tiny_llama, prompts)[:, layer].mean(0)

    harmful, harmless = (pooled(s) for s in sides[1])
    with tiny_llama.editing(Ablate(d)):
        ablated = pooled(sides[1][0])
    with tiny_llama.editing(Add(d, strength=1.0)):
        added = pooled(sides[1][1])
    (c,) = selection.candidates
    assert c.comply.value == pytest.approx(
        float(torch.cosine_similarity(ablated, harmless, 0)), abs=1e-5
    )
    assert c.refuse.value == pytest.approx(
        float(torch.cosine_similarity(added, harmful, 0)), abs=1e-5
    )
    assert c.comply.control == pytest.approx(
        float(torch.cosine_similarity(harmful, harmless, 0)), abs=1e-5
    )
    assert c.comply.value != pytest.approx(c.comply.control, abs=1e-6)
    assert c.comply.low < c.comply.value < c.comply.high and c.comply.n == 15


def test_the_least_alike_tenth_is_evaluated():
    a = torch.zeros(4, 20, 3)
    a[..., 0] = 1.0
    b = a.clone()
    b[:, 5, 1], b[:, 12, 1], b[:, 3, 1] = 3.0, 2.0, 1.0
    assert evaluation_layers(a, b) == (5, 12)
    assert evaluation_layers(a[:, :6], b[:, :6]) == (5,)


def test_the_rule_maximises_the_sum_and_leaves_out_damage_late_layers_and_the_late_last_token():
    rows = [
        (3, -2, 0.5, 0.6, 0.05),
        (4, -2, 0.4, 0.4, 0.05),
        (8, -2, 0.9, 0.9, 0.05),  # the last fifth of ten layers, and the best of its offset
        (3, -3, 0.3, 0.3, 0.1),  # on the limit: kept
        (2, -3, 0.2, 0.2, 0.11),  # too much KL
        (1, -2, math.nan, 1.0, 0.0),
        (7, -1, 0.9, 0.9, 0.0),  # above both medians (8 and 3: 5.5)
        (5, -1, 0.7, 0.2, 0.0),  # not above
    ]
    assert cosmic_passing(rows, 10) == (0, 7, 1, 3)
    # With one offset there is nothing to compare the last token with.
    assert cosmic_passing([row for row in rows if row[1] == -1], 10) == (0, 1)


def test_too_few_prompts_are_one_clear_line(tiny_llama, three_categories):
    one = three_categories.first(1).only(category="red")
    sides = one.only(label="refuse"), one.only(label="comply")
    with pytest.raises(InputError, match="at least two"):
        select_cosmic(tiny_llama, [], train=sides, val=sides)
    with pytest.raises(InputError, match="at least 3"):
        measure_separation(tiny_llama, [], *sides)


def estimate(value):
    return Estimate(value, value - 1, value + 1, 9, "test", 0.0)


@pytest.mark.parametrize(("distance", "above"), [(2.0, True), (4.0, False)])
def test_the_best_layer_is_above_another_only_by_intervals_that_do_not_meet(distance, above):
    near, far = Separation(3, -1, estimate(distance)), Separation(6, -1, estimate(5.0))
    separations = Separations((near, far))
    assert (
        separations.best == far and separations.at(3, -1) == near and separations.at(3, -2) is None
    )
    assert separations.best_exceeds(near) is above
    assert not separations.best_exceeds(
        Separation(3, -1, Estimate(None, None, None, 9, "test", 0.0))
    )


def test_separation_is_a_standardised_distance(tiny_llama, three_categories):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 400, generator=generator).double()
    a, b = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    distance = standardised_distance(2 * a + 3, 2 * b)
    assert distance.value == pytest.approx(1.5)
    # Asymptotic standard error of Cohen's d at two samples of 400.
    se = math.sqrt(2 / 400 + 1.5**2 / 1600)
    assert distance.high - distance.low == pytest.approx(2 * 1.963 * se, rel=0.1)
    fitted = fit_mean_difference(tiny_llama.residual_stats(three_categories).pooled())
    sides = [three_categories.only(label=label) for label in ("refuse", "comply")]
    (got,) = measure_separation(tiny_llama, [fitted.at("pooled", 1)], *sides).candidates
    # On its own fitting prompts a direction separates.
    assert got.distance.value > 0 and got.distance.n == 30
