"""The score by openings: what evaluation reads, also while parts are replaced.

Tolerance 1e-4 nats: float32 log-probabilities of order 10, in other batches.
"""

import pytest
import torch

from refusal_lens.attribution import Cuts, OpeningScore, decompose, knock_out, opening_score_of
from refusal_lens.attribution.anatomy import Anatomy
from refusal_lens.attribution.opening import read_scores
from refusal_lens.attribution.passes import feed_of, ids_of
from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.evaluation.scoring import opening_score
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import log_odds
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
    feed = feed_of(tiny, ids_of(tiny, three_categories))
    found = torch.zeros(len(three_categories))
    with torch.inference_mode():
        for batch in map(feed.prefix.prepare, feed.batches()):
            found[list(batch.rows)] = read_scores(OpeningScore(openings), feed.prefix, batch)
    expected = opening_score(tiny, three_categories, openings)
    assert torch.allclose(found, expected, atol=TOLERANCE)
    assert found.std() > 1e-3


def test_a_knock_out_is_read_by_openings_behind_the_edited_prompt(tiny, three_categories, openings):
    """Against one pass over prompt and opening whose hook stands at the template's end only."""
    reds = three_categories.only(category="red")
    d = fit_mean_difference(tiny.residual_stats(reds)).at("red", 2)
    order = decompose(tiny, reds, [d]).attribution("red")
    cuts = Cuts(counts=(0, 2), replacement="zero", draws=1)
    found = knock_out(tiny, reds, d, order, OpeningScore(openings), cuts=cuts)
    assert found.scored_by == "opening"
    for k, n in enumerate(found.cuts.counts):
        for i, key in enumerate(found.prompts):
            prompt = reds.only(ids=[key]).prompts[0]
            expected = by_hand(tiny, tiny.chat.ids(prompt), found.order[:n], openings)
            assert abs(float(found.score[k, i]) - expected) < TOLERANCE
    assert (found.score[0] - found.score[1]).abs().max() > 1e-3


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


def test_only_a_category_that_is_scored_so_has_openings():
    trust = ScoreTrust(
        (7,), ("x",), {"tan": OPENINGS}, {"red": "first token", "tan": "opening"}, {}, {}, {}
    )
    assert opening_score_of(trust, "tan").openings == OPENINGS
    for category, mode in (("red", "first token"), ("mauve", "nothing")):
        with pytest.raises(InputError, match=f"'{category}' is scored by '{mode}'"):
            opening_score_of(trust, category)
