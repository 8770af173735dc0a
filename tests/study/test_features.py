"""Sparse features in a study's folder: the known latent is found, edited and shown."""

from dataclasses import replace

import pytest
import torch
from support import command
from support.sparse import random_sae
from support.tiny_study import Watch, copied

from refusal_lens.errors import InputError
from refusal_lens.evaluation import evaluate
from refusal_lens.interventions import AblateLatents
from refusal_lens.model import Decoding
from refusal_lens.placement import Placement
from refusal_lens.report.page import write_report
from refusal_lens.sites import Site
from refusal_lens.sparse import SparseAutoencoder, Standard, load_sae, save_sae
from refusal_lens.study import Results, Study, run_features
from refusal_lens.study.fitted import POOLED, pooled_set
from refusal_lens.study.run import begin
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.feature_effects import ABLATED, ADDED, EFFECTS, LATENTS, RANDOM
from refusal_lens.study.stages.features import CARDS, FIRING, SUMMARY

KNOWN = 7
SMALL = {
    "feature_least": 4,
    "feature_latents": 1,
    "feature_tail_cards": 1,
    "feature_controls": 2,
    "feature_permutations": 5,
    "feature_pairs": 3,
    "feature_tokens": 4,
}


def known_sae(results: Results, bench) -> SparseAutoencoder:
    """Latent 7 is how far a vector is beyond the middle between the two sides, on its direction."""
    direction = pooled_set(results).at(POOLED, bench.model.n_layers - 1)
    prompts = bench.prompts.only(ids=set(results.get(BEHAVIOUR).refused()))
    read = bench.model.residuals(prompts, sites=(direction.site,), offsets=(-1,)).tensor[:, 0, 0]
    along = read @ direction.vector
    refused = torch.tensor([results.get(BEHAVIOUR).refused()[p.id] for p in prompts])
    middle = (along[refused].mean() + along[~refused].mean()) / 2
    sae = random_sae(bench.model.d_model, 24, "standard", site=direction.site, subtract_b_dec=False)
    w_enc, w_dec, bias = sae.w_enc.clone(), sae.w_dec.clone(), torch.zeros(24)
    w_enc[:, KNOWN], w_dec[KNOWN], bias[KNOWN] = direction.vector, direction.vector, -middle
    return replace(sae, w_enc=w_enc, w_dec=w_dec, activation=Standard(bias))


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    results = copied(finished[0], folder / "run")
    study = Study.of(results.manifest["question"])
    study = replace(study, sizes=study.sizes.changed(**SMALL))
    results.describe({"question": study.plain()})
    bench = begin(study, results.folder, Placement(dtype="float32", device="cpu"))
    save_sae(known_sae(results, bench), folder / "sae")
    watch = Watch()
    return run_features(results.folder, watch, sae=folder / "sae"), watch, folder / "sae", bench


def test_no_answer_is_kept(run, finished):
    results, _, _, _ = run
    for key in (ABLATED, ADDED):
        answers = results.get(key)
        assert answers.rate(LATENTS).n and {word for row in answers.answers for word in row} == {""}
    assert results.answers_file.read_bytes() == finished[0].answers_file.read_bytes()


def test_the_known_latent_is_the_core(run):
    results, watch, _, _ = run
    assert not watch.gaps and watch.started_stages == ["features", "feature_effects"]
    tests, summary = results.get(FIRING), results.get(SUMMARY)
    assert summary.chosen == (KNOWN,) and KNOWN in tests.core
    assert summary.cosine.value == pytest.approx(1.0, abs=1e-4)
    assert all(KNOWN not in draw for draw in summary.controls) and len(summary.controls) == 2
    assert summary.measured.value > 0.9 > summary.measured.control
    assert max(d.core for d in summary.permuted) == 0
    assert watch.ticks == watch.expected


def test_ablating_it_is_the_edit_by_itself(run):
    results, _, _, bench = run
    effects = results.get(EFFECTS)
    row = effects.of(LATENTS, "refuse")
    pairs = bench.prompts.only(split="test")
    asked = pairs.only(ids=set(results.get(ABLATED).ids))
    sae = load_sae(run[2])
    edit = AblateLatents(sae, (KNOWN,), results.get(SUMMARY).longest)
    with bench.model.editing(edit):
        alone = evaluate(bench.model, asked, bench.judge, decoding=Decoding(4))
    given = results.get(ABLATED).only(condition=LATENTS)
    assert [v.outcome for v in given.verdicts()] == [v.outcome for v in alone.verdicts()]
    assert row.rate.n + row.rate.missing == len(asked) == 3
    assert row.q is not None and effects.of(RANDOM, "refuse").q is None
    assert effects.of("direction", "comply") is not None


def test_cards_show_where_it_fires(run):
    results, _, _, bench = run
    card = results.get(CARDS).cards[0]
    assert card.latent == KNOWN and card.role == "core" and card.n_lists == 3
    assert card.measured.value > 0.9 and card.cosine == pytest.approx(1.0, abs=1e-4)
    assert 1 <= len(card.contexts) <= 4 and len(card.promoted) == 8
    values = [c.value for c in card.contexts]
    assert values == sorted(values, reverse=True) and values[-1] > 0
    texts = {p.id: p.text for p in bench.prompts}
    for c in card.contexts:
        assert c.prompt in texts and c.label in ("refuse", "comply")


def test_the_section_is_shown_and_nothing_is_measured_twice(run):
    results, _, sae, _ = run
    page = write_report(results).read_text(encoding="utf-8")
    assert 'h3 id="features"' in page and 'id="plot-features"' in page
    for given in (sae, None):
        again = Watch()
        run_features(results.folder, again, sae=given)
        assert again.started_stages == [] and results.get(SUMMARY).sae == load_sae(sae).name


def test_an_autoencoder_that_is_gone_takes_nothing_from_the_run(run, tmp_path):
    results = copied(run[0], tmp_path / "run")
    before = results.get(SUMMARY).sae
    results.describe({"sae_folder": str(tmp_path / "gone")})
    with pytest.raises(InputError, match="can't be read again: .*gone.*; give --sae"):
        run_features(results.folder, Watch())
    assert results.get(SUMMARY).sae == before


def test_another_autoencoder_is_measured_again_and_a_wrong_one_refused(run, tmp_path):
    results, _, _, bench = run
    copy = copied(results, tmp_path / "run")
    width = bench.model.d_model
    save_sae(random_sae(width, 24, "standard", site=Site(1)), tmp_path / "other")
    watch = Watch()
    run_features(copy.folder, watch, sae=tmp_path / "other")
    assert watch.started_stages[0] == "features"
    assert copy.get(SUMMARY).sae != results.get(SUMMARY).sae
    save_sae(random_sae(width + 1), tmp_path / "wide")
    with pytest.raises(InputError, match=f"of width {width + 1}"):
        run_features(copy.folder, Watch(), sae=tmp_path / "wide")
    save_sae(random_sae(width, site=Site(1, "mlp_out")), tmp_path / "mlp")
    with pytest.raises(InputError, match="not of the stream between blocks"):
        run_features(copy.folder, Watch(), sae=tmp_path / "mlp")
    assert copy.get(SUMMARY).sae == load_sae(tmp_path / "other").name


def test_a_model_without_an_autoencoder_needs_one(finished, tmp_path):
    with pytest.raises(InputError, match="no sparse autoencoder comes for"):
        run_features(copied(finished[0], tmp_path / "run").folder, Watch())


def test_the_command_prints_cards_and_effects(run, tmp_path):
    results, _, sae, _ = run
    copy = copied(results, tmp_path / "run")
    done = command.run("features", str(copy.folder), "--sae", str(sae), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "core" in done.stdout and "ablated: latents" in done.stdout
    assert "report.html" in done.stdout
    wrong = command.run("features", str(copy.folder), "--sae", "nothing", cwd=tmp_path)
    assert wrong.returncode == 2 and "cfg.json" in wrong.stderr


def test_an_autoencoder_is_trained_from_the_command_line(refusing_folder, prompts_file, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("The tide turns and the boats come home. " * 40)
    options = [
        "--layer",
        "1",
        "--out",
        "sae",
        "--latents",
        "16",
        "--k",
        "2",
        "--epochs",
        "1",
        "--samples",
        "4",
    ]
    given = ["--model", str(refusing_folder), "--prompts", str(prompts_file), "--text", str(book)]
    done = command.run("train-sae", *options, *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert load_sae(tmp_path / "sae").n_latents == 16 and "sae.work" not in done.stdout
    assert [*(tmp_path / "sae.work").glob("text-*.json")]
