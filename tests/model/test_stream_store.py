"""Kept streams: logits of prompts that were read before follow from them, and from nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.directions import a_direction

from refusal_lens.interventions import Add
from refusal_lens.model import Decoding, LensModel, StreamStore, StreamStoreWarning, load_model
from refusal_lens.placement import Placement
from refusal_lens.prompts import PromptSet

TEXTS = ["Why?", "Who was it then?", "Tell me of tides", "Name two", "Go on"]


@pytest.fixture
def keeping(tmp_path, monkeypatch):
    """Lets a model keep its streams in one file, read anew, until the test ends."""

    def keep(model, **bound):
        store = StreamStore(tmp_path / "streams.safetensors", **bound)
        monkeypatch.setattr(model, "stream_store", store)
        return store

    return keep


@contextmanager
def rows_run(model: LensModel) -> Iterator[list[int]]:
    """How many rows each forward pass takes."""
    rows: list[int] = []
    plain = model.backend.forward

    def forward(ids, *args, **kwargs):
        rows.append(len(ids))
        return plain(ids, *args, **kwargs)

    model.backend.forward = forward
    try:
        yield rows
    finally:
        del model.backend.forward


def read_stats(model, texts):
    model.residual_stats(PromptSet.from_texts(texts[:2], texts[2:]))


def read_residuals(model, texts):
    model.residuals(texts, offsets=(-2, -1))


def read_answers(model, texts):
    model.generate_ids(texts, Decoding(3))


def read_logits(model, texts):
    model.logits(texts)


@pytest.mark.parametrize("read", [read_stats, read_residuals, read_answers, read_logits])
def test_logits_of_what_was_read_come_without_a_pass(tiny, keeping, read):
    expected = tiny.logits(TEXTS)
    store = keeping(tiny)
    read(tiny, TEXTS[1:4])
    assert len(store) == 3
    ticks: list[int] = []
    with rows_run(tiny) as rows:
        logits = tiny.logits(TEXTS, progress=ticks.append)
    # One of those that are there runs, to see that its logits follow; then the others.
    assert rows[0] == 1 and sum(rows) == 3 and sum(ticks) == len(TEXTS)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    with rows_run(tiny) as rows:
        torch.testing.assert_close(tiny.logits(TEXTS), expected, atol=1e-4, rtol=0)
    assert rows == [] and len(store) == len(TEXTS)


def test_what_an_edit_or_another_function_touches_is_neither_kept_nor_handed_on(
    tiny_llama, keeping
):
    add = Add(a_direction(tiny_llama), strength=4.0)
    clean = tiny_llama.logits(TEXTS)
    with tiny_llama.editing(add):
        expected = tiny_llama.logits(TEXTS)
    store = keeping(tiny_llama)
    with tiny_llama.editing(add):
        read_residuals(tiny_llama, TEXTS)
        read_answers(tiny_llama, TEXTS)
        read_logits(tiny_llama, TEXTS)
    name = "blocks.0.hook_resid_post"
    with tiny_llama.backend.hooks([(name, lambda x, hook: x + 1.0)]):
        read_residuals(tiny_llama, TEXTS)
        changed = tiny_llama.logits(TEXTS)
    assert len(store) == 0
    plain = tiny_llama.logits(TEXTS)
    assert len(store) == len(TEXTS) and torch.equal(plain, clean)
    with tiny_llama.editing(add):
        assert torch.equal(tiny_llama.logits(TEXTS), expected)
    with tiny_llama.backend.hooks([(name, lambda x, hook: x + 1.0)]):
        assert torch.equal(tiny_llama.logits(TEXTS), changed)
    assert not torch.allclose(plain, expected, atol=1e-2)
    assert not torch.allclose(plain, changed, atol=1e-2)


def test_logits_that_do_not_follow_from_the_stream_come_of_whole_passes(
    tiny_llama, keeping, monkeypatch
):
    """As of a model that scales or bounds its logits in its own way."""
    expected = tiny_llama.logits(TEXTS)
    keeping(tiny_llama)
    tiny_llama.logits(TEXTS)
    read_out = tiny_llama.backend.read_out
    monkeypatch.setattr(tiny_llama.backend, "read_out", lambda x: 0.5 * read_out(x), raising=False)
    with rows_run(tiny_llama) as rows:
        logits = tiny_llama.logits(TEXTS)
    assert torch.equal(logits, expected) and rows[0] == 1 and sum(rows) == 1 + len(TEXTS)


def test_a_sweep_still_keeps_what_its_passes_begin_with(tiny_llama, keeping):
    """A sweep begins with a whole pass, also over prompts whose logits are known."""
    edit = Add(a_direction(tiny_llama), strength=2.0)
    with tiny_llama.editing(edit):
        expected = tiny_llama.logits(TEXTS)
    keeping(tiny_llama)
    tiny_llama.logits(TEXTS)
    with tiny_llama.sweeping([1]), rows_run(tiny_llama) as rows:
        tiny_llama.logits(TEXTS)
        assert sum(rows) == len(TEXTS)
        with tiny_llama.editing(edit):
            torch.testing.assert_close(tiny_llama.logits(TEXTS), expected, atol=1e-4, rtol=0)


def test_half_precision_keeps_none(tiny_folders, keeping):
    placement = Placement(dtype="bfloat16", device="cpu")
    half = load_model(str(tiny_folders["llama"]), placement=placement)
    store = keeping(half)
    half.logits(TEXTS)
    assert len(store) == 0


def test_the_file_holds_them_for_the_next_command(tiny_llama, keeping, tmp_path):
    expected = tiny_llama.logits(TEXTS)
    store = keeping(tiny_llama)
    read_residuals(tiny_llama, TEXTS)
    store.save()
    written = (path := tmp_path / "streams.safetensors").stat().st_mtime_ns
    store.save()
    assert path.stat().st_mtime_ns == written  # nothing has come
    keeping(tiny_llama)
    with rows_run(tiny_llama) as rows:
        torch.testing.assert_close(tiny_llama.logits(TEXTS), expected, atol=1e-4, rtol=0)
    assert rows == [1]


def test_of_too_many_the_oldest_go(tiny_llama, keeping):
    most = 4 * tiny_llama.d_model * 4  # four vectors
    store = keeping(tiny_llama, most_bytes=most)
    for text in TEXTS:
        tiny_llama.logits([text])
    with rows_run(tiny_llama) as rows:
        tiny_llama.logits(TEXTS[-2:])
    assert len(store) == 2 and rows == [1]


@pytest.mark.parametrize("how", ["cut short", "version", "keys", "numbers", "empty"])
def test_a_damaged_file_is_said_once_and_its_prompts_run_again(
    tiny_llama, keeping, tmp_path, recwarn, how
):
    path, expected = tmp_path / "streams.safetensors", tiny_llama.logits(TEXTS)
    store = keeping(tiny_llama)
    tiny_llama.logits(TEXTS)
    store.save()
    if how == "cut short":
        path.write_bytes(path.read_bytes()[:-7])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "numbers":  # signs and lowest exponents, behind the first vector; as long as before
        raw = bytearray(path.read_bytes())
        for last in range(1, 17):
            raw[-4 * last - 1 - 16 * len(TEXTS)] ^= 0x81
        path.write_bytes(bytes(raw))
    else:
        with safe_open(path, "pt") as file:
            head = file.metadata()
        tensors = load_file(path)
        if how == "keys":
            tensors["keys"] = tensors["keys"][:-1].clone()
        else:
            head["schema_version"] = "0"
        save_file(tensors, path, metadata=head)
    with pytest.warns(StreamStoreWarning) as caught:
        store = keeping(tiny_llama)
    assert len(caught) == 1 and str(path) in str(caught[0].message)
    assert torch.equal(tiny_llama.logits(TEXTS), expected) and len(store) == len(TEXTS)
    store.save()
    recwarn.clear()
    assert len(keeping(tiny_llama)) == len(TEXTS) and not recwarn.list
