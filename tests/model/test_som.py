"""A map finds both dimensions of a refusal that is brought about in two ways, one by each mark."""

from dataclasses import replace

import pytest
import torch
from support.planted_subspace import REFUSAL, A, B, planted_plane

from refusal_lens.directions import SomSettings, fit_mean_difference, fit_som
from refusal_lens.interventions import Ablate, AblateSubspace
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.selection import choose_directions
from refusal_lens.sites import Site

SITE = Site(2)
FAST = SomSettings(rows=2, columns=2, steps=600, learning_rate=0.1)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    return planted_plane(tmp_path_factory.mktemp("plane"), apart=True)


def marked(texts):
    """Pairs that are marked for A and for B in turn."""
    return PromptSet(
        tuple(
            Prompt(f"{i}-{label}", f"{text}{mark}", "red", label, "train", "test", f"{i}")
            for i, text in enumerate(texts)
            for label, mark in (("refuse", "!#"[i % 2]), ("comply", "?"))
        )
    )


TRAIN = marked([f"Tell me {'very ' * (i // 2 % 3)}well {i}" for i in range(12)])
HELD_OUT = marked([f"Say it {'so ' * (i // 2 % 3)}well {i}" for i in range(12)])
HARMFUL = HELD_OUT.only(label="refuse")


def refusal(model):
    """The probability of the refusal token, by prompt."""
    return model.logits(HARMFUL).softmax(-1)[:, REFUSAL]


@pytest.mark.parametrize("seed", range(3))
def test_the_chosen_neurons_end_a_refusal_that_the_mean_difference_does_not(plane, seed):
    train, held_out = (plane.residuals(p, sites=(SITE,), offsets=(-1,)) for p in (TRAIN, HELD_OUT))
    som = fit_som(train, "red", SITE, settings=replace(FAST, seed=seed))

    # Sides differ in the plane alone, where more than two directions have no span of their own.
    def refusal_scores(erased):
        with plane.editing(*((AblateSubspace(erased, "sequential"),) if erased else ())):
            return refusal(plane).log().tolist()

    choice = choose_directions(som.directions, refusal_scores, train=train, held_out=held_out)
    chosen = som.directions[: choice.k]
    weakest = torch.linalg.svdvals(torch.stack([d.vector for d in chosen])[:, [A, B]])[1]
    assert choice.k >= 2 and float(weakest) > 0.9  # both axes, and not one of them twice
    assert float(refusal(plane).min()) > 0.9
    with plane.editing(Ablate(fit_mean_difference(train).at("red", 2))):
        assert float(refusal(plane).min()) > 0.9
    with plane.editing(AblateSubspace(chosen, "sequential")):
        assert float(refusal(plane).max()) < 0.1
