"""Patching: recovery is that of a known circuit, of independent code, and of finite differences.

A patched pass runs behind a cache and in a batch: scores of order 1 to 10 differ from those of a
pass alone by at most 2e-6 (float32); 1e-4 is asserted.
"""

import pytest
import torch
from support.planted_circuit import HEAD, LAYER, metric, planted_model, planted_prompts

from refusal_lens.attribution.attribution_patching import (
    PatchAgreement,
    attribution_patch,
    patch_agreement,
)
from refusal_lens.attribution.components import Anatomy
from refusal_lens.attribution.pairs import Pair, pairs_of, refusal_metric, shared_offsets
from refusal_lens.attribution.patch_sites import (
    PatchSite,
    head_sites,
    stream_sites,
    writer_sites,
)
from refusal_lens.attribution.patching import PatchMap, Placebo, patch
from refusal_lens.errors import InputError
from refusal_lens.judges import ScoreTrust
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import load_record, save_record

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return planted_model(tmp_path_factory.mktemp("planted"))


def twins_of_equal_length():
    texts = ["Tell me", "How does a very long question about tides end?", "Why?"]
    return PromptSet(
        tuple(
            Prompt(f"{i}-{label}", f"{t} red{end}", "red", label, "train", "test", str(i))
            for i, t in enumerate(texts)
            for label, end in (("refuse", "! no"), ("comply", "? ok"))
        )
    )


def all_sites(model):
    layers = range(model.n_layers)
    heads = head_sites(Anatomy(model.backend), layers)
    return stream_sites(layers, model.chat.offsets) + writer_sites(layers) + heads


def test_only_the_planted_head_recovers_refusal(planted):
    pairs = pairs_of(planted, planted_prompts())
    sites = all_sites(planted)
    patch_map = patch(planted, pairs, sites, metric, placebo=Placebo(pairs=3))
    assert bool((patch_map.clean - patch_map.corrupt > 1).all())
    recovery = dict(zip(sites, patch_map.recovery.mean(0).tolist(), strict=True))
    for site, share in recovery.items():
        carried = (
            site == PatchSite("head", LAYER, None, HEAD)
            or site == PatchSite("attn_out", LAYER, None)
            or (site.point == "resid_pre" and site.layer > LAYER and site.offset == -1)
        )
        assert share == pytest.approx(1.0 if carried else 0.0, abs=1e-3), str(site)
    best = patch_map.estimates("red")[sites.index(PatchSite("head", LAYER, None, HEAD))]
    assert best.n == 4 and best.low > 0.99
    block = patch_map.estimates("red")[sites.index(PatchSite("attn_out", LAYER, None))]
    assert block.control is not None and abs(block.control) < 0.5  # a random vector says less
    assert bool(patch_map.placebo[3].isnan().all()) and not bool(
        patch_map.placebo[:3].isnan().any()
    )


def test_equals_patching_written_anew(tiny):
    """Each site alone, the whole benign prompt in one pass without cache or batch."""
    pairs = pairs_of(tiny, twins_of_equal_length())
    sites = [s for s in all_sites(tiny) if s.offset in (None, -1, -3)]
    offsets = tiny.chat.offsets
    patch_map = patch(tiny, pairs, sites, metric, placebo=Placebo(pairs=0))
    pair = pairs[1]
    clean, corrupt = (torch.tensor([ids]) for ids in (pair.clean, pair.corrupt))
    seen = {}

    def reader(name):
        def function(x, hook):
            seen[name] = x.detach().clone()

        return function

    def writer(site):
        def function(x, hook):
            x = x.clone()
            at = list(offsets) if site.offset is None else [site.offset]
            if site.head is None:
                x[:, at] = seen[site.hook_name][:, at]
            else:
                x[:, at, site.head] = seen[site.hook_name][:, at, site.head]
            return x

        return function

    def logits(ids, hooks):
        with torch.no_grad(), tiny.backend.hooks(hooks):
            return tiny.backend.forward(ids, torch.ones_like(ids)).logits[:, -1]

    logits(clean, [(s.hook_name, reader(s.hook_name)) for s in sites])
    changed = 0.0
    for s, site in enumerate(sites):
        expected = metric(logits(corrupt, [(site.hook_name, writer(site))]))[0]
        assert abs(float(expected - patch_map.patched[1, s])) < TOLERANCE, str(site)
        changed = max(changed, abs(float(expected - patch_map.corrupt[1])))
    assert changed > 0.05


def test_equals_transformer_lens_own_patching(tiny):
    from transformer_lens import patching

    pair = pairs_of(tiny, twins_of_equal_length())[0]
    model = tiny.backend.model
    clean, corrupt = (torch.tensor([ids]) for ids in (pair.clean, pair.corrupt))
    n = tiny.chat.n_post
    with torch.no_grad():
        _, cache = model.run_with_cache(clean, prepend_bos=False)

        def score(logits):
            return metric(logits[:, -1])[0]

        theirs = patching.get_act_patch_resid_pre(model, corrupt, cache, score)[:, -n:]
        mlp = patching.get_act_patch_mlp_out(model, corrupt, cache, score)[:, -1]
    layers, offsets = range(tiny.n_layers), tiny.chat.offsets
    ours = patch(tiny, [pair], stream_sites(layers, offsets), metric, placebo=Placebo(0))
    assert torch.allclose(ours.patched.reshape(3, n), theirs, atol=TOLERANCE)
    last = [PatchSite("mlp_out", k, -1) for k in layers]
    ours = patch(tiny, [pair], last, metric, placebo=Placebo(0))
    assert torch.allclose(ours.patched[0], mlp, atol=TOLERANCE)
    assert theirs.std() > 1e-3


def test_a_prompt_patched_with_itself_is_itself(tiny):
    pairs = [Pair(p.name, p.category, p.clean, p.clean) for p in pairs_of(tiny, planted_prompts(2))]
    patches = patch(tiny, pairs, all_sites(tiny), metric)
    assert (patches.patched - patches.corrupt[:, None]).abs().max() < TOLERANCE
    assert (patches.placebo - patches.corrupt[:, None])[:1].abs().max() < TOLERANCE  # length zero
    assert bool(patches.recovery.isnan().all())  # no gap: a share would mean nothing
    fast = attribution_patch(tiny, pairs, all_sites(tiny), metric)
    assert fast.estimate.abs().max() < TOLERANCE


def test_the_placebo_is_as_long_as_the_difference(tiny_llama):
    """The last MLP's write ends in the stream: what was patched in can be read there."""
    pair = pairs_of(tiny_llama, twins_of_equal_length())[0]
    written = []

    def watch(x, hook):
        written.append(x.detach()[:, -1].clone())

    with tiny_llama.backend.hooks([("blocks.2.hook_resid_post", watch)]):
        patch(tiny_llama, [pair], [PatchSite("mlp_out", 2, -1)], metric, placebo=Placebo(pairs=1))
    # Passes: the template unless it is kept from before, both prompts (clean, benign), the benign
    # prompt's beginning, patched, placebo.
    *_, both, _, patched, placebo = written
    real, random = patched[0] - both[1], placebo[0] - both[1]
    assert real.norm() > 1e-3
    assert abs(float(real.norm() - random.norm())) < TOLERANCE
    assert abs(float(torch.cosine_similarity(real, random, dim=0))) < 0.6


def test_unequal_pairs_are_compared_at_the_templates_end(tiny_llama, three_categories):
    pairs = pairs_of(tiny_llama, three_categories, equal_length=False, most=1)
    assert [p.equal_length for p in pairs] == [False] * 3
    sites = stream_sites((1, 2), (-1, -2))
    patch_map = patch(tiny_llama, pairs, sites, metric)
    assert all("template's end" in words for words in patch_map.alignment)
    assert patch_map.tokens == tuple(tiny_llama.chat.strings(tiny_llama.chat.post_ids))
    beyond = range(-tiny_llama.chat.n_post - 1, 0)
    with pytest.raises(InputError, match="take pairs of equal length"):
        patch(tiny_llama, pairs, sites, metric, offsets=beyond)
    with pytest.raises(InputError, match="take pairs of equal length"):
        patch(tiny_llama, pairs, stream_sites((1,), (-1,)), metric, offsets=(-40, -1))
    with pytest.raises(InputError, match="none of 15 pairs"):
        pairs_of(tiny_llama, three_categories)


def test_before_the_template_too(planted):
    """The mark's own token carries the difference at layers up to the head's, and none after."""
    pairs = pairs_of(planted, planted_prompts())[:2]
    n = planted.chat.n_post
    sites = stream_sites(range(3), (-n - 1,))
    patch_map = patch(planted, pairs, sites, metric, offsets=range(-n - 1, 0))
    assert torch.allclose(patch_map.recovery.mean(0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-3)
    assert patch_map.tokens[:2] == ("?", planted.chat.strings(planted.chat.post_ids)[0])
    whole = shared_offsets(planted, pairs)
    shortest = min(len(p.corrupt) for p in pairs)
    assert len(whole) == shortest - len(planted.chat.prefix_ids)
    patch_map = patch(planted, pairs, stream_sites((1,), whole), metric, offsets=whole)
    carried = torch.tensor([o == -n - 1 for o in whole]).float()
    assert torch.allclose(patch_map.recovery.mean(0), carried, atol=1e-3)
    assert patch_map.tokens[0] == "…"  # the prompts' own words differ


def test_attribution_patching_is_the_slope_of_patching(tiny):
    """Against patching a hundredth of the way there and back: their half difference."""
    from refusal_lens.attribution import patching as module

    pair = pairs_of(tiny, twins_of_equal_length())[0]
    sites = all_sites(tiny)
    fast = attribution_patch(tiny, [pair], sites, metric).estimate[0]
    value = module.value_at

    def score(step):
        def near(site, seen, row, offsets):
            clean, corrupt = (value(site, seen, k, offsets) for k in (0, 1))
            return corrupt + (step if row == 0 else 0) * (clean - corrupt)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, "value_at", near)
            return patch(tiny, [pair], sites, metric, placebo=Placebo(0)).patched[0]

    slope = (score(0.01) - score(-0.01)) / 0.02
    assert fast.abs().max() > 0.05
    assert torch.allclose(slope, fast, atol=5e-3)
    by_head = [i for i, s in enumerate(sites) if s.point == "head"]
    assert fast[by_head].abs().max() > 1e-2


def test_attribution_patching_is_patching_in_a_linear_model(tmp_path):
    model = planted_model(tmp_path, linear=True)
    pairs = pairs_of(model, planted_prompts())
    sites = all_sites(model)
    real = patch(model, pairs, sites, metric)
    fast = attribution_patch(model, pairs, sites, metric)
    change = real.patched - real.corrupt[:, None]
    assert change.abs().max() > 1
    assert torch.allclose(fast.estimate, change, atol=1e-3)
    agreement = patch_agreement(fast, real)
    assert agreement.overall.value == pytest.approx(1.0, abs=1e-5) and agreement.overall.n == 8
    assert agreement.by_category["tan"].n == 4 and agreement.n_sites == len(sites)
    save_record(agreement, tmp_path / "agreement")
    assert load_record(PatchAgreement, tmp_path / "agreement") == agreement
    with pytest.raises(InputError, match="differ in pairs.*same pairs, sites and offsets"):
        patch_agreement(fast, patch(model, pairs[:2], sites, metric))
    assert fast.estimates("tan")[0].n == 4


def test_gradients_are_on_only_inside(tiny_llama):
    pairs = pairs_of(tiny_llama, twins_of_equal_length())
    sites = writer_sites((1, 2))
    hooks = tiny_llama.backend.hook_count()
    for context, enabled in ((torch.no_grad, False), (torch.enable_grad, True)):
        with context():
            attribution_patch(tiny_llama, pairs, sites, metric)
            assert torch.is_grad_enabled() is enabled
    with torch.inference_mode():
        inside = attribution_patch(tiny_llama, pairs, sites, metric)
    assert not inside.estimate.requires_grad
    with pytest.raises(RuntimeError, match="half-way"):
        attribution_patch(tiny_llama, pairs, sites, _broken)
    assert torch.is_grad_enabled()
    assert tiny_llama.backend.hook_count() == hooks
    weights = tiny_llama.backend.model.parameters()
    assert all(w.grad is None for w in weights)


def _broken(logits):
    raise RuntimeError("half-way")


def test_a_map_is_saved_whole(planted, tmp_path):
    pairs = pairs_of(planted, planted_prompts(2))
    patch_map = patch(planted, pairs, writer_sites((1, 2)), metric)
    save_record(patch_map, tmp_path / "map")
    again = load_record(PatchMap, tmp_path / "map")
    assert again.sites == patch_map.sites and torch.equal(again.patched, patch_map.patched)
    assert again.estimates() == patch_map.estimates()


def test_what_cannot_be_patched_is_refused(planted):
    pairs = pairs_of(planted, planted_prompts(2))
    with pytest.raises(InputError, match="layers are 0 to 2"):
        patch(planted, pairs, writer_sites((3,)), metric)
    with pytest.raises(InputError, match="not among the patched offsets"):
        patch(planted, pairs, stream_sites((1,), (-40,)), metric)
    with pytest.raises(InputError, match="no site"):
        patch(planted, pairs, (), metric)
    trust = ScoreTrust((7,), ("x",), {}, {"red": "first token", "tan": "opening"}, {}, {}, {})
    assert refusal_metric(trust, ["red"])(torch.zeros(1, 300)).shape == (1,)
    with pytest.raises(InputError, match=r"\['tan'\]"):
        refusal_metric(trust, ["red", "tan"])
