"""Passes that begin where an edit acts give the numbers of whole ones, and run fewer blocks."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from support.directions import a_direction

from refusal_lens.interventions import Ablate, Add, Cosine, Edit, Only, PerRow, When
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.bridge import BridgeBackend
from refusal_lens.sites import Site

PROMPTS = ["Hi", "Tell me of tides and of the moon, please.", "How are you today?", "No"]
ANSWERS = [(5, 6, 7), (8,), (9, 10), (5, 6)]
REPEATED = [PROMPTS[0]] * 3 + [PROMPTS[1]] * 3
OPENINGS = [(5, 6, 7), (8,), (9, 10)] * 2


def numbers(model: LensModel) -> list[torch.Tensor]:
    """What passes of all kinds give: prompts, answers of one prompt each, openings of each."""
    return [
        model.logits(PROMPTS),
        model.answer_log_probs(PROMPTS, ANSWERS),
        model.answer_log_probs(REPEATED, OPENINGS),
    ]


@contextmanager
def counted(model: LensModel, layer: int) -> Iterator[list[int]]:
    """One entry for each time that Hugging Face's block runs."""
    runs: list[int] = []
    block = model.backend.model.blocks[layer].original_component
    handle = block.register_forward_pre_hook(lambda *_: runs.append(layer))
    try:
        yield runs
    finally:
        handle.remove()


def edits(model: LensModel) -> list[Edit]:
    a, b, c = (a_direction(model, layer, seed) for layer, seed in ((2, 1), (2, 2), (1, 3)))
    return [
        Add(a, strength=1.0),
        Add(b, strength=-2.0),
        Only(Add(b, strength=1.0), "prompt", offsets=(-1,)),
        Ablate(a, at=(Site(2), Site(2, "mlp_out"))),
        Add(c, strength=0.5, at=Site(1, "attn_out")),
        When(Cosine(a, "above", 0.0), Add(b, strength=1.0)),
    ]


def test_numbers_are_those_of_whole_passes(blocks: LensModel) -> None:
    whole = []
    for edit in edits(blocks):
        with blocks.editing(edit):
            whole.append(numbers(blocks))
    with blocks.sweeping([1, 2]):
        numbers(blocks)
        for _ in range(2):  # what one round keeps the next one uses
            for edit, expected in zip(edits(blocks), whole, strict=True):
                with blocks.editing(edit):
                    for computed, number in zip(numbers(blocks), expected, strict=True):
                        assert torch.allclose(computed, number, atol=1e-4, rtol=1e-5)


def test_rows_under_their_own_edits_are_those_of_whole_passes(blocks: LensModel) -> None:
    a, b = (a_direction(blocks, 2, seed) for seed in (1, 2))
    rows = PerRow((Add(a, strength=1.0), None, Add(b, strength=1.0), Add(a, strength=-1.0)))
    with blocks.editing(rows):
        whole = blocks.logits(PROMPTS)
    with blocks.sweeping([2]):
        blocks.logits(PROMPTS)
        with blocks.editing(rows):
            assert torch.allclose(blocks.logits(PROMPTS), whole, atol=1e-4, rtol=1e-5)


@pytest.fixture
def bridge(tiny_llama: LensModel) -> LensModel:
    """A model whose passes may begin at any block."""
    assert isinstance(tiny_llama.backend, BridgeBackend)
    return tiny_llama


def test_blocks_below_the_edit_are_run_once(bridge: LensModel) -> None:
    a, b = (a_direction(bridge, 2, seed) for seed in (1, 2))
    with bridge.sweeping(), counted(bridge, 1) as below, counted(bridge, 2) as above:
        for n, d in enumerate((a, b, a)):
            below.clear(), above.clear()
            with bridge.editing(Add(d, strength=1.0)):
                bridge.answer_log_probs(REPEATED, OPENINGS)
            assert len(above) == 3  # the template's beginning, the prompts, the openings
            assert len(below) == (3 if n == 0 else 1)


def test_an_unedited_pass_keeps_what_the_layers_named_need(bridge: LensModel) -> None:
    with bridge.sweeping([1, 2]):
        bridge.logits(PROMPTS)
        for layer in (1, 2):
            with (
                bridge.editing(Add(a_direction(bridge, layer), strength=1.0)),
                counted(bridge, 0) as runs,
            ):
                bridge.logits(PROMPTS)
            assert len(runs) == 1  # the template's beginning


@pytest.mark.parametrize(("outer", "inner"), [(False, True), (False, False), (True, False)])
def test_it_can_be_switched_off(bridge: LensModel, outer: bool, inner: bool) -> None:
    edit = Add(a_direction(bridge, 2), strength=1.0)
    with bridge.sweeping([2], reuse=outer):
        bridge.logits(PROMPTS)  # an outer sweep has something to hand on
        within = bridge.sweeping([2], reuse=inner)
        with within, counted(bridge, 0) as runs, bridge.editing(edit):
            bridge.logits(PROMPTS), bridge.logits(PROMPTS)
    assert len(runs) == 3


def test_what_is_kept_ends_with_the_context(bridge: LensModel) -> None:
    """Weights may change afterwards."""
    edit = Add(a_direction(bridge, 2), strength=1.0)
    weight = bridge.backend.model.blocks[0].original_component.mlp.down_proj.weight
    with bridge.sweeping(), bridge.editing(edit):
        before = bridge.logits(PROMPTS)
    kept = weight.detach().clone()
    try:
        weight.data.mul_(2.0)
        with bridge.sweeping(), bridge.editing(edit):
            assert not torch.allclose(bridge.logits(PROMPTS), before, atol=1e-2)
    finally:
        weight.data.copy_(kept)


def test_other_reads_and_answers_run_all_blocks(bridge: LensModel) -> None:
    edit, decoding = Add(a_direction(bridge, 2), strength=1.0), Decoding(max_new_tokens=8)
    with bridge.editing(edit):
        resid, answers = bridge.residuals(PROMPTS).tensor, bridge.generate_ids(PROMPTS, decoding)
    with bridge.sweeping([2]):
        bridge.logits(PROMPTS)
        with bridge.editing(edit):
            bridge.logits(PROMPTS)
            assert torch.allclose(bridge.residuals(PROMPTS).tensor, resid, atol=1e-5)
            assert bridge.generate_ids(PROMPTS, decoding) == answers


def test_a_function_of_the_users_below_the_edit_still_acts(bridge: LensModel) -> None:
    edit = Add(a_direction(bridge, 2), strength=1.0)
    double = [("blocks.0.hook_mlp_out", lambda x, hook: 2 * x)]  # noqa: ARG005
    with bridge.editing(edit), bridge.backend.model.hooks(fwd_hooks=double):
        doubled = bridge.logits(PROMPTS)
    with bridge.sweeping([2]):
        bridge.logits(PROMPTS)
        with bridge.editing(edit), bridge.backend.model.hooks(fwd_hooks=double):
            assert torch.allclose(bridge.logits(PROMPTS), doubled, atol=1e-5)
