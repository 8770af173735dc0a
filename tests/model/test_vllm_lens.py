"""What holds of vLLM with vllm-lens alone, against its fake (`support/fake_vllm.py`)."""

import logging
import pickle

import pytest
from support.engines import PROMPTS, SHORT
from support.fake_vllm import LLM, Faults

from refusal_lens.directions import fit_mean_difference
from refusal_lens.engines import EngineError, load_vllm
from refusal_lens.engines.vllm_lens.on_worker import ActOn, CountTokens, KeepStream
from refusal_lens.interventions import Ablate, Add
from refusal_lens.model import Decoding
from refusal_lens.sites import Site, block_inputs

pytestmark = [
    pytest.mark.parametrize("tested", ["vllm-lens"], indirect=True),
    pytest.mark.usefixtures("tested"),
]
BETWEEN = (*block_inputs(3), Site(2, "resid_post"))


@pytest.fixture
def direction(tiny_llama, three_categories):
    stats = tiny_llama.residual_stats(three_categories)
    return fit_mean_difference(stats).at("red", layer=1)


def test_versions_and_devices_are_in_the_provenance(opened):
    engine, _ = opened()
    made = engine.provenance()
    assert made.versions["vllm_lens"] == "1.3.0" and made.versions["vllm"] == "0.30.0"
    assert made.device == "vLLM, 1 x 1 devices (tensor x pipeline parallel)"


def test_the_output_of_layer_l_is_the_input_of_block_l_plus_1(opened):
    engine, lens = opened()
    engine.engine.llm.calls.clear()
    middle = engine.residuals(PROMPTS, sites=[Site(2)]).tensor
    ((_, params),) = engine.engine.llm.calls
    assert params.extra_args["output_residual_stream"] == [1]
    before = lens.residuals(PROMPTS, sites=[Site(1)]).tensor
    assert float((middle - before).norm()) > 0.1 * float(before.norm())


def test_samples_have_a_seed_for_each_prompt(opened):
    engine, _ = opened()
    hot = Decoding(max_new_tokens=8, temperature=1.0, seed=3)
    answers = engine.generate_ids(["Why?", "Why?"], hot)
    assert answers[0] != answers[1] and answers == engine.generate_ids(["Why?", "Why?"], hot)
    _, params = engine.engine.llm.calls[-1]
    assert [p.seed for p in params] == [3_000_009, 3_000_010]


def test_the_template_is_applied_once_and_ids_are_sent(opened):
    engine, lens = opened()
    engine.generate(PROMPTS, SHORT)
    prompts, params = engine.engine.llm.calls[-1]
    assert prompts == [{"prompt_token_ids": list(ids)} for ids in lens.ids(PROMPTS)]
    assert params.stop_token_ids == [257] and params.detokenize is False
    options = engine.engine.llm.options
    assert options["enable_prefix_caching"] is False and params.skip_reading_prefix_cache


BROKEN = {
    "the engine stopped (CUDA error)": Faults(stops="CUDA error"),
    "that are not the": Faults(adds_token=True),
    "returned a residual stream of shape": Faults(loses_tokens=True),
    "showed the input of block 0 at 0 of": Faults(no_pre_hooks=True),
    "it preempted the request": Faults(preempts=True),
    "the engine stopped (stack expects each tensor": Faults(fails_at=1),
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_an_engine_leaves_out_is_an_error(opened, monkeypatch, caplog, text):
    engine, _ = opened()
    monkeypatch.setattr(LLM, "faults", BROKEN[text])
    with caplog.at_level(logging.ERROR), pytest.raises(EngineError) as raised:
        engine.residuals(PROMPTS)
    assert text in str(raised.value) and len(raised.value.failed) == len(PROMPTS)


@pytest.mark.parametrize("edit", [lambda d: Add(d, strength=4.0), lambda d: Ablate(d, at=BETWEEN)])
def test_an_edit_that_failed_without_a_word_is_an_error(opened, direction, monkeypatch, edit):
    engine, _ = opened()
    monkeypatch.setattr(LLM, "faults", Faults(fails_at=0))
    engine.generate(PROMPTS, SHORT)  # without an edit nothing depends on the hooks
    with engine.editing(edit(direction)), pytest.raises(EngineError) as raised:
        engine.generate(PROMPTS, SHORT)
    assert "the hooks of layer 0 ran on 7 of" in str(raised.value)


@pytest.mark.parametrize(
    "faults, text",
    [
        (Faults(shows_inputs=True), "does not show there"),
        (Faults(fails_at=1), "the engine stopped"),
    ],
)
def test_an_engine_that_acts_otherwise_is_not_opened(tiny_folders, monkeypatch, faults, text):
    monkeypatch.setattr(LLM, "faults", faults)
    with pytest.raises(EngineError, match=text):
        load_vllm(tiny_folders["llama"])


def test_functions_for_workers_are_sent_by_reference(direction):
    (part,) = Add(direction, alpha=1.0).parts()
    for function in (KeepStream(), CountTokens(), ActOn(part, n_prompt=3)):
        again = pickle.loads(pickle.dumps(function))
        assert type(again) is type(function)
