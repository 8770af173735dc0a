"""Objective, training and selection of invariant probes: autograd, and examples of known truth.

What is expected of the synthetic examples is known from arXiv 2106.06607: with label noise IRM
drops the spurious coordinate, without it IRM may fail, which is no error of this code. The gain
that IB-IRM should then have is not seen at these weights, and the tests say so.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from support.environments import AGREEMENT, linear, two_bits
from support.simulated import generator

from refusal_lens.auroc import aurocs
from refusal_lens.directions.invariance import Config, InvarianceRecipe
from refusal_lens.directions.invariance.environments import EnvironmentData
from refusal_lens.directions.invariance.features import FeatureBasis
from refusal_lens.directions.invariance.objective import InvarianceObjective, PenaltyWeights
from refusal_lens.directions.invariance.recipe import METHODS
from refusal_lens.directions.invariance.selection import Search, fit
from refusal_lens.directions.invariance.training import train
from refusal_lens.errors import InputError

CONFIGS = (Config(0.0, 0.0, 1e-3), Config(10.0, 0.0, 1e-2), Config(0.0, 0.3, 0.0))
CONFIGS += (Config(100.0, 1.0, 1e-3),)


def unequal(d=6, seed=0):
    """Three environments of different sizes, classes of different sizes, rows in no order."""
    random = generator(seed)
    environment = torch.tensor([0] * 20 + [1] * 13 + [2] * 31)[torch.randperm(64, generator=random)]
    x = torch.randn(64, d, generator=random, dtype=torch.float64)
    refused = torch.rand(64, generator=random) < 0.4
    x[:, 0] += 2.0 * refused
    return EnvironmentData(("a", "b", "c"), x, environment, refused, torch.arange(64))


def plainly(data, z, w, config, kind):
    """J of one probe as the formulas are written, with autograd for the penalty."""
    f, y = z @ w, data.refused.double()
    risk = penalty = bottleneck = 0.0
    for e in range(3):
        one, dummy = data.environment == e, torch.tensor([1.0, 0.0], dtype=torch.float64)
        dummy.requires_grad_()
        fe, ye = f[one], y[one]
        c = torch.where(ye == 1, 0.5 / ye.sum(), 0.5 / (1 - ye).sum())
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        r = bce(dummy[0] * fe + dummy[1], ye, weight=c, reduction="sum")
        (g,) = torch.autograd.grad(r, dummy, create_graph=True)
        risk, penalty = risk + r / 3, penalty + g.square().sum() / 3
        if kind == "variance":
            v = (c * fe.square()).sum() - (c * fe).sum().square()
        else:
            a, b = fe[ye == 1], fe[ye == 0]
            v = (a.var(correction=0) + b.var(correction=0)) / 2 / (a.mean() - b.mean()) ** 2
        bottleneck = bottleneck + v / 3
    total = risk + config.penalty * penalty + config.bottleneck * bottleneck
    return (total + config.decay * w[:-1].square().sum()) / (1 + config.penalty)


@pytest.mark.parametrize("kind", ["variance", "within_class"])
def test_value_and_gradient_are_those_of_autograd(kind):
    data = unequal()
    basis = FeatureBasis.of(data, 4)
    objective, weights = InvarianceObjective(basis, data, kind), PenaltyWeights.of(CONFIGS)
    w = torch.randn(4, 5, generator=generator(1), dtype=torch.float64)
    value, gradient = objective.value(w, weights), objective.gradient(w, weights)
    for i, config in enumerate(CONFIGS):
        one = w[i].clone().requires_grad_()
        plain = plainly(data, basis(data.x), one, config, kind)
        assert float(value[i]) == pytest.approx(float(plain.detach()), rel=1e-10)
        (expected,) = torch.autograd.grad(plain, one)
        assert torch.allclose(gradient[i], expected, atol=1e-10)


def by_hand(data, basis, config, seed, recipe):
    """One probe, step by step with autograd, the schedule as it is described."""
    random = torch.Generator().manual_seed(seed)
    w = 2 * torch.rand(basis.axes.shape[1] + 1, generator=random, dtype=torch.float64) - 1
    w = (w / basis.axes.shape[1] ** 0.5).requires_grad_()
    early = replace(config, penalty=1.0 if config.penalty else 0.0, bottleneck=0.0)
    z = basis(data.x)
    for part, steps in ((early, recipe.warm_up), (config, recipe.steps - recipe.warm_up)):
        adam = torch.optim.Adam([w], lr=recipe.learning_rate)
        for _ in range(steps):
            adam.zero_grad()
            plainly(data, z, w, part, recipe.bottleneck).backward()
            adam.step()
    return w.detach()


def test_training_follows_the_schedule_and_without_weights_it_is_erm_exactly():
    data, recipe = unequal(), InvarianceRecipe(steps=60, warm_up=20, learning_rate=0.05)
    basis = FeatureBasis.of(data, 4)
    objective = InvarianceObjective(basis, data, "variance")
    w = train(objective, CONFIGS, (0, 7), recipe)
    assert w.shape == (4, 2, 5)
    for i, config in enumerate(CONFIGS):
        assert torch.allclose(w[i, 1], by_hand(data, basis, config, 7, recipe), atol=1e-9)
    erm = train(objective, [Config(0.0, 0.0, 1e-3)], (0, 7), recipe)
    assert torch.allclose(w[0], erm[0], atol=1e-12)
    assert torch.equal(train(objective, CONFIGS, (0, 7), recipe), w)
    assert not torch.allclose(w[:, 0], w[:, 1], atol=1e-3)  # two seeds


def test_erm_is_logistic_regression_with_the_environments_weights():
    data = unequal()
    recipe = InvarianceRecipe(components=6, steps=3000, warm_up=0, learning_rate=0.02)
    basis, w = fit(data, [Config(0.0, 0.0, 0.05)], (0, 1), recipe)
    other = LogisticRegression(C=1 / (2 * 0.05), tol=1e-10, max_iter=1000)
    z = basis(data.x)[:, :-1].numpy()
    other.fit(z, data.refused.numpy(), sample_weight=data.weights().numpy())
    expected = torch.from_numpy(np.append(other.coef_[0], other.intercept_))
    for probe in w[0]:
        assert torch.allclose(probe, expected, atol=1e-3)


def test_weights_and_features_give_every_environment_and_side_the_same_say():
    data = unequal()
    weights = data.weights()
    assert float(weights.sum()) == pytest.approx(1)
    for e in range(3):
        for side in (data.refused, ~data.refused):
            assert float(weights[(data.environment == e) & side].sum()) == pytest.approx(1 / 6)
    for components, kept in ((4, 4), (50, 6)):
        basis = FeatureBasis.of(data, components)
        z = basis(data.x)
        assert z.shape == (64, kept + 1) and bool((z[:, -1] == 1).all())
        centred = weights[:, None] * z[:, :-1]
        assert torch.allclose(centred.sum(0), torch.zeros(kept).double(), atol=1e-10)
        covariance = z[:, :-1].mT @ centred
        assert torch.allclose(covariance, covariance.diagonal().diag(), atol=1e-8)
        assert float(covariance.trace()) == pytest.approx(6, rel=1e-6) or kept == 4
    w = torch.randn(3, 7, generator=generator(2), dtype=torch.float64)
    logits = z @ w.mT  # and w_raw is the same probe of the stream, up to its offset
    raw = data.x @ basis.back(w).mT
    assert torch.allclose(logits - logits.mean(0), raw - raw.mean(0), atol=1e-9)


def test_more_dimensions_than_prompts_leave_what_the_prompts_span():
    random = generator(3)
    x = torch.randn(64, 200, generator=random, dtype=torch.float64)
    x[:, 5] = 1.0  # the same for every prompt
    data = replace(unequal(), x=x)
    basis = FeatureBasis.of(data, 500)
    assert basis.axes.shape == (200, 63) and bool(basis(x).isfinite().all())
    wide, narrow = FeatureBasis.of(data, 10), FeatureBasis.of(replace(data, x=x[:, :40]), 10)
    assert wide.axes.shape == (200, 10) and narrow.axes.shape == (40, 10)
    assert torch.allclose(wide.axes.mT @ wide.axes, torch.eye(10).double(), atol=1e-9)


def accuracy(basis, w, data):
    logits = w.mean(1) @ basis(data.x).mT
    return ((logits > 0) == data.refused).double().mean(1).tolist()


TWO = InvarianceRecipe(components=2)
FOUR = tuple(
    Config(penalty, bottleneck, 1e-3) for penalty in (0.0, 1000.0) for bottleneck in (0.0, 1.0)
)
ERM, IB_ERM, IRM, IB_IRM = range(4)


def out_of_environment(data):
    """Accuracy of all four in and out of the training environments; the spurious one's share."""
    basis, w = fit(data.without([2]), FOUR, (0,), TWO)
    raw = basis.back(w.mean(1))
    before, after = (accuracy(basis, w, x) for x in (data.without([2]), data.one(2)))
    return before, after, (raw[:, 1] / raw[:, 0]).abs().tolist()


@pytest.mark.parametrize("example", [two_bits, linear])
def test_with_label_noise_the_penalty_drops_the_spurious_coordinate(example):
    """Trained where it agrees with the label .9 and .8 of the time, tested where it does .1."""
    before, after, share = out_of_environment(example(400, 0.25))
    for one in (ERM, IB_ERM):
        assert before[one] > 0.8 and after[one] < 0.3 and share[one] > 0.9
    for one in (IRM, IB_IRM):
        assert after[one] > after[ERM] + 0.2 and share[one] < 0.6  # loosely


def test_without_label_noise_and_with_a_margin_the_bottleneck_drops_the_spurious_coordinate():
    """The invariant bit determines the label. The penalty fails there, as the paper says of IRM.

    With the bottleneck beside it (IB-IRM), which should mend that, nothing is gained here.
    """
    _, after, share = out_of_environment(two_bits(400, 0.0))
    assert min(after[ERM], after[IB_ERM]) > 0.95 and share[IB_ERM] < 0.5 * share[ERM] < 0.2
    assert share[IRM] > share[ERM] and after[IRM] <= after[ERM]
    assert share[IB_IRM] > share[ERM] and after[IB_IRM] <= after[ERM]


def test_without_label_noise_and_margin_all_four_fall_and_none_gains():
    """The invariant coordinate's sign determines the label; its size costs the bottleneck."""
    before, after, share = out_of_environment(linear(400, 0.0))
    assert all(b > 0.9 and a < b - 0.05 for b, a in zip(before, after, strict=True))
    assert max(after) == after[ERM] and min(share) == share[ERM]


LIGHT = InvarianceRecipe(
    components=2,
    penalties=(0.0, 100.0),
    bottlenecks=(0.0, 0.1),
    decays=(1e-3, 1.0),
    steps=60,
    warm_up=20,
    learning_rate=0.05,
)


def test_a_search_fits_each_two_environments_once_and_never_sees_the_outer_one():
    data = two_bits(60, 0.25, agreement=(0.9, 0.8, 0.85, 0.1))
    done = []
    search = Search(data, LIGHT, done.append)
    chosen = search.chosen([3])
    assert tuple(chosen) == METHODS and all(c.method == m for m, c in chosen.items())
    assert len(done) == 3
    search.chosen([2])
    assert len(done) == 5  # without 2 and 3 it is known
    spoilt = replace(data, x=torch.where((data.environment == 3)[:, None], -50.0, data.x))
    assert Search(spoilt, LIGHT).chosen([3]) == chosen
    assert Search(spoilt, LIGHT).oracle(3) != search.oracle(3)


def test_the_choice_is_the_best_on_environments_left_out_and_the_oracle_the_best_on_its_own():
    data = two_bits(60, 0.25, agreement=(0.9, 0.8, 0.85, 0.1))
    search = Search(data, LIGHT)
    grid = LIGHT.grid
    means = []
    for config in grid:
        each = []
        for e in (0, 1, 2):
            basis, w = fit(data.without([3, e]), [config], (0,), LIGHT)
            test = data.one(e)
            each.append(roc_auc_score(test.refused, basis(test.x) @ w[0, 0]))
        means.append(np.mean(each))
    for method, config in search.chosen([3]).items():
        rivals = [m for m, c in zip(means, grid, strict=True) if c.method == method]
        assert means[grid.index(config)] == pytest.approx(max(rivals), abs=1e-9)
    test = data.one(3)
    basis, w = fit(data.without([3]), grid, (0,), LIGHT)
    areas = aurocs((basis(test.x) @ w[:, 0].mT).mT.contiguous(), test.refused)
    for method, value in search.oracle(3).items():
        rivals = [float(a) for a, c in zip(areas, grid, strict=True) if c.method == method]
        assert value == pytest.approx(max(rivals), abs=1e-9)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"penalties": (1.0, 10.0)}, r"penalties \(1.0, 10.0\).*expected 0 and a number above it"),
        ({"bottlenecks": (0.0,)}, "bottlenecks.*expected 0 and a number above it"),
        ({"decays": ()}, "decays.*expected numbers from 0 up"),
        ({"decays": (-1.0,)}, "decays.*expected numbers from 0 up"),
        ({"components": 0}, "components 0"),
        ({"steps": 10, "warm_up": 10}, "warm_up 10 must be below steps 10"),
        ({"learning_rate": 0.0}, "learning_rate 0.0"),
        ({"seeds": ()}, "expected distinct seeds"),
        ({"seeds": (1, 1)}, "expected distinct seeds"),
        ({"selection_seeds": 6}, "the first 6 of them"),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(given, line):
    with pytest.raises(InputError, match=line):
        InvarianceRecipe(**given)


def test_the_grid_holds_all_four_methods():
    grid = InvarianceRecipe().grid
    assert [sum(c.method == m for c in grid) for m in METHODS] == [3, 12, 9, 36]
    assert grid[0] == Config(0.0, 0.0, 1e-4) and AGREEMENT == (0.9, 0.8, 0.1)
