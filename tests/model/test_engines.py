"""A model on an engine gives what a `LensModel` of the same weights gives.

Against fakes of the engines' interfaces (`support/engines.py`), on the CPU: no test here has seen
vLLM. What holds of one engine alone is in `test_vllm_lens.py` and `test_nnsight.py`.
"""

import sys

import pytest
import torch
from support.engines import PROMPTS, SHORT

from refusal_lens.directions import fit_mean_difference
from refusal_lens.engines import EngineError
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
from refusal_lens.model import Decoding, TransferWarning
from refusal_lens.sites import Site, block_inputs

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture
def direction(tiny_llama, three_categories):
    stats = tiny_llama.residual_stats(three_categories)
    return fit_mean_difference(stats).at("red", layer=1)


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
    assert made.device.startswith("vLLM")


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


def test_what_the_engine_can_not_do_is_one_line(opened, direction, tested):
    engine, _ = opened()
    before = len(tested.of(engine).calls)
    for text, edit in refused(direction).items():
        with pytest.raises(InputError) as raised, engine.editing(edit):
            pass
        assert text in str(raised.value) and "\n" not in str(raised.value)
        assert engine.edits_text == "none" and not engine._edits.parts
    assert len(tested.of(engine).calls) == before


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


def test_an_erasure_at_both_names_of_a_vector_may_stay_where_it_acts_last(opened, direction):
    engine, lens = opened()
    post, both = [Site(0, "resid_post")], (Site(0, "resid_post"), Site(1))
    ablate, add = Ablate(direction, at=both), Add(direction, strength=3.0, at=post[0])
    other = Ablate(direction.random_like(0), at=both)
    for edit in (ablate, add + ablate, PerRow((ablate, other, None, other))):
        with engine.editing(edit), lens.editing(edit):
            seen, expected = (m.residuals(PROMPTS, sites=post).tensor for m in (engine, lens))
        torch.testing.assert_close(seen, expected, **CLOSE)
    before = Ablate(direction, at=(Site(1),))
    for edit in (before, before + add, ablate + add, ablate + other):
        with engine.editing(edit), pytest.raises(InputError, match="can't be read while"):
            engine.residuals(PROMPTS, sites=post)


def test_wrong_calls_are_one_line(opened, direction, tested, tiny_folders):
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
        tested.load(tiny_folders["llama"], options={"enable_prefix_caching": True})
    with pytest.raises(InputError, match="tensor_parallel is 0"):
        tested.load(tiny_folders["llama"], tensor_parallel=0)


def test_a_direction_of_another_model_brings_a_warning(opened, direction):
    engine, _ = opened("qwen2")
    with pytest.warns(TransferWarning), engine.editing(Add(direction, alpha=1.0)):
        pass


def test_a_failed_request_is_named_and_the_others_are_kept(
    opened, three_categories, tested, monkeypatch
):
    engine, lens = opened()
    prompts = three_categories.first(2)
    monkeypatch.setattr(tested.fake, "faults", tested.faults(aborted=(1, 4)))
    with pytest.raises(EngineError) as raised:
        engine.generate_ids(prompts, SHORT)
    error, ids = raised.value, prompts.ids
    assert [*error.failed.values()] == [tested.aborted] * 2
    for name, row in zip(error.failed, (1, 4), strict=True):
        assert repr(ids[row]) in name and repr(ids[row]) in str(error)
    left = [row for row in range(len(prompts)) if row not in (1, 4)]
    assert [*error.finished] == left
    answers = lens.generate_ids(prompts, SHORT)
    assert [*error.finished.values()] == [answers[row] for row in left]
    for read in (engine.residuals, engine.residual_stats, engine.logits):
        with pytest.raises(EngineError, match="2 of 12 prompts failed"):
            read(prompts)


def test_a_request_that_stops_a_portion_takes_no_other_with_it(opened, tested, monkeypatch):
    engine, lens = opened()
    monkeypatch.setattr(tested.fake, "faults", tested.faults(longest=40))
    with pytest.raises(EngineError) as raised:
        engine.residuals(PROMPTS)
    (name,) = raised.value.failed
    assert name.startswith("prompt 2 of 4") and [*raised.value.finished] == [0, 2, 3]
    there = lens.residuals(PROMPTS).tensor
    for row, resid in raised.value.finished.items():
        torch.testing.assert_close(resid, there[row], **CLOSE)


def test_the_packages_are_named_where_they_are_missing(tested, tiny_folders, monkeypatch):
    monkeypatch.setitem(sys.modules, tested.missing, None)
    with pytest.raises(InputError, match=tested.extra):
        tested.load(tiny_folders["llama"])


@pytest.mark.parametrize("text", ["the engine stopped (CUDA error)", "of the templated prompt"])
def test_what_goes_wrong_in_every_request_names_each(opened, tested, monkeypatch, text):
    engine, _ = opened()
    faults = {"stops": "CUDA error"} if "CUDA" in text else {"adds_token": True}
    monkeypatch.setattr(tested.fake, "faults", tested.faults(**faults))
    with pytest.raises(EngineError) as raised:
        engine.residuals(PROMPTS)
    assert text in str(raised.value) and len(raised.value.failed) == len(PROMPTS)


def test_a_preempted_request_is_an_error_where_an_edit_counts_tokens(
    opened, direction, tested, monkeypatch
):
    engine, _ = opened()
    monkeypatch.setattr(tested.fake, "faults", tested.faults(preempts=True))
    with engine.editing(Add(direction, strength=1.0)), pytest.raises(EngineError) as raised:
        engine.generate(PROMPTS, SHORT)
    assert "it preempted the request" in str(raised.value)


def test_an_engine_that_ignores_edits_is_not_opened(tested, tiny_folders, monkeypatch):
    monkeypatch.setattr(tested.fake, "faults", tested.faults(ignores_edits=True))
    with pytest.raises(EngineError, match="does not show there"):
        tested.load(tiny_folders["llama"])
