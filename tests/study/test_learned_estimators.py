"""What a run learns by gradient is learned from its fitting residuals and its refusal openings."""

import re
import shutil
from dataclasses import replace

import pytest
import torch
from support.refusing_model import REFUSALS
from support.tiny_study import paired_things

from refusal_lens.directions import fit_whitened_orthonormal
from refusal_lens.errors import InputError
from refusal_lens.judges import ScoreTrust
from refusal_lens.optimised import mixing_of
from refusal_lens.sites import Site
from refusal_lens.study import Results
from refusal_lens.study.estimators import chosen
from refusal_lens.study.fitted import Gap
from refusal_lens.study.stage import Bench
from refusal_lens.study.stages.score import TRUST


@pytest.fixture(scope="module")
def bench(study, refusing, tmp_path_factory):
    """A run that knows by which first tokens its model refuses, and nothing else."""
    results = Results.begin(tmp_path_factory.mktemp("learned") / "run", study.plain())
    words = tuple(words[0] for words in REFUSALS.values())
    tokens = tuple(refusing.chat.tokenizer.convert_tokens_to_ids(list(words)))
    trust = ScoreTrust(tokens, words, {}, {}, {}, {}, {})
    results.add(TRUST.stage, "test", {TRUST.name: trust}, 0.0)
    return Bench.of(study, refusing, paired_things(), results)


def test_a_combination_of_whitened_directions_is_learned_where_it_is_named(bench):
    (one,) = (each for each in chosen(["combination"]) if each.name == "combination")
    assert one.slow and one.place == 142 and one not in chosen(None)
    residuals = bench.model.residuals(bench.prompts.only(split="train"), sites=[Site(2)])
    done = []
    fitted = one.fit(bench, residuals, done.append)
    (direction,) = fitted.pooled
    assert re.fullmatch(r"low-rank combination of 3 directions, step \d+ of 60", fitted.method)
    assert sum(done) == 60 * 18  # counts of its work, step by step
    assert (direction.category, direction.site, fitted.basis) == ("pooled", Site(2), ())
    whitened = fit_whitened_orthonormal(residuals)
    mixing = mixing_of(direction, whitened)
    made = sum(c * whitened.at(category, 2).vector for category, c in mixing.items())
    assert torch.allclose(made, direction.vector, atol=1e-5)
    assert (bench.results.folder / "checkpoints" / "combination.json").is_file()
    with pytest.raises(
        InputError, match=r"two directions or more, of different names; found \['red'\]"
    ):
        one.fit(bench, residuals.only(category="red"), done.append)


def test_each_counts_the_steps_that_it_takes_at_most():
    """A cone is learned in 100 steps, the others in 60; the rest is what stays in memory."""
    names = ("rdo", "cone_3", "combination")
    counts = {one.name: one.counts for one in chosen(names)}
    assert [(counts[name] - 2 * 128) / 18 for name in names] == [60, 100, 60]


@pytest.mark.parametrize("seed", [0, 5])
def test_what_is_drawn_at_random_has_the_seed_of_the_run(bench, seed, monkeypatch):
    shutil.rmtree(bench.results.folder / "checkpoints", ignore_errors=True)
    seeded = Bench.of(replace(bench.study, seed=seed), bench.model, bench.prompts, bench.results)
    residuals = bench.model.residuals(bench.prompts.only(split="train"), sites=[Site(2)])
    (combination,) = (one for one in chosen(["combination"]) if one.name == "combination")
    (direction,) = combination.fit(seeded, residuals, lambda n: None).pooled
    assert direction.provenance.seed == seed
    seeds = []

    def noted(*args, settings):
        seeds.append(settings.seed)
        raise Gap("noted")

    monkeypatch.setattr("refusal_lens.study.estimators.som.fit_som", noted)
    (som,) = (one for one in chosen(["som_subspace"]) if one.name == "som_subspace")
    with pytest.raises(Gap, match="noted"):
        som.fit(seeded, residuals, lambda n: None)
    assert seeds == [seed]
