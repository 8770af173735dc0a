"""With the labels of half the prompts exchanged there is nothing to find: chance, held out.

Of estimators that need more than residuals and labels, and of what chooses among directions.
"""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from support.paired_residuals import SITE, prompts_of, residuals_of
from support.simulated import generator

from refusal_lens.directions import (
    SomSettings,
    fit_most_won,
    fit_som,
    fit_weighted_ridge_mean_difference,
)
from refusal_lens.interventions import AblateSubspace
from refusal_lens.prompts.exchange import exchange_half
from refusal_lens.selection import choose_directions

D, SEEDS = 12, 8
SMALL = SomSettings(rows=2, columns=2, steps=400, learning_rate=0.1)


def clusters(n_pairs, seed):
    """Half of the refuse side 3 along axis 0, half 3 along axis 1; noise 1; comply at 0."""
    resid = torch.randn(2 * n_pairs, 1, D, generator=generator(seed))
    resid[::4, :, 0] += 3.0
    resid[2::4, :, 1] += 3.0
    return residuals_of(resid, prompts_of(n_pairs, ("red",)))


def exchanged(residuals, seed):
    return residuals.only(prompts=exchange_half(residuals.labelled, seed))


def weighted(residuals, seed):
    """Confidences between .2 and 1 that the labels are right."""
    sure = (0.2 + 0.8 * torch.rand(len(residuals), generator=generator(seed))).tolist()
    confidence = {
        p.id: c if p.label == "refuse" else -c
        for p, c in zip(residuals.labelled, sure, strict=True)
    }
    return fit_weighted_ridge_mean_difference(residuals, confidence=confidence)


def most_won(residuals, seed):
    return fit_most_won(residuals, settings=SomSettings(steps=400, learning_rate=0.1, seed=seed))


def area(fitted, held_out):
    labels = [p.label == "refuse" for p in held_out.labelled]
    return roc_auc_score(labels, (held_out.at(SITE) @ fitted.at("red", 1).vector).numpy())


@pytest.mark.parametrize("fit", [weighted, most_won])
def test_exchanged_labels_separate_no_held_out_prompts(fit):
    real, null = [], []
    for seed in range(SEEDS):
        train, held_out = clusters(40, seed), clusters(100, 100 + seed)
        real.append(area(fit(train, seed), held_out))
        null.append(area(fit(exchanged(train, seed), seed), exchanged(held_out, seed)))
    assert np.mean(null) == pytest.approx(0.5, abs=0.04)
    assert np.mean(real) > 0.7


def test_no_number_of_neurons_separates_exchanged_labels():
    """In the span of any of the nested sets, and so of the chosen one."""
    areas, in_interval, chosen = [], 0, []
    for seed in range(SEEDS):
        train = exchanged(clusters(40, seed), seed)
        held_out = exchanged(clusters(60, 100 + seed), seed)
        harmful = held_out.only(label="refuse").at(SITE)

        def refusal_scores(erased, harmful=harmful):
            x = AblateSubspace(erased)(harmful) if erased else harmful
            return (0.5 * x[:, :2].sum(1)).tolist()

        som = fit_som(train, "red", SITE, settings=SMALL)
        choice = choose_directions(som.directions, refusal_scores, train=train, held_out=held_out)
        areas += [tried.separability.value for tried in choice.sets]
        taken = choice.sets[choice.k - 1].separability
        chosen.append(taken.value)
        in_interval += taken.low < 0.5 < taken.high
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)
    assert np.mean(chosen) == pytest.approx(0.5, abs=0.06) and in_interval >= SEEDS - 2
