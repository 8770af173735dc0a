"""What holds of vLLM by nnsight alone, against its fake (`support/fake_nnsight.py`)."""

import pytest
import torch
from support.engines import PROMPTS, SHORT
from support.fake_nnsight import VLLM, Faults

from refusal_lens.directions import Direction
from refusal_lens.engines import EngineError, load_nnsight
from refusal_lens.engines.nnsight_vllm.on_worker import sum_of
from refusal_lens.errors import InputError
from refusal_lens.interventions import Add
from refusal_lens.model import Decoding
from refusal_lens.sites import Site, block_inputs

pytestmark = [
    pytest.mark.parametrize("tested", ["nnsight"], indirect=True),
    pytest.mark.usefixtures("tested"),
]


@pytest.fixture
def edit(tiny_llama):
    vector = 6 * torch.randn(32, generator=torch.Generator().manual_seed(1))
    made = tiny_llama.provenance()
    direction = Direction.from_difference(
        vector, category="red", site=Site(1), offset=-1, provenance=made
    )
    return Add(direction, strength=1.0)


def test_requests_carry_ids_and_settings_of_their_own(opened):
    engine, lens = opened(options={"max_model_len": 200})
    hot = Decoding(max_new_tokens=8, temperature=1.0, seed=3)
    answers = engine.generate_ids(["Why?", "Why?"], hot)
    assert answers[0] != answers[1] and answers == engine.generate_ids(["Why?", "Why?"], hot)
    invokes = engine.engine.model.calls[-1]
    assert [invoke.ids for invoke in invokes] == [list(lens.ids(["Why?"])[0])] * 2
    assert [invoke.settings.seed for invoke in invokes] == [3_000_009, 3_000_010]
    assert invokes[0].settings.stop_token_ids == [257] and not invokes[0].settings.detokenize
    options = engine.engine.model.options
    assert not options["enable_prefix_caching"] and not options["enable_chunked_prefill"]
    assert options["max_model_len"] == 200
    made = engine.provenance()
    assert made.versions["nnsight"] == "0.8.1" and made.versions["vllm"] == "0.27.1"
    assert made.device == "vLLM by nnsight, 1 devices (tensor parallel)"


def test_blocks_that_return_the_stream_itself_are_read_and_edited(opened, edit, monkeypatch):
    monkeypatch.setattr(VLLM, "returns", "a tensor")  # as vLLM's Transformers backend
    engine, lens = opened()
    with engine.editing(edit), lens.editing(edit):
        here, there = (m.residuals(PROMPTS, sites=block_inputs(3)) for m in (engine, lens))
        torch.testing.assert_close(here.tensor, there.tensor, atol=1e-4, rtol=1e-4)
        assert engine.generate_ids(PROMPTS, SHORT) == lens.generate_ids(PROMPTS, SHORT)


def test_what_no_block_returns_is_named():
    with pytest.raises(TypeError, match=r"returns \(Tensor, NoneType\)"):
        sum_of((torch.ones(2, 3), None))


@pytest.mark.parametrize(
    "faults, text",
    [
        (Faults(loses_edits=True), "is lost in the next"),
        (Faults(first_is_stream=True), r"read at resid_post\[2\] does not decide the logits"),
    ],
)
def test_an_engine_that_acts_otherwise_is_not_opened(tiny_folders, monkeypatch, faults, text):
    monkeypatch.setattr(VLLM, "faults", faults)
    with pytest.raises(EngineError, match=text):
        load_nnsight(tiny_folders["llama"])


@pytest.mark.parametrize("faults", [Faults(ends_early=True), Faults(fails_at=0)])
def test_an_answer_without_an_end_is_an_error(opened, edit, monkeypatch, faults):
    engine, _ = opened()
    monkeypatch.setattr(VLLM, "faults", faults)
    with (
        engine.editing(edit),
        pytest.raises(EngineError, match=r"ended .* after \d of 10"),
    ):
        engine.generate(PROMPTS[:2], SHORT)


def test_an_error_in_one_request_is_that_of_its_prompt(opened, edit, monkeypatch):
    engine, lens = opened()
    longest = max(map(len, lens.ids(PROMPTS)))

    def fails(self, resid):
        assert len(resid) != longest, "out of memory"
        return resid

    monkeypatch.setattr(Add, "__call__", fails)
    with engine.editing(edit), pytest.raises(EngineError, match="AssertionError: out of") as raised:
        engine.generate_ids(PROMPTS, SHORT)
    assert [*raised.value.finished] == [0, 2, 3] and len(raised.value.failed) == 1


def test_what_nnsight_does_not_do_names_what_does(tiny_folders):
    with pytest.raises(InputError, match=r"no pipeline parallelism; use load_vllm"):
        load_nnsight(tiny_folders["llama"], options={"pipeline_parallel_size": 2})
    with pytest.raises(InputError, match="'enforce_eager' can't be given"):
        load_nnsight(tiny_folders["llama"], options={"enforce_eager": False})
    with pytest.raises(InputError, match=r"3 blocks are not at 'transformer.blocks'.* blocks="):
        load_nnsight(tiny_folders["llama"], blocks="transformer.blocks")
