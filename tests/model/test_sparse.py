"""Sparse autoencoders on a model: where edits act, what is read, what training writes."""

import json

import pytest
import torch
from support.sparse import random_sae

from refusal_lens.interventions import AblateLatents, Only, Reconstruct
from refusal_lens.sites import Site
from refusal_lens.sparse import (
    SaeJob,
    SparseAutoencoder,
    Standard,
    TextSizes,
    TopKRecipe,
    load_sae,
    loss_recovered,
    top_contexts,
    train_sae,
)
from refusal_lens.sparse.reading import TrainingText, read_text

PLACE = Site(2)


@pytest.fixture(scope="module")
def model(load_tiny):
    return load_tiny("llama", "bridge")


def perfect(d_model: int) -> SparseAutoencoder:
    """Positive and negative parts of every coordinate: nothing is lost."""
    both = torch.cat([torch.eye(d_model), -torch.eye(d_model)])
    bias = Standard(torch.zeros(2 * d_model))
    return SparseAutoencoder(PLACE, both.T.contiguous(), bias, both, torch.zeros(d_model))


def test_an_ablated_latent_is_gone_at_its_site_and_the_rest_of_the_vector_stays(model):
    sae, prompts = perfect(model.d_model), ["Why do tides turn?", "How do tides end?"]
    plain = model.residuals(prompts, sites=(PLACE,)).tensor
    before = model.logits(prompts)
    with model.editing(AblateLatents(sae, (3, model.d_model + 3))):
        edited = model.residuals(prompts, sites=(PLACE,)).tensor
        assert (model.logits(prompts) - before).abs().max() > 1e-3
    expected = plain.clone()
    expected[..., 3] = 0
    assert torch.allclose(edited, expected, atol=1e-5)
    assert torch.equal(model.logits(prompts), before)


def test_loss_is_recovered_by_a_perfect_autoencoder_and_not_by_a_random_one(model):
    windows = [tuple(range(5 + i, 25 + i)) for i in range(6)]
    mean = torch.zeros(model.d_model)
    whole = loss_recovered(model, perfect(model.d_model), windows, mean)
    assert whole.recovered == pytest.approx(1.0, abs=1e-4) and whole.plain.n == 6
    assert whole.zero.value != pytest.approx(whole.plain.value, abs=1e-4)
    other = loss_recovered(model, random_sae(model.d_model), windows, mean)
    assert other.reconstructed.value != pytest.approx(other.plain.value, abs=1e-4)
    with model.editing(Only(Reconstruct(random_sae(model.d_model)), "generated")):
        edited = model.text_log_probs(windows)
    expected = -float((edited / 19).mean())
    assert other.reconstructed.value == pytest.approx(expected, abs=1e-5)


def test_residuals_are_those_of_the_model_part_by_part(model, tmp_path):
    prompts = ["Why do tides turn?", "How?", "Who was it that built the old bridge?"]
    asked = tuple(model.ids(prompts))
    opening = len(model.chat.prefix_ids)
    texts = [
        TrainingText("prompts", asked, opening),
        TrainingText("text", ((5, 6, 7, 8), (9, 10, 11)), 1),
    ]
    seen = []
    read = read_text(model, texts, PLACE, tmp_path, seen.append)
    assert len(read) == sum(t.n_tokens for t in texts) and seen == [3, 2]
    last = model.residuals(prompts, sites=(PLACE,)).tensor[:, 0, 0]
    ends = torch.tensor([len(ids) - opening for ids in asked]).cumsum(0) - 1
    assert torch.allclose(read[ends].float(), last, rtol=1e-3, atol=1e-3)  # float16 on disk
    alone = model.feed_ids([(5, 6, 7, 8)], ["a row"])
    seen_alone = alone.read(alone.batch([0]), [PLACE.hook_name], [-3, -2, -1])
    assert torch.allclose(
        read[-5:-2].float(), seen_alone.values[PLACE.hook_name][0], rtol=1e-3, atol=1e-3
    )
    files = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert torch.equal(read_text(model, texts, PLACE, tmp_path), read) and len(files) == 2
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == files


def test_contexts_are_the_tokens_on_which_a_latent_is_largest(model, example_prompts):
    sae = random_sae(model.d_model, 16, "standard")
    contexts = top_contexts(model, sae, example_prompts, [0, 5], most=2)
    by_id = {p.id: p for p in example_prompts}
    opening = len(model.chat.prefix_ids)
    for latent, shown in contexts.items():
        largest = []
        for p in example_prompts:
            ids = model.ids([p])[0]
            offsets = list(range(opening - len(ids), 0))
            resid = model.residuals([p], sites=(PLACE,), offsets=offsets).tensor[0, :, 0]
            largest.append(float(sae.encode(resid)[:, latent].max()))
        best = sorted(largest, reverse=True)[: len(shown)]
        assert [c.value for c in shown] == pytest.approx(best, abs=1e-4) and shown
        assert all(by_id[c.prompt].category == c.category for c in shown)


def test_training_writes_a_folder_that_is_read_and_measured(model, example_prompts, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text(" ".join(f"In {year} the tide turned." for year in range(1700, 1760)))
    sizes = TextSizes(
        window=16, book_tokens=160, samples=4, sample_tokens=8, answers=2, answer_tokens=4
    )
    recipe = TopKRecipe(latents=32, k=4, epochs=2, batch=64)
    job = SaeJob(PLACE, tmp_path / "work", (book,), sizes, recipe)
    steps = []
    sae = train_sae(model, example_prompts, job, tmp_path / "sae", record=steps.append)
    again = load_sae(tmp_path / "sae")
    assert again.name == sae.name and again.site == PLACE and steps[-1].of == len(steps)
    training = json.loads((tmp_path / "sae" / "training.json").read_text())
    assert training["tokens"]["books"] == 9 * 15 and set(training["held_out"]) == {
        "prompts",
        "answers",
        "samples",
        "books",
    }
    assert training["loss"]["plain"]["n"] >= 2 and training["model_digest"] == model.digest
    (text,) = (tmp_path / "work").glob("text-*.json")
    kept = text.stat().st_mtime_ns
    once_more = train_sae(model, example_prompts, job, tmp_path / "again")
    assert text.stat().st_mtime_ns == kept
    assert once_more.name == sae.name
