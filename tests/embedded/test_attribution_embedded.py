"""Attribution on the planted model, against TransformerLens' own tools.

Projections of order 100 on streams of length 200: float32 sums over thirty blocks differed by at
most 3e-5; scores of order 10 by at most 2e-4 between a batch behind a cache and a pass alone.
"""

import pandas as pd
import pytest
import torch

from refusal_lens.attribution import (
    Anatomy,
    Placebo,
    attribution_patch,
    decompose,
    decompose_prompt,
    head_sites,
    head_sources,
    pairs_of,
    patch,
    patch_agreement,
    stream_sites,
    writer_sites,
)
from refusal_lens.directions import fit_mean_difference
from refusal_lens.judges.first_token import first_token_score
from refusal_lens.prompts.files import load_prompts
from refusal_lens.sites import Site

pytestmark = pytest.mark.slow
LAYER = 18
OPENINGS = ("My", "Please", "Unfortunately", "Sorry")


@pytest.fixture(scope="module")
def prompts():
    return load_prompts().only(split="train", category=["hate_speech", "unsupported"]).first(6)


@pytest.fixture(scope="module")
def directions(model, prompts):
    direction_set = fit_mean_difference(model.residual_stats(prompts, sites=[Site(LAYER)]))
    return [direction_set.at(c, LAYER) for c in prompts.categories]


@pytest.fixture(scope="module")
def metric(model):
    tokenizer = model.chat.tokenizer
    tokens = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in OPENINGS]
    return lambda logits: first_token_score(logits, tokens)


def test_the_difference_sums_to_the_directions_length(model, prompts, directions):
    decomposition = decompose(model, prompts, directions)
    assert decomposition.worst < 1e-6
    for d in directions:
        attribution = decomposition.attribution(d.category)
        assert abs(float(attribution.scores.sum()) - d.scale) < 1e-3 * d.scale
        # Nine heads and an MLP a block, no biases.
        assert len(attribution.components) == 1 + LAYER * 10


def test_equals_decompose_resid(model, prompts, directions):
    text, d = prompts.prompts[0].text, directions[0]
    attribution = decompose_prompt(model, text, d)
    ids = torch.tensor([model.chat.ids(text)])
    with torch.no_grad():
        _, cache = model.backend.model.run_with_cache(ids, prepend_bos=False)
    stack, labels = cache.decompose_resid(LAYER, return_labels=True, pos_slice=-1)
    theirs = dict(zip(labels, (stack.reshape(len(labels), -1) @ d.vector).tolist(), strict=True))
    heads, names = cache.stack_head_results(LAYER, return_labels=True, pos_slice=-1)
    by_head = dict(zip(names, (heads.reshape(len(names), -1) @ d.vector).tolist(), strict=True))
    assert len(by_head) == 9 * LAYER
    for c in attribution.components:
        name = f"{c.layer}_mlp_out" if c.kind == "MLP" else "embed"
        expected = by_head[c.name] if c.kind == "head" else theirs[name]
        assert abs(attribution.score_of(c) - expected) < 1e-3, c.name
    assert head_sources(model, text, d).residual < 1e-4


def test_equals_get_act_patch(model, prompts, metric):
    from transformer_lens import patching

    pair = pairs_of(model, prompts, most=1)[0]
    bridge = model.backend.model
    clean, corrupt = (torch.tensor([ids]) for ids in (pair.clean, pair.corrupt))
    n = clean.shape[1]
    layers, offsets = (14, 22), (-6, -1)
    cells = pd.DataFrame({"layer": [k for k in layers for _ in offsets], "pos": [n - 6, n - 1] * 2})
    with torch.no_grad():
        _, cache = bridge.run_with_cache(clean, prepend_bos=False)
        theirs = patching.get_act_patch_resid_pre(
            bridge,
            corrupt,
            cache,
            lambda logits: metric(logits[:, -1])[0],
            index_axis_names=None,
            index_df=cells,
        )
    patch_map = patch(model, [pair], stream_sites(layers, offsets), metric, placebo=Placebo(0))
    assert torch.allclose(patch_map.patched[0], theirs, atol=2e-3)
    assert (patch_map.patched[0] - patch_map.corrupt[0]).abs().max() > 1


def test_the_fast_version_agrees_with_patching(model, prompts, metric):
    pairs = pairs_of(model, prompts, most=1)
    sites = writer_sites(range(10, 30, 3)) + head_sites(Anatomy(model.backend), (15, 21))
    real = patch(model, pairs, sites, metric, placebo=Placebo(1))
    fast = attribution_patch(model, pairs, sites, metric)
    agreement = patch_agreement(fast, real).overall
    assert agreement.n == 2 and agreement.value > 0.7
    assert real.placebo_recovery.nan_to_num().abs().mean() < real.recovery.nan_to_num().abs().mean()
