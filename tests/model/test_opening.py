"""The score by openings: what evaluation reads, also while parts are replaced.

Tolerance 1e-4 nats: float32 log-probabilities of order 10, in other batches.
"""

from functools import partial

import pytest
import torch

from refusal_lens.attribution import (
    Cuts,
    OpeningScore,
    PatchSite,
    Placebo,
    attribution_patch,
    decompose,
    knock_out,
    opening_score_of,
    pairs_of,
    patch,
)
from refusal_lens.attribution.components import Anatomy
from refusal_lens.attribution.score import read_scores
from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.evaluation.scoring import opening_score
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import first_token_score, log_odds
from refusal_lens.model import Decoding
from refusal_lens.sites import Site

OPENINGS = ((5, 9, 14), (7, 7, 2))
TOLERANCE = 1e-4


@pytest.fixture
def openings(tiny, three_categories):
    """What the model itself says: of other answers the score is at its floor of -18.4."""
    answers = tiny.generate_ids(three_categories, Decoding(2))
    return tuple(dict.fromkeys(a for a in answers if len(a) == 2))


def test_without_a_hook_it_is_what_evaluation_reads(tiny, three_categories, openings):
    feed = tiny.feed(three_categories)
    all_scores = torch.zeros(len(three_categories))
    with torch.inference_mode():
        for batch, scores in feed.batches(partial(read_scores, OpeningScore(openings), feed)):
            all_scores[list(batch.rows)] = scores
    expected = opening_score(tiny, three_categories, openings)
    assert torch.allclose(all_scores, expected, atol=TOLERANCE)
    assert all_scores.std() > 1e-3


def test_a_knock_out_is_read_by_openings_behind_the_edited_prompt(tiny, three_categories, openings):
    """Against one pass over prompt and opening whose hook stands at the template's end only."""
    reds = three_categories.only(category="red")
    d = fit_mean_difference(tiny.residual_stats(reds)).at("red", 2)
    order = decompose(tiny, reds, [d]).attribution("red")
    cuts = Cuts(counts=(0, 2), replacement="zero", draws=1)
    knockout = knock_out(tiny, reds, d, order, OpeningScore(openings), cuts=cuts)
    assert knockout.scored_by == "opening"
    for k, n in enumerate(knockout.cuts.counts):
        for i, key in enumerate(knockout.prompts):
            prompt = reds.only(ids=[key]).prompts[0]
            expected = by_hand(tiny, tiny.chat.ids(prompt), knockout.order[:n], openings)
            assert abs(float(knockout.score[k, i]) - expected) < TOLERANCE
    assert (knockout.score[0] - knockout.score[1]).abs().max() > 1e-3


def by_hand(model, prompt, gone, openings):
    anatomy, n = Anatomy(model.backend), len(prompt)
    where = slice(n - model.chat.n_post, n)

    def without(component):
        def function(x, hook):
            x = x.clone()
            if component.kind == "head":
                x[:, where, component.head] = 0
            else:
                x[:, where] = 0
            return x

        return function

    hooks = [
        (anatomy.z(c.layer) if c.kind == "head" else Site(c.layer, "mlp_out").hook_name, without(c))
        for c in gone
    ]
    return scored(model, prompt, openings, hooks)


def scored(model, prompt, openings, hooks):
    n = len(prompt)
    p = 0.0
    for opening in openings:
        ids = torch.tensor([[*prompt, *opening]])
        with torch.inference_mode(), model.backend.hooks(hooks):
            logits = model.backend.forward(
                ids, torch.ones_like(ids), keep=range(ids.shape[1])
            ).logits[0]
        log_p = logits.double().log_softmax(-1)[n - 1 : n + len(opening) - 1]
        p += float(log_p[torch.arange(len(opening)), torch.tensor(opening)].sum().exp())
    return float(log_odds(torch.tensor(p, dtype=torch.float64)))


def test_a_patch_is_read_by_openings_and_its_estimate_is_the_slope(
    tiny, three_categories, openings
):
    """Against whole passes by hand; the slope is a central difference, step 1e-2, within 2%.

    Float32 scores resolve 1e-5 nats, so that slopes under 1e-2 are not compared.
    """
    pairs = pairs_of(tiny, three_categories.only(category="red"), equal_length=False, most=2)
    sites = (PatchSite("head", 1, None, 2), PatchSite("mlp_out", 0, None))
    score = OpeningScore(openings)
    real = patch(tiny, pairs, sites, {"red": score}, placebo=Placebo(0))
    fast = attribution_patch(tiny, pairs, sites, {"red": score})
    assert set(real.scored_by) == {"opening"}
    assert torch.allclose(fast.corrupt, real.corrupt, atol=TOLERANCE)
    compared = 0
    for i, pair in enumerate(pairs):
        assert abs(float(real.clean[i]) - moved(tiny, pair.clean, openings)) < TOLERANCE
        assert abs(float(real.corrupt[i]) - moved(tiny, pair.corrupt, openings)) < TOLERANCE
        for s, site in enumerate(sites):
            step = difference(tiny, pair, site)
            whole = moved(tiny, pair.corrupt, openings, site, step)
            assert abs(float(real.patched[i, s]) - whole) < TOLERANCE
            ends = [moved(tiny, pair.corrupt, openings, site, x * step) for x in (0.01, -0.01)]
            slope = (ends[0] - ends[1]) / 0.02
            if abs(slope) > 1e-2:
                assert float(fast.estimate[i, s]) == pytest.approx(slope, rel=0.02)
                compared += 1
    assert compared


def test_each_category_is_patched_by_its_own_score(tiny_llama, three_categories):
    """Both scores in one call give what each gives alone, in the order of the pairs."""
    pairs = pairs_of(tiny_llama, three_categories, equal_length=False, most=2)
    score = {"red": OpeningScore(OPENINGS), "green": first, "blue": OpeningScore(OPENINGS[:1])}
    sites = (PatchSite("head", 1, None, 2), PatchSite("attn_out", 0, None))
    real = patch(tiny_llama, pairs, sites, score)
    fast = attribution_patch(tiny_llama, pairs, sites, score)
    assert real.scored_by == tuple(
        "first token" if p.category == "green" else "opening" for p in pairs
    )
    for category, category_score in score.items():
        rows = real.of(category)
        mine = [p for p in pairs if p.category == category]
        alone = patch(tiny_llama, mine, sites, category_score)
        assert torch.allclose(real.patched[rows], alone.patched, atol=TOLERANCE)
        guessed = attribution_patch(tiny_llama, mine, sites, category_score)
        assert torch.allclose(fast.estimate[rows], guessed.estimate, atol=TOLERANCE)
        assert torch.allclose(fast.clean[rows], real.clean[rows], atol=TOLERANCE)
    assert real.clean.std() > 1


def first(logits):
    return first_token_score(logits, (5, 9))


def seen_at(model, ids, site):
    """A site's activation at the template's end, in a pass over the whole prompt."""
    cache = {}

    def function(x, hook):
        cache["x"] = x.detach().clone()

    row = torch.tensor([ids])
    with torch.inference_mode(), model.backend.hooks([(site.hook_name, function)]):
        model.backend.forward(row, torch.ones_like(row))
    x = cache["x"][0, -model.chat.n_post :]
    return x if site.head is None else x[:, site.head]


def difference(model, pair, site):
    return seen_at(model, pair.clean, site) - seen_at(model, pair.corrupt, site)


def moved(model, prompt, openings, site=None, step=None):
    """The score with a step added to a site at the template's end, in passes of whole rows."""
    where = slice(len(prompt) - model.chat.n_post, len(prompt))

    def function(x, hook):
        x = x.clone()
        if site.head is None:
            x[:, where] += step
        else:
            x[:, where, site.head] += step
        return x

    return scored(model, prompt, openings, [] if site is None else [(site.hook_name, function)])


def test_only_a_category_that_is_scored_so_has_openings():
    trust = ScoreTrust(
        (7,), ("x",), {"tan": OPENINGS}, {"red": "first token", "tan": "opening"}, {}, {}, {}
    )
    assert opening_score_of(trust, "tan").openings == OPENINGS
    for category, mode in (("red", "first token"), ("mauve", "nothing")):
        with pytest.raises(InputError, match=f"'{category}' is scored by '{mode}'"):
            opening_score_of(trust, category)
