"""Depth profiles, the component matrix and token maps.

Tolerance 1e-4: float32 logits and projections of order 10, computed along two routes.
"""

from dataclasses import replace
from importlib import import_module, metadata

import pytest
import torch
from support.planted_circuit import (
    HEAD,
    LAYER,
    REFUSAL,
    metric,
    planted_direction,
    planted_model,
    planted_prompts,
)

from refusal_lens.attribution import (
    Component,
    ComponentMatrix,
    DepthProfile,
    component_matrix,
    decompose,
    depth_profile,
    logit_lens,
    probe_layers,
    promoted_tokens,
    token_map,
    token_maps,
)
from refusal_lens.attribution.logit_lens import LensProfile, stream_logits
from refusal_lens.attribution.probe import ProbeProfile
from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.model import Decoding
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, load_record, save_record
from refusal_lens.selection import Candidate, LayerCurve
from refusal_lens.sites import Site

TOLERANCE = 1e-4
lens_module = import_module("refusal_lens.attribution.logit_lens")  # the package shows a function


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return planted_model(tmp_path_factory.mktemp("planted"))


def attributions(model, prompts, layer=2):
    fitted = fit_mean_difference(model.residual_stats(prompts))
    directions = [fitted.at(c, layer) for c in prompts.categories]
    whole = decompose(model, prompts, directions)
    return [whole.attribution(c) for c in prompts.categories]


def test_reading_out_the_last_layer_is_the_models_answer(tiny, three_categories):
    last = Site(tiny.n_layers - 1, "resid_post")
    resid = tiny.residuals(three_categories, sites=[last]).tensor[:, 0, 0]
    assert (stream_logits(tiny, resid) - tiny.logits(three_categories)).abs().max() < TOLERANCE
    profile = logit_lens(tiny, three_categories, metric)
    scores = metric(tiny.logits(three_categories))
    reds = torch.tensor([p.category == "red" and p.label == "refuse" for p in three_categories])
    assert abs(float(profile.mean[-1, 0, 0] - scores[reds].mean())) < TOLERANCE
    assert profile.mean.shape == (tiny.n_layers + 1, 3, 2) and profile.count.sum() == 30
    assert bool((profile.low < profile.high)[1:].all())


def test_reading_out_equals_transformer_lens_own(tiny):
    if int(metadata.version("transformer_lens").split(".")[0]) < 4:
        pytest.skip("logit_readout came with TransformerLens 4")
    from transformer_lens.tools.analysis import logit_readout

    x = torch.randn(5, tiny.d_model, generator=torch.Generator().manual_seed(0))
    theirs = logit_readout(tiny.backend.model, x, top_k=3)
    ours = stream_logits(tiny, x).topk(3)
    assert torch.allclose(theirs.values, ours.values, atol=TOLERANCE)


def test_a_lens_that_does_not_fit_is_refused(tiny_llama, three_categories, monkeypatch):
    plain = lens_module.stream_logits
    monkeypatch.setattr(lens_module, "stream_logits", lambda model, x: 2 * plain(model, x))
    with pytest.raises(InputError, match="the logit lens does not fit it"):
        logit_lens(tiny_llama, three_categories, metric)


def test_the_lens_sees_refusal_from_the_planted_layer_on(planted):
    profile = logit_lens(planted, planted_prompts(), metric)
    gap = profile.mean[..., 0] - profile.mean[..., 1]
    assert gap[: LAYER + 1].abs().max() < 1e-4
    assert gap[LAYER + 1 :].min() > 1


def test_the_planted_direction_promotes_the_refusal_token(planted):
    promoted = promoted_tokens(planted, planted_direction(planted), most=3)
    assert promoted.raised[0] == planted.chat.strings([REFUSAL])[0]
    assert promoted.raised_by[0] > 2 * promoted.control > 0
    assert list(promoted.raised_by) == sorted(promoted.raised_by, reverse=True)
    assert promoted.lowered_by[0] < 0


def test_the_probe_finds_the_held_out_category_only_where_it_is_written(planted):
    prompts = planted_prompts(6)
    profile = probe_layers(planted, prompts)
    for category in prompts.categories:
        assert profile.accuracy(2, category).value == 1.0
        assert profile.accuracy(2, category).n == 12
        # Before the head has written, the two sides are the same vectors: one guess for both.
        assert profile.accuracy(1, category).value == 0.5
    assert bool((profile.direction_hits[2] == 12).all())
    assert int(profile.shuffled_hits[2].sum()) < 24


def test_the_probe_never_sees_the_held_out_category(planted):
    """With that category's labels turned round, the probe, fitted on the other, is always wrong."""
    other = {"refuse": "comply", "comply": "refuse"}
    turned = PromptSet(
        tuple(
            replace(p, label=other[p.label]) if p.category == "tan" else p
            for p in planted_prompts(6)
        )
    )
    profile = probe_layers(planted, turned, layers=[2])
    assert profile.hits.tolist() == [[0, 0]]
    one_side = tuple(p for p in turned if (p.category, p.label) != ("red", "refuse"))
    with pytest.raises(InputError, match="one side only"):
        probe_layers(planted, PromptSet(one_side))
    with pytest.raises(InputError, match="not fitted on"):
        probe_layers(planted, turned.only(category="red"))


def test_a_profile_holds_what_was_measured(planted, tmp_path):
    prompts = planted_prompts()
    attribution = attributions(planted, prompts)[0]
    e = Estimate(1.0, 0.5, 1.5, 4, "test", -2.0)
    steering = LayerCurve("pooled", (Candidate(2, -1, e, e, e),))
    profile = depth_profile(
        "red",
        probe=probe_layers(planted, prompts, layers=[0, 2]),
        lens=logit_lens(planted, prompts, metric),
        attribution=attribution,
        promoted=promoted_tokens(planted, planted_direction(planted)),
        steering=steering,
    )
    assert profile.decodable[2] == 1.0 and bool(profile.decodable[1].isnan())
    assert profile.ablation[2] == 1.0 and profile.addition_control[2] == -2.0
    assert bool(profile.ablation[:2].isnan().all())
    assert profile.heads[LAYER] == pytest.approx(attribution.total, abs=1e-4)
    assert profile.heads[0] == 0 and bool(profile.heads[2].isnan())  # above what is attributed
    assert profile.lens_refuse[2] - profile.lens_comply[2] > 1
    assert profile.n == (8, 4, 4)
    save_record(profile, tmp_path / "red")
    again = load_record(DepthProfile, tmp_path / "red")
    assert again.promoted == profile.promoted and torch.equal(again.heads[:2], profile.heads[:2])
    for cls, record in (
        (ProbeProfile, probe_layers(planted, prompts, layers=[2])),
        (LensProfile, logit_lens(planted, prompts, metric)),
    ):
        save_record(record, tmp_path / cls.__name__)
        assert load_record(cls, tmp_path / cls.__name__).categories == record.categories
    with pytest.raises(InputError, match="was not measured"):
        depth_profile(
            "tan",
            probe=probe_layers(planted, prompts, layers=[2]),
            lens=logit_lens(planted, prompts, metric),
            attribution=attribution,
            promoted=profile.promoted,
        )


def test_the_planted_head_serves_every_category(planted, tmp_path):
    matrix = component_matrix(attributions(planted, planted_prompts()))
    assert matrix.serving(2) == (Component(LAYER, "head", HEAD),)
    assert matrix.serving(1, 1) == ()
    assert torch.allclose(matrix.share.sum(1), torch.ones(2).double(), atol=1e-5)
    assert matrix.similarity[0, 1] == pytest.approx(1.0, abs=1e-5)
    save_record(matrix, tmp_path / "matrix")
    assert load_record(ComponentMatrix, tmp_path / "matrix").serves() == matrix.serves()


def test_rows_are_the_attributions_and_must_fit(tiny_llama, three_categories):
    per_category = attributions(tiny_llama, three_categories)
    matrix = component_matrix(per_category)
    for i, a in enumerate(per_category):
        assert torch.allclose(matrix.share[i] * matrix.total[i], a.scores)
    only = {c: k for c, k in matrix.serves().items() if len(k) == 1}
    assert set(matrix.serving(1, 1)) == set(only)
    with pytest.raises(InputError, match="can't be compared with"):
        component_matrix([per_category[0], attributions(tiny_llama, three_categories, layer=1)[1]])
    with pytest.raises(InputError, match="two or more different"):
        component_matrix([per_category[0], per_category[0]])
    ours = per_category[1].provenance
    theirs = replace(per_category[1], provenance=replace(ours, model_digest="other weights"))
    with pytest.raises(InputError, match="weights other weight.*expected one model"):
        component_matrix([per_category[0], theirs])  # of one name, as two folders may be


def test_mean_shares_are_those_of_the_summed_rows(tiny_llama, three_categories):
    per_category = attributions(tiny_llama, three_categories)
    matrix = component_matrix(per_category)
    halved = {a.category: replace(a, scores=a.scores / 2) for a in per_category}
    shares = matrix.mean_shares(halved)
    assert {c.kind for c in shares} == {"head", "MLP"}
    k = len(per_category)
    for i, part in enumerate(matrix.components):
        if part not in shares:
            continue
        e = shares[part]
        rows = matrix.share[:, i]
        assert e.value == pytest.approx(float(rows.sum()) / k) and e.n == sum(matrix.n)
        assert e.control == pytest.approx(e.value / 2)
        errors = matrix.high[:, i] - rows
        # Means of independent categories: errors add in quadrature.
        assert e.high - e.value == pytest.approx(float((errors**2).sum() ** 0.5) / k)
        assert e.value - e.low == pytest.approx(e.high - e.value)
    del halved[per_category[0].category]
    assert {e.control for e in matrix.mean_shares(halved).values()} == {None}


def test_maps_stand_side_by_side_and_go_on_into_the_answer(tiny, three_categories):
    directions = fit_mean_difference(tiny.residual_stats(three_categories))
    prompt = three_categories.prompts[2]
    (answer,) = tiny.generate_ids([prompt.text], Decoding(max_new_tokens=5))
    maps = token_maps(tiny, prompt, directions, ["red", "blue"], answer=answer)
    alone = token_map(tiny, prompt, directions, "blue")
    n = len(alone.tokens)
    assert [m.category for m in maps] == ["red", "blue"]
    assert maps[1].positions == (*alone.positions, *range(len(answer)))
    assert maps[1].tokens[n:] == tuple(tiny.chat.strings(answer))
    # The answer changes nothing before it (layer 0 has no direction).
    assert torch.allclose(maps[1].coordinate[1:, :n], alone.coordinate[1:], atol=TOLERANCE)
    # An answer's token is what a pass over prompt and answer shows there.
    ids = torch.tensor([(*tiny.chat.ids(prompt), *answer)])
    seen = {}

    def keep(x, hook):
        seen["x"] = x.detach().clone()

    with torch.no_grad(), tiny.backend.hooks([(Site(2).hook_name, keep)]):
        tiny.backend.forward(ids, torch.ones_like(ids))
    d = directions.at("red", 2)
    expected = (seen["x"][0, -1] @ d.vector - d.low) / (d.high - d.low)
    assert abs(float(expected - maps[0].coordinate[2, -1])) < 1e-3
    with pytest.raises(InputError, match="no direction of 'grey'"):
        token_maps(tiny, prompt, directions, ["grey"])
