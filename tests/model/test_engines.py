"""A model on the vLLM engine gives what a `LensModel` of the same weights gives.

Against a fake of the interface (`support/fake_vllm.py`), on the CPU: no test here has seen vLLM.
"""

import logging
import pickle
import sys
from collections.abc import Callable

import pytest
import torch
from support import fake_vllm
from support.fake_vllm import LLM, Faults

from refusal_lens.directions import fit_mean_difference
from refusal_lens.engines import EngineError, EngineModel, load_vllm
from refusal_lens.engines.vllm_lens.on_worker import ActOn, CountTokens, KeepStream
from refusal_lens.errors import InputError
from refusal_lens.evaluation import evaluate
from refusal_lens.interventions import (
    Ablate,
    AblateSubspace,
    Add,
    Affine,
    Clamp,
    Cosine,
    Leace,
    Only,
    PerRow,
    Rotate,
    When,
)
from refusal_lens.judges import make_judge
from refusal_lens.model import Decoding, LensModel, TransferWarning
from refusal_lens.sites import Site, block_inputs

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
PROMPTS = ["Why?", "How does a very long question about tides end?", "Name two", "Go on, then"]
SHORT = Decoding(max_new_tokens=10)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM and vllm-lens are the fake, whole again for every test."""
    for name, module in fake_vllm.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(LLM, "faults", Faults())
    monkeypatch.setattr(LLM, "opened", [])


@pytest.fixture
def opened(tiny_folders, load_tiny) -> Callable[..., tuple[EngineModel, LensModel]]:
    """The same weights on the engine and as a `LensModel`."""

    def both(name: str = "llama", **options) -> tuple[EngineModel, LensModel]:
        return load_vllm(tiny_folders[name], dtype="float32", **options), load_tiny(name)

    return both


@pytest.fixture
def direction(tiny_llama, three_categories):
    stats = tiny_llama.residual_stats(three_categories)
    return fit_mean_difference(stats).at("red", layer=1)


def fake_of(model: EngineModel) -> LLM:
    return model.engine.llm


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2", "mistral"])
def test_the_stream_is_that_of_a_lens_model(opened, name):
    engine, lens = opened(name, tensor_parallel=2, batch_size=3)
    n = lens.n_layers
    sites = [*block_inputs(n), Site(0, "resid_post"), Site(n - 1, "resid_post")]
    here = engine.residuals(PROMPTS, sites=sites, offsets=(-3, -1))
    there = lens.residuals(PROMPTS, sites=sites, offsets=(-3, -1))
    assert (here.sites, here.offsets, here.ids) == (there.sites, there.offsets, there.ids)
    torch.testing.assert_close(here.tensor, there.tensor, **CLOSE)
    assert engine.tokens("Why?") == lens.tokens("Why?")


def test_the_output_of_layer_l_is_the_input_of_block_l_plus_1(opened):
    engine, lens = opened()
    fake_of(engine).calls.clear()
    middle = engine.residuals(PROMPTS, sites=[Site(2)]).tensor
    ((_, params),) = fake_of(engine).calls
    assert params.extra_args["output_residual_stream"] == [1]
    before = lens.residuals(PROMPTS, sites=[Site(1)]).tensor
    assert float((middle - before).norm()) > 0.1 * float(before.norm())


def test_statistics_and_directions_are_those_of_a_lens_model(opened, three_categories):
    engine, lens = opened(batch_size=3)
    seen: list[int] = []
    here = engine.residual_stats(three_categories, progress=seen.append)
    there = lens.residual_stats(three_categories)
    for name in ("count", "total", "sq_norm", "n_pairs", "pair_sq"):
        torch.testing.assert_close(getattr(here, name), getattr(there, name), **CLOSE)
    assert here.categories == there.categories and sum(seen) == len(three_categories)
    ours, theirs = fit_mean_difference(here), fit_mean_difference(there)
    torch.testing.assert_close(ours.vectors, theirs.vectors, **CLOSE, equal_nan=True)
    assert (here.provenance.model_digest, here.provenance.template_digest) == (
        there.provenance.model_digest,
        there.provenance.template_digest,
    )


@pytest.mark.parametrize("name", ["llama", "gemma2"])  # with tied weights and without
def test_the_digest_is_that_of_load_model(opened, name):
    engine, lens = opened(name)
    made = engine.provenance()
    assert made.model_digest == lens.digest
    assert made.versions["vllm_lens"] == "1.3.0" and made.versions["vllm"] == "0.30.0"
    assert made.device == "vLLM, 1 x 1 devices (tensor x pipeline parallel)"


def test_logits_are_those_of_a_lens_model(opened, direction):
    engine, lens = opened()
    torch.testing.assert_close(engine.logits(PROMPTS), lens.logits(PROMPTS), **CLOSE)
    edit = Add(direction, strength=3.0)
    with engine.editing(edit), lens.editing(edit):
        edited = engine.logits(PROMPTS)
        torch.testing.assert_close(edited, lens.logits(PROMPTS), **CLOSE)
    assert float((edited - engine.logits(PROMPTS)).abs().max()) > 0.01


def stream_sites(n_layers: int) -> tuple[Site, ...]:
    return (*block_inputs(n_layers), Site(n_layers - 1, "resid_post"))


def leace(direction) -> Leace:
    random = torch.Generator().manual_seed(0)
    resid, labels = torch.randn(60, 32, generator=random), torch.arange(60) < 30
    resid[labels] += direction.vector
    return Leace.fit(resid, labels, name="leace", at=(Site(1), Site(2)))


EDITS = {
    "add": lambda d: Add(d, strength=4.0),
    "add behind a block": lambda d: Add(d, strength=-4.0, at=Site(1, "resid_post")),
    "add to the embeddings": lambda d: Add(d, strength=4.0, at=Site(0)),
    "add in two places": lambda d: Add(d, strength=4.0) + Add(d, alpha=2.0, at=Site(2)),
    "add to the prompt": lambda d: Only(Add(d, strength=6.0), "prompt"),
    "add to the answer": lambda d: Only(Add(d, strength=6.0), "generated"),
    "add at offsets": lambda d: Only(Add(d, strength=9.0), "prompt", (-4, -1)),
    "add at offsets and behind": lambda d: Only(Add(d, strength=6.0), "all", (-2,)),
    "ablate between blocks": lambda d: Ablate(d, at=stream_sites(3)),
    "clamp": lambda d: Clamp(d, to="high", at=(Site(1), Site(2))),
    "affine": lambda d: Affine(d, strength=3.0),
    "a subspace": lambda d: AblateSubspace((d, d.random_like(0)), at=stream_sites(3)),
    "rotate": lambda d: Rotate(d, d.random_like(0).vector, degrees=90.0, at=(Site(1),)),
    "leace": leace,
    "ablate in the answer": lambda d: Only(Ablate(d, at=stream_sites(3)), "generated"),
    "ablate, then add": lambda d: Ablate(d, at=(Site(1),)) + Add(d, strength=3.0),
    "add, then ablate": lambda d: Add(d, strength=3.0, at=Site(2)) + Ablate(d, at=(Site(2),)),
    "two names of one vector": lambda d: (
        Ablate(d, at=(Site(1),)) + Add(d, strength=3.0, at=Site(0, "resid_post"))
    ),
    "by prompt": lambda d: PerRow((Add(d, strength=5.0), None, Ablate(d, at=(Site(2),)), None)),
    "by prompt, to the prompt": lambda d: PerRow(
        (None, Only(Add(d, strength=5.0), "prompt"), None, Add(d, strength=-5.0))
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_answers_and_stream_under_edits_are_those_of_a_lens_model(opened, direction, name):
    engine, lens = opened(tensor_parallel=2)
    edit = EDITS[name](direction)
    plain = engine.generate_ids(PROMPTS, SHORT)
    assert plain == lens.generate_ids(PROMPTS, SHORT)
    with engine.editing(edit), lens.editing(edit):
        answers = engine.generate_ids(PROMPTS, SHORT)
        assert answers == lens.generate_ids(PROMPTS, SHORT) != plain
        assert engine.generate(PROMPTS, SHORT) == lens.generate(PROMPTS, SHORT)
        here, there = engine.residuals(PROMPTS).tensor, lens.residuals(PROMPTS).tensor
        torch.testing.assert_close(here, there, **CLOSE)
        assert engine.edits_text == lens.edits_text == engine.provenance().edits
        assert engine.generate_ids(PROMPTS, SHORT) == answers  # edits go with every call
    assert engine.edits_text == "none"
    assert engine.generate_ids(PROMPTS, SHORT) == plain  # nothing is left in a cache


def test_answers_depend_on_the_prompt_alone(opened):
    engine, _ = opened()
    turned = engine.generate(PROMPTS[::-1], SHORT)
    assert turned[::-1] == engine.generate(PROMPTS, SHORT)
    assert engine.generate(PROMPTS[2:3], SHORT) == turned[1:2]


def test_samples_have_a_seed_for_each_prompt(opened):
    engine, _ = opened()
    hot = Decoding(max_new_tokens=8, temperature=1.0, seed=3)
    answers = engine.generate_ids(["Why?", "Why?"], hot)
    assert answers[0] != answers[1] and answers == engine.generate_ids(["Why?", "Why?"], hot)
    _, params = fake_of(engine).calls[-1]
    assert [p.seed for p in params] == [3_000_009, 3_000_010]


def test_the_template_is_applied_once_and_ids_are_sent(opened):
    engine, lens = opened()
    engine.generate(PROMPTS, SHORT)
    prompts, params = fake_of(engine).calls[-1]
    assert prompts == [{"prompt_token_ids": list(ids)} for ids in lens.ids(PROMPTS)]
    assert params.stop_token_ids == [257] and params.detokenize is False
    options = fake_of(engine).options
    assert options["enable_prefix_caching"] is False and params.skip_reading_prefix_cache


def test_answers_are_judged_as_those_of_a_lens_model(opened, direction, three_categories):
    engine, lens = opened()
    prompts, judge = three_categories.first(1), make_judge("substring")
    with engine.editing(Add(direction, strength=4.0)), lens.editing(Add(direction, strength=4.0)):
        here = evaluate(engine, prompts, judge, decoding=SHORT)
        there = evaluate(lens, prompts, judge, decoding=SHORT)
    assert (here.answers, here.readings) == (there.answers, there.readings)
    assert here.edits == there.edits and here.judged_by == "substring"
    assert here.provenance.device.startswith("vLLM")


def refused(d):
    mid = Site(1, "resid_mid")
    return {
        "attn_out[0] can't be written by Ablate": Ablate(d),
        "mlp_out[1] can't be written by Add": Add(d, alpha=1.0, at=Site(1, "mlp_out")),
        "resid_mid[1] can't be written by Ablate": Ablate(d, at=(mid,)),
        "under a condition": When(Cosine(d, "above", 0.0), Add(d, alpha=1.0)),
        "beyond this model": Add(d, alpha=1.0, at=Site(7)),
        "act twice on one vector": Add(d, alpha=1.0) + Add(d, alpha=1.0, at=Site(0, "resid_post")),
    }


def test_what_the_engine_can_not_do_is_one_line(opened, direction):
    engine, _ = opened()
    before = len(fake_of(engine).calls)
    for text, edit in refused(direction).items():
        with pytest.raises(InputError) as raised, engine.editing(edit):
            pass
        assert text in str(raised.value) and "\n" not in str(raised.value)
        assert engine.edits_text == "none" and not engine._edits.parts
    assert len(fake_of(engine).calls) == before


@pytest.mark.parametrize("site", ["attn_out[1]", "mlp_out[0]", "resid_mid[2]"])
def test_sites_inside_of_blocks_can_not_be_read(opened, site):
    engine, _ = opened()
    with pytest.raises(InputError, match=r"can't be read on the vLLM engine.*resid_pre"):
        engine.residuals(PROMPTS, sites=[Site.parse(site)])


def test_one_vector_has_one_name_while_it_is_edited(opened, direction):
    engine, _ = opened()
    with engine.editing(Add(direction, alpha=1.0, at=Site(2))):
        with pytest.raises(InputError, match=r"resid_post\[1\] can't be read while resid_pre\[2\]"):
            engine.residuals(PROMPTS, sites=[Site(1, "resid_post")])
        engine.residuals(PROMPTS, sites=[Site(2)])


def test_wrong_calls_are_one_line(opened, direction, tiny_folders):
    engine, lens = opened(options={"max_model_len": 80})
    with pytest.raises(InputError, match="PerRow holds 2 edits, this call has 4"):  # noqa: SIM117
        with engine.editing(PerRow((Add(direction, alpha=1.0), None))):
            assert engine.ids(PROMPTS) == lens.ids(PROMPTS)
            engine.generate(PROMPTS, SHORT)
    with pytest.raises(InputError, match=r"prompt 2 of 4.* this model takes 80"):
        engine.generate(PROMPTS, Decoding(max_new_tokens=20))
    with pytest.raises(InputError, match=r"offset -40 .*'Why\?'"):
        engine.residuals(PROMPTS, offsets=(-40,))
    with pytest.raises(InputError, match="no prompt"):
        engine.generate([])
    with pytest.raises(InputError, match="option 'enable_prefix_caching'"):
        load_vllm(tiny_folders["llama"], options={"enable_prefix_caching": True})
    with pytest.raises(InputError, match="pipeline_parallel is 0"):
        load_vllm(tiny_folders["llama"], pipeline_parallel=0)


def test_a_direction_of_another_model_brings_a_warning(opened, direction):
    engine, _ = opened("qwen2")
    with pytest.warns(TransferWarning), engine.editing(Add(direction, alpha=1.0)):
        pass


def test_a_failed_request_is_named_and_the_others_are_kept(opened, three_categories, monkeypatch):
    engine, lens = opened()
    prompts = three_categories.first(2)
    monkeypatch.setattr(LLM, "faults", Faults(aborted=(1, 4)))
    with pytest.raises(EngineError) as raised:
        engine.generate_ids(prompts, SHORT)
    error, ids = raised.value, prompts.ids
    assert [*error.failed.values()] == ["the engine ended the request with 'abort'"] * 2
    for name, row in zip(error.failed, (1, 4), strict=True):
        assert repr(ids[row]) in name and repr(ids[row]) in str(error)
    left = [row for row in range(len(prompts)) if row not in (1, 4)]
    assert [*error.finished] == left
    answers = lens.generate_ids(prompts, SHORT)
    assert [*error.finished.values()] == [answers[row] for row in left]
    for read in (engine.residuals, engine.residual_stats, engine.logits):
        with pytest.raises(EngineError, match="2 of 12 prompts failed"):
            read(prompts)


def test_a_request_that_stops_a_portion_takes_no_other_with_it(opened, monkeypatch):
    engine, lens = opened()
    monkeypatch.setattr(LLM, "faults", Faults(longest=40))
    with pytest.raises(EngineError) as raised:
        engine.residuals(PROMPTS)
    (name,) = raised.value.failed
    assert name.startswith("prompt 2 of 4") and [*raised.value.finished] == [0, 2, 3]
    there = lens.residuals(PROMPTS).tensor
    for row, resid in raised.value.finished.items():
        torch.testing.assert_close(resid, there[row], **CLOSE)


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


@pytest.mark.parametrize("edit", ["add", "ablate between blocks"])
def test_an_edit_that_failed_without_a_word_is_an_error(opened, direction, monkeypatch, edit):
    engine, _ = opened()
    monkeypatch.setattr(LLM, "faults", Faults(fails_at=0))
    engine.generate(PROMPTS, SHORT)  # without an edit nothing depends on the hooks
    with engine.editing(EDITS[edit](direction)), pytest.raises(EngineError) as raised:
        engine.generate(PROMPTS, SHORT)
    assert "the hooks of layer 0 ran on 7 of" in str(raised.value)


@pytest.mark.parametrize(
    "faults, text",
    [
        (Faults(ignores_edits=True), "does not show there"),
        (Faults(shows_inputs=True), "does not show there"),
        (Faults(fails_at=1), "the engine stopped"),
    ],
)
def test_an_engine_that_acts_otherwise_is_not_opened(tiny_folders, monkeypatch, faults, text):
    monkeypatch.setattr(LLM, "faults", faults)
    with pytest.raises(EngineError, match=text):
        load_vllm(tiny_folders["llama"])


def test_the_packages_are_named_where_they_are_missing(tiny_folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm_lens", None)
    with pytest.raises(InputError, match=r"vllm-lens .*pip install 'refusal-lens\[vllm\]'"):
        load_vllm(tiny_folders["llama"])


def test_functions_for_workers_are_sent_by_reference(direction):
    (part,) = Add(direction, alpha=1.0).parts()
    for function in (KeepStream(), CountTokens(), ActOn(part, n_prompt=3)):
        again = pickle.loads(pickle.dumps(function))
        assert type(again) is type(function)
