"""Representational independence: 0 where nothing is shared, large where one writes the other.

On the planted plane the head of block 0 reads MARK and writes A and B; nothing touches SPARE.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.directions import a_direction
from support.planted_circuit import planted_prompts
from support.planted_subspace import MARK, SPARE, A, B, axis, in_the_stream, planted_plane

from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate
from refusal_lens.optimised import Independence, representational_independence

NAMES = {"a": (A,), "b": (B,), "mark": (MARK,), "spare": (SPARE,)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    model = planted_plane(tmp_path_factory.mktemp("plane"))
    refused = planted_prompts(4).only(label="refuse")
    directions = [in_the_stream(model, axis(model, *c), name) for name, c in NAMES.items()]
    return representational_independence(model, refused, directions)


def test_what_shares_nothing_is_independent(measured):
    for other in ("a", "b", "mark"):
        estimate = measured.of_pair("spare", other)
        assert estimate.value == pytest.approx(0.0, abs=1e-6)
        assert estimate.n == 8


def test_what_is_written_from_another_goes_with_it(measured):
    """The whole cosine with A is lost, as if A itself were ablated; the way back it is not."""
    lost = measured.of_reading("mark", "a")
    assert lost.value == pytest.approx(measured.of_reading("a", "a").value, rel=1e-3)
    assert lost.low > 0.3 > 5 * lost.control
    assert measured.of_reading("a", "mark").value < 1e-6
    pair = measured.of_pair("a", "mark")
    assert pair.value == pytest.approx(lost.value / 2, rel=1e-3)
    assert pair == measured.of_pair("mark", "a")


def test_geometry_alone_is_no_downstream_dependence(tmp_path):
    """A direction between two others loses with each of them, but nothing is written anew."""
    model = planted_plane(tmp_path)
    refused = planted_prompts(4).only(label="refuse")
    between = in_the_stream(model, axis(model, A, SPARE), "between")
    named = {"a": axis(model, A), "mark": axis(model, MARK)}
    others = [in_the_stream(model, vector, name) for name, vector in named.items()]
    measured = representational_independence(model, refused, [between, *others])
    assert measured.of_reading("between", "a").low > 0.05
    for pair in (("between", "a"), ("a", "between")):
        assert measured.of_reading(*pair, downstream=True).value < 1e-6
    written = measured.of_reading("mark", "a", downstream=True)
    assert written.value == pytest.approx(measured.of_reading("mark", "a").value, rel=1e-3)
    q = measured.q_downstream()
    assert q[2, 1] < 0.01 < 0.05 < q[0, 1] and q.diagonal().isnan().all()


def test_changes_are_those_of_passes_by_hand(tiny_llama, three_categories):
    a = a_direction(tiny_llama)
    b = replace(a_direction(tiny_llama, seed=1), category="other")
    ticks = []
    measured = representational_independence(
        tiny_llama, three_categories, [a, b], n_controls=2, progress=ticks.append
    )
    assert ticks == [1] * 5  # unedited, two directions, two controls
    plain = tiny_llama.residuals(three_categories).tensor[:, 0]
    with tiny_llama.editing(Ablate(a)):
        without = tiny_llama.residuals(three_categories).tensor[:, 0]
    change = F.cosine_similarity(plain, b.vector, -1) - F.cosine_similarity(without, b.vector, -1)
    assert torch.allclose(measured.change[0, 1], change.abs().mean(1), atol=1e-5)
    assert torch.allclose(measured.by_layer[0, 1], change.abs().mean(0), atol=1e-5)
    assert measured.by_layer.shape == (2, 2, 3)
    assert bool((measured.control > 0).all())


def test_the_record_is_read_back_and_errors_are_one_line(measured, tmp_path, tiny_llama):
    measured.save(tmp_path / "independence")
    again = Independence.load(tmp_path / "independence")
    assert torch.equal(again.change, measured.change)
    with pytest.raises(InputError, match="'c' was not measured"):
        measured.of_pair("a", "c")
    with pytest.raises(InputError, match="found 'a' twice"):
        measured.of_pair("a", "a")
    d, prompts = a_direction(tiny_llama), planted_prompts(2)
    with pytest.raises(InputError, match="of different names") as error:
        representational_independence(tiny_llama, prompts, [d, d])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="n_controls=0"):
        other = replace(d, category="other")
        representational_independence(tiny_llama, prompts, [d, other], n_controls=0)
