"""The shipped prompts: what keeps a direction from being length, wording or a single phrase.

Categories are data: everything here holds for whatever categories.json lists.
"""

import json
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from support.tiny_training import BASE, WHEEL
from tokenizers import Tokenizer

from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.errors import InputError
from refusal_lens.prompts.files import load_prompts
from refusal_lens.resources import data_path

ROWS = json.loads(data_path("prompts", "categories.json").read_text(encoding="utf-8"))
CATEGORIES = [row["key"] for row in ROWS["categories"]]
PROMPTS = load_prompts()
WORD = r"[A-Za-z0-9']+"
# Pairs of a category in each split; everything else trains the adapter.
SPLITS = {"train": 32, "val": 16, "test": 27}
LEAST_ADAPT = 50


def pairs(category):
    """(refuse, comply) of each pair, in order of the pair's key."""
    side = {
        label: {p.pair: p for p in PROMPTS.only(category=category, label=label)}
        for label in ("refuse", "comply")
    }
    assert side["refuse"].keys() == side["comply"].keys()
    return [(side["refuse"][key], side["comply"][key]) for key in sorted(side["refuse"])]


@pytest.fixture(scope="session")
def n_tokens():
    try:
        WHEEL.find()
    except InputError as error:
        pytest.skip(str(error))
    tokenizer = Tokenizer.from_file(str(embedded_folder(BASE) / "tokenizer.json"))
    encoded = tokenizer.encode_batch([p.text for p in PROMPTS], add_special_tokens=False)
    return {p.id: len(e.ids) for p, e in zip(PROMPTS, encoded, strict=True)}


def test_every_listed_category_has_prompts_and_no_other():
    assert len(set(CATEGORIES)) == len(CATEGORIES) > 0
    assert set(PROMPTS.categories) == set(CATEGORIES)
    assert all(p.id == f"{p.pair}-{p.label}" for p in PROMPTS)
    assert all(p.pair is not None and p.pair.rsplit("-", 1)[0] == p.category for p in PROMPTS)


@pytest.mark.parametrize("category", CATEGORIES)
def test_pairs_are_whole_many_and_in_one_split(category):
    both = pairs(category)
    assert len(both) >= 120
    assert 2 * len(both) == len(PROMPTS.only(category=category))
    assert all(a.split == b.split for a, b in both)


@pytest.mark.parametrize("category", CATEGORIES)
def test_splits(category):
    n = Counter(refuse.split for refuse, _ in pairs(category))
    assert n.keys() == {*SPLITS, "adapt"}
    assert {split: n[split] for split in SPLITS} == SPLITS
    assert n["adapt"] >= LEAST_ADAPT


def test_no_two_prompts_are_equal():
    texts = Counter(" ".join(p.text.lower().split()) for p in PROMPTS)
    assert [t for t, n in texts.items() if n > 1] == []


def test_prompts_of_different_pairs_share_few_words():
    """Jaccard over word types, over all categories, so that no split leaks into another."""
    counts = CountVectorizer(token_pattern=WORD, binary=True)
    present = counts.fit_transform([p.text for p in PROMPTS]).astype(np.int32)
    common = (present @ present.T).toarray()
    size = common.diagonal()
    jaccard = common / (size[:, None] + size[None] - common)
    key = np.array([p.pair for p in PROMPTS])
    assert jaccard[key[:, None] == key[None]].max() == 1.0
    jaccard[key[:, None] == key[None]] = 0.0
    a, b = np.unravel_index(jaccard.argmax(), jaccard.shape)
    assert jaccard.max() <= 0.7, (PROMPTS.prompts[a].text, PROMPTS.prompts[b].text)


@pytest.mark.parametrize("label", ["refuse", "comply"])
@pytest.mark.parametrize("category", CATEGORIES)
def test_openings_vary(category, label):
    prompts = PROMPTS.only(category=category, label=label)
    openings = Counter(" ".join(p.text.lower().split()[:3]) for p in prompts)
    opening, n = openings.most_common(1)[0]
    assert n <= 0.08 * len(prompts), opening


@pytest.mark.parametrize("category", CATEGORIES)
def test_both_sides_are_equally_long(category, n_tokens):
    length = np.array([[n_tokens[p.id] for p in both] for both in pairs(category)])
    refuse, comply = length.mean(0)
    assert abs(refuse - comply) <= 0.15 * min(refuse, comply)
    assert int((length[:, 0] == length[:, 1]).sum()) >= 30


@pytest.mark.parametrize("category", CATEGORIES)
def test_words_alone_do_not_tell_the_sides_apart(category):
    """Accuracy of a bag of words on unseen pairs; .5 is chance, 1 would be a matter of wording."""
    both = pairs(category)
    text = [p.text for pair in both for p in pair]
    side = np.array([p.label == "refuse" for pair in both for p in pair])
    order = np.random.default_rng(0).permutation(len(both))
    model = make_pipeline(CountVectorizer(token_pattern=WORD), LogisticRegression(max_iter=2000))
    guess = cross_val_predict(model, text, side, groups=order.repeat(2), cv=GroupKFold(5))
    assert (guess == side).mean() <= 0.75


def test_prompts_are_plain_requests():
    for p in PROMPTS:
        assert p.text.isascii() and p.text.isprintable(), p.id
        assert p.text == p.text.strip() and "  " not in p.text, p.id
        assert "<|" not in p.text, p.id
        # A request, not a dialogue and not an answer.
        assert not p.text.lower().startswith(
            ("user:", "assistant:", "system:", "sure", "i'm sorry")
        )
        assert 3 <= len(p.text.split()) <= 60, p.id
        assert p.source == "refusal_lens" and p.language == "en", p.id
