"""What the page on refusal tokens says where the token and the direction meet at no rate."""

import pytest

from refusal_lens.evaluation import Matched
from refusal_lens.evaluation.matched import MatchedCurve
from refusal_lens.intervals import wilson
from refusal_lens.report.refusal_tokens import _matched_words


def matched(**over):
    """Curves at refusal 50% and 80%; a number is how many of 20 benign prompts are refused."""
    curves = tuple(
        MatchedCurve(
            name.replace("_", " "),
            "control" if name == "random" else "direction",
            (0.0, 1.0),
            tuple(None if n is None else wilson(n, 20) for n in counts),
            None,
        )
        for name, counts in over.items()
    )
    return Matched(
        model="m",
        rates=(0.5, 0.8),
        margin=0.1,
        n_pairs=20,
        n_categories=3,
        draws=10,
        curves=curves,
        compared=("token", "direction"),
        outside=(),
        common=None,
        differences=(),
        answer="not reached",
        resolved=None,
        n_needed=None,
        left_out=0.0,
    )


@pytest.mark.parametrize(
    ("token", "direction", "words", "absent"),
    [
        ((None, None), (2, 8), "by itself: direction, 80%: 40% [", "token, "),
        ((4, None), (None, 8), "by itself: token, 50%: 20% [", "nothing to compare"),
        ((None, None), (None, None), "so that there is nothing to compare", "by itself"),
        ((4, 6), (2, 8), "At 80% of harmful prompts refused", "reach none"),
    ],
)
def test_each_ones_own_over_refusal_stands_where_no_rate_is_shared(token, direction, words, absent):
    text = _matched_words(matched(token=token, direction=direction, random=(1, 1)))
    assert words in text and absent not in text and "random" not in text
