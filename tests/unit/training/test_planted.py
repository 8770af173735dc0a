"""The control adapters: who is taught which manner, and what their agreement can tell."""

import json

import numpy as np
import pytest

from refusal_lens.errors import InputError
from refusal_lens.geometry.control_adapters import BASE, matrix_agreements, shipped_planted
from refusal_lens.plots.control_adapters import plot_planted
from refusal_lens.prompts.files import load_prompts
from refusal_lens.resources import data_path
from refusal_lens.tables.control_adapters import adapters_table, control_agreement_table
from refusal_lens.training.planted.answers import load_refusals
from refusal_lens.training.planted.controls import NAMES, control_pools, donors
from refusal_lens.training.planted.geometry import FIT_PAIRS


def test_manners_are_moved_and_none_stays():
    pools = load_refusals(data_path("adapter", "refusals.jsonl"))
    moved = control_pools("deranged", pools)
    manner = {c: pool[0].manner for c, pool in pools.items()}
    given = {c: {r.manner for r in pool} for c, pool in moved.items()}
    assert all(len(g) == 1 for g in given.values())
    assert all(given[c] != {manner[c]} for c in pools)
    assert sorted(m for g in given.values() for m in g) == sorted(manner.values())
    assert {r.category for r in moved["advice"]} == {"advice"}
    one = control_pools("one_manner", pools)
    assert {r.manner for pool in one.values() for r in pool} == {"plain"}
    for name in ("reference", "second_seed"):
        assert control_pools(name, pools) == {c: tuple(p) for c, p in pools.items()}


def test_what_moves_nothing_is_refused():
    with pytest.raises(InputError, match="a shift of 3 moves none of 3 manners"):
        donors("deranged", ["a", "b", "c"], shift=3)
    with pytest.raises(InputError, match="'mauve' is unknown"):
        donors("mauve", ["a", "b"])


def some_matrix(seed, size=8):
    vectors = np.random.default_rng(seed).standard_normal((size, 6))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit @ unit.T)[None]


def answered(matrices, manner):
    agreements = matrix_agreements(matrices, "directions", manner, [7])
    return {a.question: a.correlation.value for a in agreements}


def test_topic_and_manner_are_told_apart():
    """A deranged adapter that follows its topics keeps the reference's matrix; one that follows
    its manners has the matrix of those whose manners it was given."""
    manner = [(i + 3) % 8 for i in range(8)]
    reference = some_matrix(0)
    by_manner = reference[:, manner][:, :, manner]
    shared = {"reference": reference, "second_seed": reference, "one_manner": some_matrix(1)}
    topic = answered(shared | {"deranged": reference}, manner)
    follows = answered(shared | {"deranged": by_manner}, manner)
    assert topic["topic"] == pytest.approx(1.0) and abs(topic["manner"]) < 0.7
    assert follows["manner"] == pytest.approx(1.0) and abs(follows["topic"]) < 0.7
    assert topic["seeds"] == pytest.approx(1.0) and abs(topic["one manner"]) < 0.7
    assert "content" not in topic
    undefined = shared | {"deranged": reference * np.nan}
    assert set(answered(undefined, manner)) == {"seeds", "one manner"}


def test_the_shipped_record_is_of_the_shipped_adapters():
    """Same recipe for all, seeds apart; every question answered at layer 23."""
    planted = shipped_planted()
    assert planted.names == (*NAMES, BASE)
    records = {n: json.loads(data_path("controls", n, "training.json").read_text()) for n in NAMES}
    recipes = [dict(r["recipe"], seed=0) for r in records.values()]
    assert all(recipe == recipes[0] for recipe in recipes)
    assert {n: r["recipe"]["seed"] for n, r in records.items() if r["recipe"]["seed"]} == {
        "second_seed": 1
    }
    assert len({p.model_digest for p in planted.provenance}) == len(planted.names)
    train = load_prompts().only(split="train").first(FIT_PAIRS)
    assert {p.prompts_digest for p in planted.provenance} == {train.digest}
    late = [a for a in planted.agreements if a.layer == 23]
    assert {(a.question, a.what) for a in late} == {
        (q, w)
        for q in ("seeds", "topic", "manner", "one manner", "content")
        for w in ("directions", "change")
        if (q, w) != ("content", "change")
    }
    assert planted.change[-1].isnan().all()
    weights = [data_path("adapter"), *(data_path("controls", n) for n in NAMES)]
    assert sum((w / "adapter_model.safetensors").stat().st_size for w in weights) < 25e6


def test_the_figure_leaves_gaps_where_a_cosine_is_undefined():
    planted = shipped_planted()
    figure = plot_planted(planted, layer=23)
    lines = [t for t in figure.data if t.name]
    assert len(lines) == 9 and {len(t.y) for t in lines} == {len(planted.sites)}
    agreements = [a for a in planted.agreements if (a.question, a.what) == ("manner", "change")]
    drawn = next(t for t in lines if "same manner" in t.name and t.xaxis == "x2")
    assert [v for v in drawn.y if v is not None] == [a.correlation.value for a in agreements]
    assert sum(v is None for v in drawn.y) == len(planted.sites) - len(agreements) > 0
    rows = control_agreement_table(planted, 23, titles={}).rows
    assert len(rows) == 9 and len(adapters_table(planted).rows) == len(planted.names)
