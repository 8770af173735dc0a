"""Where a model runs; batches that are halved when memory runs out, with results unchanged."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

import refusal_lens as rl
from refusal_lens.errors import InputError
from refusal_lens.interventions import Add
from refusal_lens.memory import BatchSize, MemoryWarning, in_batches, ran_out
from refusal_lens.model import Decoding
from refusal_lens.placement import Placement

PROMPTS = [f"{'why ' * (i % 4)}how do I open {i}?" for i in range(11)]


class Full:
    """Stands in for a device: a pass of more than `most` rows has no room."""

    def __init__(self, inner, most, error):
        self.inner, self.most, self.error, self.failed = inner, most, error, []

    def __call__(self, ids, *args, **kwargs):
        if len(ids) > self.most:
            self.failed.append(len(ids))
            raise self.error
        return self.inner(ids, *args, **kwargs)


CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory")


@contextmanager
def full_at(model, most, error=CUDA):
    """The model with room for `most` rows a pass; afterwards as it was."""
    forward, rows = model.backend.forward, model.rows.most
    model.backend.forward = full = Full(forward, most, error)
    try:
        yield full
    finally:
        model.backend.forward, model.rows.most = forward, rows


@pytest.mark.parametrize("error", [CUDA, CPU], ids=["cuda", "cpu"])
def test_a_batch_that_does_not_fit_is_halved(tiny, error):
    """Logits, residuals and answers are those of the batch that would have fitted."""
    logits, resid = tiny.logits(PROMPTS), tiny.residuals(PROMPTS).tensor
    answers = tiny.generate_ids(PROMPTS, Decoding(6))
    log_p = tiny.answer_log_probs(PROMPTS, [(5, 6)] * len(PROMPTS))
    with full_at(tiny, 2, error) as full:
        with pytest.warns(MemoryWarning, match="11 rows at a time; going on with 5"):
            computed = tiny.logits(PROMPTS)
        assert full.failed == [11, 5] and tiny.rows.most == 2  # and it stays
        assert torch.allclose(computed, logits, atol=2e-5)
        assert torch.allclose(tiny.residuals(PROMPTS).tensor, resid, atol=2e-4)
        assert full.failed == [11, 5] and tiny.placement.batch_size == 2
    for call, expected in (
        (lambda: tiny.generate_ids(PROMPTS, Decoding(6)), answers),
        (lambda: tiny.answer_log_probs(PROMPTS, [(5, 6)] * len(PROMPTS)), log_p),
    ):
        with full_at(tiny, 2, error) as full, pytest.warns(MemoryWarning):
            computed = call()
        assert full.failed
        same = (
            computed == expected
            if isinstance(computed, list)
            else torch.allclose(computed, expected)
        )
        assert same


def test_a_batch_is_halved_in_the_middle_of_an_answer(tiny_llama, monkeypatch):
    """The cache grows while answers do: the batch that ran out begins anew, draws too."""
    sampled = Decoding(8, temperature=1.0, seed=3)
    expected = tiny_llama.generate_ids(PROMPTS, sampled)
    forward, passes, progress = tiny_llama.backend.forward, [], []

    def fifth_fails(ids, *args, **kwargs):
        passes.append(len(ids))
        if len(passes) == 5:
            raise CUDA
        return forward(ids, *args, **kwargs)

    monkeypatch.setattr(tiny_llama.backend, "forward", fifth_fails)
    monkeypatch.setattr(tiny_llama, "rows", BatchSize(64))
    with pytest.warns(MemoryWarning, match="11 rows at a time; going on with 5"):
        answers = tiny_llama.generate_ids(PROMPTS, sampled, progress=progress.append)
    assert max(passes[5:]) == 5 and answers == expected and sum(progress) == len(PROMPTS)


def test_statistics_keep_pairs_together_when_halved(tiny_llama, three_categories):
    expected = tiny_llama.residual_stats(three_categories)
    with full_at(tiny_llama, 5), pytest.warns(MemoryWarning):
        stats = tiny_llama.residual_stats(three_categories)
    assert torch.allclose(stats.total, expected.total, atol=1e-4)
    assert torch.equal(stats.n_pairs, expected.n_pairs)


def test_edits_by_row_survive_halving(tiny_llama):
    d = rl.Direction.from_difference(
        torch.randn(tiny_llama.d_model, generator=torch.Generator().manual_seed(0)),
        category="x",
        site=rl.Site(1),
        offset=-1,
        provenance=tiny_llama.provenance(),
    )
    edit = rl.PerRow(tuple(Add(d, alpha=float(i)) for i in range(len(PROMPTS))))
    with tiny_llama.editing(edit):
        expected = tiny_llama.logits(PROMPTS)
        with full_at(tiny_llama, 3), pytest.warns(MemoryWarning):
            logits = tiny_llama.logits(PROMPTS)
    assert torch.allclose(logits, expected, atol=2e-5)


def test_attribution_is_halved_too(tiny_llama, three_categories):
    from refusal_lens.attribution import decompose

    stats = tiny_llama.residual_stats(three_categories)
    d = rl.fit_mean_difference(stats).at(three_categories.categories[0], 2)
    expected = decompose(tiny_llama, three_categories, [d])
    with full_at(tiny_llama, 5), pytest.warns(MemoryWarning):
        decomposition = decompose(tiny_llama, three_categories, [d])
    assert torch.allclose(decomposition.mean, expected.mean, atol=1e-5, equal_nan=True)


def test_no_room_for_one_prompt_is_said_in_a_line(tiny_llama):
    raises = pytest.raises(InputError, match="memory ran out with one prompt at a time on cpu")
    with full_at(tiny_llama, 0), pytest.warns(MemoryWarning), raises:
        tiny_llama.logits(PROMPTS)
    assert torch.isfinite(tiny_llama.logits(PROMPTS)).all()


def test_other_errors_are_not_taken_for_memory(tiny_llama):
    wrong = RuntimeError("shapes do not match")
    with full_at(tiny_llama, 0, wrong), pytest.raises(RuntimeError, match="shapes do not match"):
        tiny_llama.logits(PROMPTS)
    assert tiny_llama.rows.most == 64


def test_the_allocators_own_error_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**16)
    assert ran_out(caught.value) and not ran_out(RuntimeError("size mismatch"))


def test_batches_of_short_rows_end():
    """Twice as many rows as prompts fit, down to one: no size is tried for ever."""
    tried = []

    def work(rows):
        tried.append(len(rows))
        if len(rows) > 1:
            raise CUDA
        return rows[0]

    with pytest.warns(MemoryWarning):
        batches = list(in_batches([[i] for i in range(5)], BatchSize(2), work, times=2))
    assert [value for _, value in batches] == [0, 1, 2, 3, 4]
    assert tried == [4, 2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtype": "int8"}, "dtype 'int8' is unknown"),
        ({"device": "gpu"}, "device 'gpu' is unknown; use 'cpu'"),
        ({"device": "cpu", "device_map": "auto"}, "not both"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_a_wrong_placement_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        rl.Placement(**given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_device_that_is_not_here_is_refused(tiny_folders):
    with pytest.raises(InputError, match="device 'cuda': PyTorch finds 0 CUDA devices"):
        rl.load_model(tiny_folders["llama"], placement=Placement(device="cuda"))


def test_weights_that_do_not_fit_are_said_in_a_line(tiny_folders, monkeypatch):
    from transformers import AutoModelForCausalLM

    def full(*args, **kwargs):
        raise CPU

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(InputError, match="memory ran out with the weights of .* on cpu"):
        rl.load_model(tiny_folders["llama"], placement=Placement(device="cpu"))


def test_a_model_says_where_it_is(tiny_folders):
    asked = Placement(dtype="bfloat16", device="cpu", batch_size=3)
    model = rl.load_model(tiny_folders["llama"], placement=asked)
    assert model.placement == asked and model.provenance().dtype == "bfloat16"
    default = rl.load_model(tiny_folders["llama"], placement=Placement(device="cpu"))
    assert default.placement == Placement(dtype="float32", device="cpu", batch_size=64)
    wrapped = rl.wrap_model(default.backend.model, batch_size=2)
    assert wrapped.placement == replace(default.placement, batch_size=2)
