"""The correctness gates, on every architecture and implementation.

`blocks` is a model of each, and of four further kinds of block: hybrids, experts, layer scalars,
two mixers (slow: most of it is generation without a shared prefix).

Tolerance 1e-4 on streams and logits of order 10 to 100: two orders of summation of the same
float32 numbers differed by at most 6e-6 between batches, and by at most 2.7e-5 between Hugging
Face and HookedTransformer, which multiplies in another order. The smallest change that an edit is
asserted to make is 1e-3. Greedy answers must be equal up to a step whose two best logits are
nearer than the tolerance; on these models no step is.
"""

import pytest
import torch
from support.directions import a_direction

from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate, Add
from refusal_lens.model import Decoding, load_model
from refusal_lens.sites import Site, block_inputs

TOLERANCE = 1e-4


def edit_cases(model):
    d = a_direction(model)
    return {"none": (), "ablate": (Ablate(d),), "add": (Add(d, strength=1.0),)}


def test_batch_equals_single(blocks, three_categories):
    for edits in edit_cases(blocks).values():
        with blocks.editing(*edits):
            together = blocks.logits(three_categories)
            resid = blocks.residuals(three_categories).tensor
            for i, p in enumerate(three_categories):
                assert (blocks.logits([p.text])[0] - together[i]).abs().max() < TOLERANCE
                assert (blocks.residuals([p.text]).tensor[0] - resid[i]).abs().max() < TOLERANCE


def test_answers_do_not_depend_on_company(blocks, three_categories):
    decoding = Decoding(max_new_tokens=12)
    together = blocks.generate_ids(three_categories, decoding)
    alone = [blocks.generate_ids([p.text], decoding)[0] for p in three_categories]
    assert together == alone
    assert len(set(together)) > 1


def test_cache_on_equals_cache_off(blocks, three_categories):
    for edits in edit_cases(blocks).values():
        with blocks.editing(*edits):
            cached = blocks.generate_ids(three_categories, Decoding(max_new_tokens=12))
            whole = blocks.generate_ids(
                three_categories, Decoding(max_new_tokens=12, use_cache=False)
            )
        assert cached == whole


def test_edits_change_answers(blocks, three_categories):
    answers = {}
    for name, edits in edit_cases(blocks).items():
        with blocks.editing(*edits):
            answers[name] = blocks.generate_ids(three_categories, Decoding(max_new_tokens=12))
    assert answers["none"] != answers["ablate"]
    assert answers["none"] != answers["add"]


def test_samples_are_seeded_and_alone(tiny, three_categories):
    hot = Decoding(max_new_tokens=12, temperature=2.0, seed=3)
    first = tiny.generate_ids(three_categories, hot)
    assert first == tiny.generate_ids(three_categories, hot)
    other = Decoding(max_new_tokens=12, temperature=2.0, seed=4)
    assert first != tiny.generate_ids(three_categories, other)


@pytest.mark.parametrize("kind", ["ablate", "add"])
def test_leaving_an_edit_leaves_nothing(blocks, three_categories, kind):
    before = blocks.logits(three_categories)
    hooks = blocks.backend.hook_count()
    with pytest.raises(RuntimeError, match="half-way"), blocks.editing(*edit_cases(blocks)[kind]):
        assert blocks.backend.hook_count() > hooks
        assert (blocks.logits(three_categories) - before).abs().max() > 1e-3
        raise RuntimeError("half-way")
    assert blocks.backend.hook_count() == hooks
    assert torch.equal(blocks.logits(three_categories), before)


def test_a_bad_site_leaves_nothing(blocks):
    hooks = blocks.backend.hook_count()
    d = a_direction(blocks)
    for site, words in ((Site(9), "beyond this model"), (Site(1, "resid_mid"), "attn_out")):
        edits = blocks.editing(Ablate(d), Add(d, strength=1.0, at=site))
        with pytest.raises(InputError, match=words), edits:
            pass
    assert blocks.backend.hook_count() == hooks
    assert blocks.edits_text == "none"


def test_strength_zero_changes_nothing(blocks, three_categories):
    before = blocks.logits(three_categories)
    with blocks.editing(Add(a_direction(blocks), strength=0.0)):
        assert torch.equal(blocks.logits(three_categories), before)


def test_ablation_keeps_the_direction_out_of_every_layer(blocks, three_categories):
    d = a_direction(blocks)
    plain = blocks.residuals(three_categories, offsets=blocks.chat.offsets).tensor
    with blocks.editing(Ablate(d)):
        resid = blocks.residuals(three_categories, offsets=blocks.chat.offsets).tensor
        last = blocks.residuals(
            three_categories, sites=[Site(blocks.n_layers - 1, "resid_post")]
        ).tensor
    assert (plain @ d.vector).abs().max() > 0.1
    assert (resid @ d.vector).abs().max() < TOLERANCE
    assert (last @ d.vector).abs().max() < TOLERANCE


def test_addition_shifts_its_site_by_its_length_and_nothing_below(blocks, three_categories):
    d = a_direction(blocks, layer=1, scale=3.0)
    plain = blocks.residuals(three_categories).tensor
    with blocks.editing(Add(d, strength=2.0)):
        resid = blocks.residuals(three_categories).tensor
    shift = ((resid - plain) @ d.vector)[:, 0]
    assert torch.equal(resid[:, :, 0], plain[:, :, 0])
    assert torch.allclose(shift[:, 1], torch.full_like(shift[:, 1], 6.0), atol=1e-4)
    assert (resid - plain)[:, :, 2].abs().max() > 0.1


def test_equals_hugging_face(blocks, three_categories, hugging_face, request):
    architecture = request.node.callspec.params["blocks"][0]
    model, _ = hugging_face(architecture)
    logits = blocks.logits(three_categories)
    resid = blocks.residuals(three_categories, offsets=blocks.chat.offsets).tensor
    for i, p in enumerate(three_categories):
        ids = torch.tensor([blocks.chat.ids(p)])
        with torch.no_grad():
            out = model(ids, output_hidden_states=True)
        assert (out.logits[0, -1] - logits[i]).abs().max() < TOLERANCE
        for layer in range(blocks.n_layers):
            hidden = out.hidden_states[layer][0, -blocks.chat.n_post :]
            assert (hidden - resid[i, :, layer]).abs().max() < TOLERANCE


def test_statistics_equal_naive_concatenation(blocks, three_categories):
    stats = blocks.residual_stats(three_categories)
    resid = blocks.residuals(three_categories, offsets=blocks.chat.offsets).tensor.double()
    sides = {"refuse": 0, "comply": 1}
    for c, category in enumerate(stats.categories):
        chosen = {
            label: torch.stack(
                [
                    resid[i]
                    for i, p in enumerate(three_categories)
                    if p.category == category and p.label == label
                ]
            )
            for label in sides
        }
        for label, k in sides.items():
            assert torch.allclose(stats.total[c, k], chosen[label].sum(0), atol=1e-4)
            assert torch.allclose(
                stats.sq_norm[c, k], chosen[label].square().sum((0, 3)), rtol=1e-4, atol=1e-4
            )
        d = chosen["refuse"] - chosen["comply"]
        assert torch.allclose(stats.pair_sq[c], d.square().sum((0, 3)), rtol=1e-3, atol=1e-4)
        assert stats.n_pairs[c] == len(d)


def test_answer_log_probs_equal_step_by_step(blocks, three_categories):
    answers = blocks.generate_ids(three_categories, Decoding(max_new_tokens=3, temperature=1.0))
    prompts = [p.text for p, a in zip(three_categories, answers, strict=True) if a]
    answers = [a for a in answers if a]
    whole = blocks.answer_log_probs(prompts, answers)
    first = blocks.logits(prompts).log_softmax(-1)
    one = blocks.answer_log_probs(prompts, [a[:1] for a in answers])
    chosen = torch.stack([row[a[0]] for row, a in zip(first, answers, strict=True)])
    assert torch.allclose(one, chosen, atol=1e-4)
    assert bool((whole <= one + 1e-6).all())


def test_layer_zero_is_undefined(tiny, three_categories):
    from refusal_lens.directions import fit_mean_difference

    directions = fit_mean_difference(tiny.residual_stats(three_categories))
    defined = directions.defined()
    assert not defined[:, :, 0].any()
    assert defined[:, :, 1:].all()
    with pytest.raises(InputError, match="undefined"):
        directions.at("red", 0)


def test_the_template_is_applied_once(tiny):
    text = "Name two"
    rendered = tiny.chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
    )
    once = tiny.chat.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    fed = []

    def watch(resid, hook):
        fed.append(resid.shape[1])

    with tiny.editing(), tiny.backend.hooks([(Site(0).hook_name, watch)]):
        tiny.logits([text])
    assert tiny.chat.ids(text) == tuple(once)
    assert sum(fed) == len(once)
    assert once.count(tiny.chat.tokenizer.bos_token_id) == rendered.count("<|im_start|>")


def test_block_inputs_are_the_default_sites(tiny, three_categories):
    assert tiny.residual_stats(three_categories).sites == block_inputs(tiny.n_layers)


def test_unknown_model_is_an_input_error():
    with pytest.raises(InputError, match="can't be loaded|holds no config"):
        load_model("/nowhere/at/all")
