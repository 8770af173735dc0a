"""What an autoencoder is trained and measured on: whose text it is, and what is new to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_models import ARCHITECTURES, write_tiny

import refusal_lens as rl
from refusal_lens.errors import InputError
from refusal_lens.placement import Placement
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.sites import Site
from refusal_lens.sparse import SaeJob, TextSizes, TopKRecipe, train_sae, train_topk
from refusal_lens.sparse.parting import Beginnings, parted
from refusal_lens.sparse.reading import TrainingText, read_text
from refusal_lens.sparse.text import training_text

SIZES = TextSizes(
    window=16, book_tokens=160, samples=40, sample_tokens=8, answers=20, answer_tokens=4
)
RECIPE = TopKRecipe(latents=16, k=2, epochs=1, batch=64)
TEXTS = [TrainingText("text", ((5, 6, 7, 8), (9, 10, 11, 12)), 1)]


@pytest.fixture(scope="module")
def model(load_tiny):
    return load_tiny("llama", "bridge")


@pytest.fixture(scope="module")
def asked() -> PromptSet:
    """Pairs that differ in their last word alone."""
    return PromptSet(
        tuple(
            Prompt(
                id=f"{i}-{side}",
                text=f"Write number {i} for the {end}",
                category="a",
                label=side,
                split="train",
                source="test",
                pair=str(i),
            )
            for i in range(20)
            for side, end in (("refuse", "thief"), ("comply", "teacher"))
        )
    )


def trained(model, asked, folder, **changes):
    job = SaeJob(Site(2), folder / "work", (), SIZES, RECIPE)
    job = replace(job, **changes)
    sae = train_sae(model, asked, job, folder / "sae")
    return sae, json.loads((folder / "sae" / "training.json").read_text())


def test_text_is_read_anew_for_another_book_other_prompts_sizes_or_model(model, asked, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("The tide turns. " * 60)
    plain, first = trained(model, asked, tmp_path)
    read, second = trained(model, asked, tmp_path, books=(book,))
    assert "books" not in first["tokens"] and second["tokens"]["books"] == 9 * 15
    assert read.name != plain.name and [*second["books"]] == ["book.txt"]
    few = PromptSet(tuple(asked)[:30])
    assert trained(model, few, tmp_path)[1]["tokens"]["prompts"] < first["tokens"]["prompts"]
    more = replace(SIZES, samples=60)
    longer = trained(model, asked, tmp_path, sizes=more)[1]
    assert longer["tokens"]["samples"] > first["tokens"]["samples"]
    kept = {p.name for p in (tmp_path / "work").glob("text-*.json")}
    write_tiny(tmp_path / "other", ARCHITECTURES["llama"], seed=1)
    other = rl.load_model(tmp_path / "other", placement=Placement(device="cpu"))
    trained(other, asked, tmp_path)
    assert len(kept) == 4 and len([*(tmp_path / "work").glob("text-*.json")]) == 5
    assert trained(model, asked, tmp_path)[0].name == plain.name


def test_a_source_of_which_none_is_wanted_is_left_out(model, asked):
    few = replace(SIZES, samples=0, answers=0)
    assert [text.source for text in training_text(model, asked, [], few)] == ["prompts"]
    refused = asked.only(label="refuse")
    assert [t.source for t in training_text(model, refused, [], few)] == ["prompts"]
    with pytest.raises(InputError, match="no prompt"):
        training_text(model, refused, [], replace(few, answers=1))


def test_what_is_written_names_no_folder_of_this_machine(model, asked, tmp_path):
    name = Path(model.name)
    assert name.is_absolute()
    sae, measures = trained(model, asked, tmp_path)
    assert measures["model"] == sae.model_name == name.name
    for path in (tmp_path / "sae").glob("*.json"):
        assert str(name.parent) not in path.read_text()


def test_damaged_text_and_residuals_are_made_again(model, asked, tmp_path):
    plain, _ = trained(model, asked, tmp_path)
    for path in (tmp_path / "work").rglob("*.*"):
        path.write_text("[[")
    assert trained(model, asked, tmp_path)[0].name == plain.name


def test_what_cannot_be_trained_is_refused_before_text_is_made(model, asked, tmp_path):
    with pytest.raises(InputError, match=r"resid_pre\[99\] is beyond this model"):
        trained(model, asked, tmp_path, site=Site(99))
    with pytest.raises(InputError, match=r"gone\.txt can't be read"):
        trained(model, asked, tmp_path, books=(tmp_path / "gone.txt",))
    direction = rl.Direction.from_difference(
        torch.ones(model.d_model),
        category="a",
        site=Site(1),
        offset=-1,
        provenance=model.provenance(),
    )
    with model.editing(rl.Add(direction, alpha=5.0)):
        with pytest.raises(InputError, match="is on: text for an autoencoder"):
            trained(model, asked, tmp_path)
        with pytest.raises(InputError, match="is on: text for an autoencoder"):
            read_text(model, TEXTS, Site(2), tmp_path)
    assert not [*tmp_path.iterdir()]


def test_no_measured_vector_is_one_that_was_trained_on(model, asked, tmp_path):
    texts = training_text(model, asked, [], SIZES)
    trained_on, held_out = parted(texts)
    beginnings = Beginnings(trained_on)
    resid = read_text(model, trained_on, Site(2), tmp_path).float()
    left_out = 0
    for text in held_out:
        new = beginnings.new(text)
        vectors = read_text(model, [text], Site(2), tmp_path).float()
        nearest = (vectors[:, None] - resid).norm(dim=-1).amin(1)
        assert len(new) == text.n_tokens and float(nearest[new].min()) > 0.05
        assert nearest[~new].tolist() == pytest.approx([0.0] * int((~new).sum()), abs=0.02)
        left_out += int((~new).sum())
    assert left_out > 20
    _, training = trained(model, asked, tmp_path)
    n_new = {text.source: int(beginnings.new(text).sum()) for text in held_out}
    assert {s: quality["n"] for s, quality in training["held_out"].items()} == n_new


def test_a_source_without_new_tokens_is_not_measured(model, tmp_path):
    same = [Prompt(str(i), "Why do tides turn?", "a", "comply", "train", "test") for i in range(40)]
    held_out = trained(model, PromptSet(tuple(same)), tmp_path)[1]["held_out"]
    assert "prompts" not in held_out and held_out["samples"]["n"] > 2


def test_numbers_beyond_float16_are_kept_and_others_stay_small(model, tmp_path, monkeypatch):
    small = read_text(model, TEXTS, Site(2), tmp_path / "small")
    long = small.float() * 1e6 / float(small.abs().max())
    monkeypatch.setattr("refusal_lens.sparse.reading._read", lambda *_: long)
    read = read_text(model, TEXTS, Site(2), tmp_path / "long")
    assert small.dtype == torch.float16 and torch.equal(read, long)
    monkeypatch.setattr("refusal_lens.sparse.reading._read", lambda *_: long / 0)
    with pytest.raises(InputError, match="not finite"):
        read_text(model, TEXTS, Site(2), tmp_path / "infinite")


def test_an_autoencoder_of_long_vectors_is_stored_whole(model, asked, tmp_path, monkeypatch):
    def shifted(resid, *given, **named):
        return train_topk(resid.float() + 1e5, *given, **named)

    monkeypatch.setattr("refusal_lens.sparse.train.train_topk", shifted)
    sae, _ = trained(model, asked, tmp_path)
    assert float(sae.b_dec.min()) > 65_504 and bool(sae.b_dec.isfinite().all())
