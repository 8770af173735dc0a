"""Attribution patching keeps the graphs of as many rows as fit, and gives the same numbers."""

import pytest
import torch
from support.planted_circuit import metric

from refusal_lens.attribution import (
    Anatomy,
    OpeningScore,
    attribution_patch,
    gradients,
    head_sites,
    pairs_of,
    stream_sites,
)
from refusal_lens.attribution.gradients import rows_that_fit
from refusal_lens.attribution.pairs import CORRUPT, pair_feed

OPENINGS = OpeningScore(((5, 9, 14), (7, 7, 2)))


def kept(model, score, names, n_rows, feed):
    """Bytes that the graph of `n_rows` copies of the first pair's benign prompt keeps."""
    with torch.inference_mode(False), torch.no_grad():
        batch = feed.batch([CORRUPT]).chosen([0] * n_rows)
        opening = OPENINGS.openings[0]
        return gradients._bytes_kept(feed, names, score, opening, batch)


@pytest.mark.parametrize("score", [metric, OPENINGS], ids=["first token", "openings"])
def test_as_many_rows_as_fit_share_a_graph(tiny_llama, three_categories, score):
    pairs = pairs_of(tiny_llama, three_categories, equal_length=False, most=1)
    names = [s.hook_name for s in stream_sites((1, 2), (-1,))]
    with torch.inference_mode(False), torch.no_grad():
        feed = pair_feed(tiny_llama, pairs).anew()
        one, three, seven = (kept(tiny_llama, score, names, n, feed) for n in (1, 3, 7))
        row = (seven - three) // 4
        weights = one - row
        assert row > 50_000 and weights > 10_000  # three blocks of some 40 tokens; the model
        assert three == pytest.approx(weights + 3 * row, rel=0.01)
        for n in (1, 2, 5):
            budget = int((n + 0.5) * row)
            assert rows_that_fit(feed, names, score, [CORRUPT], budget) == n
        assert rows_that_fit(feed, names, score, [CORRUPT], 1) == 1


@pytest.mark.parametrize("score", [metric, OPENINGS], ids=["first token", "openings"])
def test_a_smaller_budget_changes_no_number(tiny, three_categories, score, monkeypatch):
    """Batches of one pair in place of all: float32 in another order."""
    pairs = pairs_of(tiny, three_categories, equal_length=False, most=2)
    sites = (*stream_sites((1, 2), (-1,)), *head_sites(Anatomy(tiny.backend), [1]))
    whole = attribution_patch(tiny, pairs, sites, score)
    sizes: list[int] = []
    plain = gradients._graph

    def counted(feed, names, offsets, batch, run):
        sizes.append(len(batch.rows))
        return plain(feed, names, offsets, batch, run)

    monkeypatch.setattr(gradients, "_graph", counted)
    monkeypatch.setattr(gradients, "GRAPH_BYTES", 1)
    small = attribution_patch(tiny, pairs, sites, score)
    assert set(sizes) == {1} and len(sizes) == len(pairs) * (1 if score is metric else 2)
    assert torch.allclose(small.estimate, whole.estimate, atol=1e-5)
    assert torch.allclose(small.clean, whole.clean, atol=1e-5)
    assert whole.estimate.abs().max() > 1e-2
