"""Self-organising maps: the 1 x 1 limit, planted clusters of unequal size, order, layers, seeds."""

from dataclasses import replace

import pytest
import torch
from support.paired_residuals import SITE, prompts_of, residuals_of, some_residuals
from support.simulated import generator

from refusal_lens.directions import (
    SomSettings,
    fit_mean_difference,
    fit_most_won,
    fit_som,
    make_estimator,
)
from refusal_lens.errors import InputError
from refusal_lens.interventions import AblateSubspace
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import Residuals
from refusal_lens.selection import choose_directions
from refusal_lens.sites import Site, block_output

D = 12
FAST = SomSettings(rows=2, columns=2, steps=1500, learning_rate=0.1)


def clusters(n_pairs=80, share=0.75, seed=0):
    """Most of the refuse side 4 along axis 0, the rest 4 along axis 1; noise .5; comply at 0."""
    resid = 0.5 * torch.randn(2 * n_pairs, 1, D, generator=generator(seed))
    first = round(share * n_pairs)
    resid[: 2 * first : 2, :, 0] += 4.0
    resid[2 * first :: 2, :, 1] += 4.0
    return residuals_of(resid, prompts_of(n_pairs, ("red",)))


def sides(residuals):
    x = residuals.at(SITE).double()
    refuse = torch.tensor([p.label == "refuse" for p in residuals.labelled])
    return x[refuse], x[~refuse]


def test_a_map_of_one_neuron_is_the_mean_difference():
    """At the paper's settings, up to the jitter of online training.

    A neuron that moves by a share a of the way to each prompt has, around the mean, the covariance
    a/(2 - a) of the prompts'; a ends at .01/3: .041 standard deviations in each dimension.
    """
    residuals = residuals_of(some_residuals(60), prompts_of(60))
    one = fit_som(residuals, "red", SITE, settings=SomSettings(rows=1, columns=1))
    mean = fit_mean_difference(residuals).at("red", 1)
    refuse, _ = sides(residuals.only(category="red"))
    (direction,) = one.directions
    off = direction.scale * direction.vector - mean.scale * mean.vector
    spread = float((refuse - refuse.mean(0)).square().sum(1).mean().sqrt())
    assert one.wins == (60,)
    assert 0 < float(off.norm()) < 2 * 0.041 * spread
    assert float(direction.vector @ mean.vector) > 0.996  # the same bound, at this length
    assert direction.low == pytest.approx(
        float(sides(residuals.only(category="red"))[1].mean(0) @ direction.vector.double()),
        abs=1e-4,
    )
    assert direction.high - direction.low == pytest.approx(direction.scale, rel=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_map_finds_two_clusters_and_the_mean_difference_lies_between(seed):
    residuals = clusters()
    som = fit_som(residuals, "red", SITE, settings=replace(FAST, seed=seed))
    along = torch.stack([d.vector for d in som.directions])[:, :2]
    assert float(along[0, 0]) > 0.9  # the larger cluster first
    assert float(along[:, 1].max()) > 0.9
    mean = fit_mean_difference(residuals).at("red", 1).vector
    assert 0.85 < float(mean[0]) < 0.97 and float(mean[1]) > 0.25
    assert sum(som.wins) == 80 and list(som.wins) == sorted(som.wins, reverse=True)
    assert som.quantisation_error < 0.7 * som.spread


def acting(residuals):
    """A refusal score that the coordinates on the two planted axes make, half a nat each."""
    harmful = residuals.only(label="refuse").at(SITE)

    def refusal_scores(erased):
        x = AblateSubspace(erased)(harmful) if erased else harmful
        return (0.5 * x[:, :2].sum(1)).tolist()

    return refusal_scores


@pytest.mark.parametrize("seed", range(4))
def test_erasing_as_many_as_are_chosen_leaves_nothing_of_a_planted_plane(seed):
    """What the mean difference can't: the two clusters span two dimensions.

    Ranks are by wins: the second neuron often lies in the larger cluster as well.
    """
    train, held_out = clusters(seed=seed), clusters(seed=seed + 100)
    som = fit_som(train, "red", SITE, settings=replace(FAST, seed=seed))
    choice = choose_directions(som.directions, acting(held_out), train=train, held_out=held_out)
    chosen = som.directions[: choice.k]
    basis = torch.linalg.qr(torch.stack([d.vector for d in chosen]).double().mT).Q
    assert choice.k >= 2 and float(basis[:2].norm(dim=1).min()) > 0.9  # both axes are in the span
    refuse, comply = sides(held_out)
    left = {}
    for name, directions in (
        ("mean", (fit_mean_difference(train).at("red", 1),)),
        ("map", chosen),
    ):
        erased = AblateSubspace(directions)(refuse.float()).double()
        left[name] = float((erased[:, :2] - comply.mean(0)[:2]).square().sum(1).mean().sqrt())
    assert left["map"] < 0.8 < 1.5 < left["mean"]


def test_directions_do_not_depend_on_the_order_in_which_prompts_are_listed():
    residuals = clusters(20)
    order = torch.randperm(40, generator=generator(1)).tolist()
    prompts = PromptSet(tuple(residuals.labelled.prompts[i] for i in order))
    listed = residuals_of(residuals.at(SITE)[order][:, None], prompts)
    a, b = (fit_som(r, "red", SITE, settings=FAST) for r in (residuals, listed))
    assert a.wins == b.wins and a.quantisation_error == b.quantisation_error
    for x, y in zip(a.directions, b.directions, strict=True):
        assert torch.equal(x.vector, y.vector) and x.low == y.low
    few = SomSettings(rows=2, columns=2, steps=200, learning_rate=0.1)
    first, second = (fit_most_won(r, settings=few).at("red", 1) for r in (residuals, listed))
    assert torch.allclose(first.vector, second.vector, atol=1e-6)


def test_what_was_fitted_names_the_map_and_its_training():
    residuals = clusters(6)
    assert (
        fit_most_won(residuals).method == "som, 4 x 4 neurons, 1000 steps at rate 0.1, width 0.33"
    )
    assert "som, 2 x 2 neurons, 1500 steps" in fit_most_won(residuals, settings=FAST).method


def test_the_estimator_takes_the_neuron_that_won_most():
    residuals = clusters()
    fitted = make_estimator("som")(residuals)
    direction = fitted.at("red", 1)
    assert float(direction.vector[0]) > 0.9 and abs(float(direction.vector[1])) < 0.2
    refuse, comply = sides(residuals)
    assert direction.high == pytest.approx(
        float(refuse.mean(0) @ direction.vector.double()), abs=1e-4
    )
    settings = SomSettings(steps=1000, learning_rate=0.1)
    first = fit_som(residuals, "red", SITE, settings=settings).directions[0]
    assert torch.allclose(first.vector, direction.vector, atol=1e-6)
    assert first.scale == pytest.approx(direction.scale, rel=1e-6)
    other = fit_most_won(residuals, settings=replace(settings, seed=1)).at("red", 1)
    assert not torch.equal(other.vector, direction.vector)
    assert float(other.vector @ direction.vector) > 0.95


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_map():
    residuals = residuals_of(some_residuals(20), prompts_of(20))
    a, b, c = (
        fit_som(residuals, "red", SITE, settings=replace(FAST, seed=seed)) for seed in (3, 3, 4)
    )
    assert a.wins == b.wins
    for x, y in zip(a.directions, b.directions, strict=True):
        assert torch.equal(x.vector, y.vector) and x.scale == y.scale
    assert not torch.equal(a.directions[0].vector, c.directions[0].vector)
    assert a.directions[0].provenance == replace(residuals.provenance, seed=3)


def test_neurons_that_won_no_prompt_give_no_direction():
    residuals = clusters(6)
    som = fit_som(residuals, "red", SITE)
    assert len(som.directions) == len(som.wins) <= 6 and min(som.wins) >= 1
    assert sum(som.wins) == 6 and som.settings.neurons == 16
    assert som.settings == SomSettings(4, 4, 10_000, 0.01, 0.33, 0)  # the paper's


def test_shuffled_labels_give_short_directions():
    residuals = clusters()
    real = fit_som(residuals, "red", SITE, settings=replace(FAST, rows=1, columns=1)).directions[0]
    for seed in range(5):
        order = torch.randperm(160, generator=generator(seed))
        shuffled = replace(residuals, tensor=residuals.tensor[order])
        one = fit_som(shuffled, "red", SITE, settings=replace(FAST, rows=1, columns=1))
        assert one.directions[0].scale < 0.4 * real.scale


def test_the_layer_of_the_paper_is_a_block_output():
    residuals = clusters(6)
    for site, layer in ((Site(15), 14), (Site(14, "resid_post"), 14), (block_output(14), 14)):
        there = replace(residuals, sites=(site,))
        assert fit_som(there, "red", site, settings=FAST).block_output == layer
    assert block_output(14).vector_of_stream == Site(14, "resid_post").vector_of_stream
    inside = replace(residuals, sites=(Site(3, "attn_out"),))
    with pytest.raises(InputError, match=r"attn_out\[3\] is not the output of a block"):
        _ = fit_som(inside, "red", Site(3, "attn_out"), settings=FAST).block_output


def test_where_prompts_do_not_differ_there_is_no_direction():
    resid = torch.full((24, 1, D), 0.1) + torch.linspace(1, 40, D)
    residuals = residuals_of(resid, prompts_of(12, ("red",)))
    with pytest.raises(InputError, match="where the comply side's mean is and has no direction"):
        fit_som(residuals, "red", SITE, settings=FAST)
    fitted = make_estimator("som")(residuals)
    assert fitted.vectors.isnan().all() and (fitted.scale == 0).all()


def one_sided(residuals) -> Residuals:
    return residuals.only(label="refuse")


def test_what_cannot_be_fitted_is_said():
    residuals = clusters(6)
    with pytest.raises(InputError, match="'blue' is not in these residuals, which hold"):
        fit_som(residuals, "blue", SITE)
    with pytest.raises(InputError, match="6 refuse-side and 0 comply-side"):
        fit_som(one_sided(residuals), "red", SITE)
    assert make_estimator("som")(one_sided(residuals)).vectors.isnan().all()
    with pytest.raises(InputError, match=r"site resid_pre\[9\] is not in these residuals"):
        fit_som(residuals, "red", Site(9))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rows": 0}, "a map of 0 x 4 neurons"),
        ({"steps": 0}, "0 steps"),
        ({"learning_rate": 0.0}, "learning_rate 0.0"),
        ({"learning_rate": 1.5}, "learning_rate 1.5"),
        ({"sigma": float("nan")}, "sigma nan"),
    ],
)
def test_settings_are_checked(setting, message):
    with pytest.raises(InputError, match=message):
        SomSettings(**setting)


def test_the_most_won_neuron_need_not_lie_in_the_largest_cluster():
    """Of 40 and 20 prompts: 16 neurons split the larger cluster further."""
    residuals = clusters(60, share=2 / 3)
    first = [
        fit_most_won(residuals, settings=SomSettings(steps=1000, learning_rate=0.1, seed=seed))
        .at("red", 1)
        .vector
        for seed in range(6)
    ]
    in_larger = [bool(v[0] > v[1]) for v in first]
    assert any(in_larger) and not all(in_larger)
