"""Functions on hook points leave the shared prefix of other passes alone."""

from collections.abc import Iterator

import pytest
import torch
from support.directions import a_direction
from torch import Tensor

from refusal_lens.interventions import Add
from refusal_lens.model import LensModel

TEXTS = ["Why?", "Who was it then?"]
NAME = "blocks.0.hook_resid_post"


def shifted(resid: Tensor, hook: object) -> Tensor:
    return resid + 1.0


@pytest.fixture
def fresh(tiny: LensModel) -> Iterator[LensModel]:
    """A model whose prefix has not been computed, as an edit that ends leaves it."""
    forget(tiny)
    yield tiny
    forget(tiny)


def forget(model: LensModel) -> None:
    with model.editing(Add(a_direction(model), strength=0.0)):
        pass


def over_a_feed(model: LensModel) -> Tensor:
    feed = model.feed(TEXTS)
    with torch.inference_mode(), feed.hooks([(NAME, shifted)]):
        ((batch, logits),) = feed.batches(feed.last_logits)
    return logits[torch.tensor(batch.rows).argsort()]


def straight(model: LensModel) -> Tensor:
    with model.backend.hooks([(NAME, shifted)]):
        return model.logits(TEXTS)


@pytest.mark.parametrize("hooked", [over_a_feed, straight])
def test_they_give_the_same_before_and_after_other_passes(fresh, hooked) -> None:
    first = hooked(fresh)
    plain = fresh.logits(TEXTS)
    assert torch.equal(hooked(fresh), first)
    assert not torch.allclose(first, plain, atol=1e-2)
    forget(fresh)
    assert torch.equal(fresh.logits(TEXTS), plain)


def test_one_of_a_feed_sees_the_batchs_own_tokens_alone(fresh) -> None:
    seen = []
    feed = fresh.feed(TEXTS)
    with torch.inference_mode(), feed.hooks([(NAME, lambda x, hook: seen.append(x.shape))]):
        list(feed.batches(feed.last_logits))
    behind = max(map(len, feed.ids)) - len(feed.prefix.ids)
    assert [shape[:2] for shape in seen] == [(len(TEXTS), behind)]


def test_one_put_straight_onto_a_hook_point_acts_on_all_tokens(fresh) -> None:
    """As an edit that does the same."""
    d = a_direction(fresh)
    add = Add(d, strength=4.0)
    with fresh.editing(add):
        expected = fresh.logits(TEXTS)
    fresh.logits(TEXTS)
    with fresh.backend.hooks([(d.site.hook_name, lambda x, hook: add(x))]):
        torch.testing.assert_close(fresh.logits(TEXTS), expected, atol=1e-5, rtol=1e-5)
