"""Attribution: the parts sum to the stream, equal TransformerLens' own, and predict removal.

Float32 streams of length about 10 on the tiny models: the parts are summed in float64, the stream
by the model, and the two differed by at most 2e-7 of its length; the bound of 1e-5 is asserted by
the code itself. Comparisons with TransformerLens' float32 sums use 1e-4.
"""

from dataclasses import replace
from importlib import metadata

import pytest
import torch
from support.planted_circuit import HEAD, LAYER, planted_direction, planted_model, planted_prompts
from support.tiny_architectures import SIZES, TINY, tiny_config
from support.tiny_models import write_tiny
from transformers import (
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MixtralConfig,
    Olmo2Config,
    Qwen3_5TextConfig,
)

from refusal_lens.attribution import (
    Attribution,
    Component,
    Decomposition,
    decompose,
    decompose_prompt,
    head_sources,
    mlp_neurons,
)
from refusal_lens.attribution.components import Anatomy
from refusal_lens.directions import Direction, fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate
from refusal_lens.model import load_model
from refusal_lens.placement import Placement
from refusal_lens.prompts import PromptSet
from refusal_lens.records import load_record, save_record
from refusal_lens.sites import Site


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return planted_model(tmp_path_factory.mktemp("planted"))


def directions_of(model, prompts, layers=(1, 2), offsets=(-1, -3)):
    directions = fit_mean_difference(model.residual_stats(prompts))
    return [directions.at(c, n, o) for c in prompts.categories for n in layers for o in offsets]


def random_direction(model, site, offset=-1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Direction.from_difference(
        torch.randn(model.d_model, generator=generator),
        category="random",
        site=site,
        offset=offset,
        provenance=model.provenance(),
        low=0.0,
    )


def capture(model, prompt, names, write=()):
    """Every position of one prompt at the hook points, in one pass without a shared prefix."""
    seen = {}

    def reader(name):
        def function(x, hook):
            seen[name] = x.detach().clone()

        return function

    ids = torch.tensor([model.chat.ids(prompt)])
    with torch.no_grad(), model.backend.hooks([*write, *((n, reader(n)) for n in names)]):
        model.backend.forward(ids, torch.ones_like(ids))
    return seen


def test_parts_sum_to_the_cached_stream(tiny, three_categories):
    directions = directions_of(tiny, three_categories)
    directions += [
        random_direction(tiny, Site(n, point), offset)
        for n, point in ((2, "resid_pre"), (1, "resid_mid"), (2, "resid_post"))
        for offset in (-1, -2)
    ]
    decomposition = decompose(tiny, three_categories, directions)
    assert decomposition.worst < 1e-5
    for k, d in enumerate(directions):
        resid = tiny.residuals(three_categories, sites=[d.site], offsets=[d.offset]).tensor[:, 0, 0]
        projection = (resid @ d.vector).double()
        for c, category in enumerate(decomposition.categories):
            for side, label in enumerate(("refuse", "comply")):
                mask = [p.category == category and p.label == label for p in three_categories]
                expected = projection[torch.tensor(mask)].mean()
                assert abs(decomposition.total[k, c, side] - expected) < 1e-4
                assert abs(decomposition.mean[k, c, side].nansum() - expected) < 1e-4


def test_class_difference_sums_to_the_directions_own_length(tiny, three_categories):
    for d in directions_of(tiny, three_categories):
        attribution = decompose(tiny, three_categories, [d]).attribution(d.category)
        assert abs(float(attribution.scores.sum()) - d.scale) < 1e-4
        assert abs(attribution.residual) < 1e-4
        assert d.scale > 0.1


def test_heads_equal_transformer_lens_own(tiny, three_categories):
    """W_O applied by TransformerLens (hook_result) and decompose_resid give the same parts."""
    model = tiny.backend.model
    d = random_direction(tiny, Site(2))
    text = three_categories.prompts[3].text
    attribution = decompose_prompt(tiny, text, d)
    ids = torch.tensor([tiny.chat.ids(text)])
    with torch.no_grad():
        _, cache = model.run_with_cache(ids, prepend_bos=False)
    stack, labels = cache.decompose_resid(2, return_labels=True, pos_slice=-1)
    layers = dict(zip(labels, (stack.reshape(len(labels), -1) @ d.vector).tolist(), strict=True))
    for n in range(2):
        assert abs(layers[f"{n}_mlp_out"] - attribution.score_of(Component(n, "MLP"))) < 1e-4
        heads = sum(attribution.score_of(Component(n, "head", h)) for h in range(4))
        assert abs(layers[f"{n}_attn_out"] - heads) < 1e-4
    if Anatomy(tiny.backend).scale(0, "attn") is not None:
        return  # hook_result stands before the post-norm, which only our parts go through
    heads, labels = cache.stack_head_results(2, return_labels=True, pos_slice=-1)
    for label, value in zip(
        labels, (heads.reshape(len(labels), -1) @ d.vector).tolist(), strict=True
    ):
        layer, head = label[1:].split("H")
        ours = attribution.score_of(Component(int(layer), "head", int(head)))
        assert abs(value - ours) < 1e-4


def test_removing_a_head_takes_away_its_share(tiny, three_categories):
    """With post-norm scales held, zeroing a head right below the target removes its score."""
    d = random_direction(tiny, Site(1, "resid_mid"))
    text = three_categories.prompts[1].text
    attribution = decompose_prompt(tiny, text, d)
    anatomy = Anatomy(tiny.backend)
    scale = anatomy.scale(1, "attn")
    frozen_scale = capture(tiny, text, [scale])[scale] if scale else None

    def without(x, hook):
        x = x.clone()
        x[:, :, 2] = 0
        return x

    write = [(anatomy.z(1), without)]
    if scale:
        write.append((scale, lambda x, hook: frozen_scale))
    removed = capture(tiny, text, [d.site.hook_name], write)[d.site.hook_name][0, -1] @ d.vector
    share = attribution.score_of(Component(1, "head", 2))
    assert abs(share) > 1e-3
    assert abs(float(removed) - (attribution.total - share)) < 1e-4


def test_only_the_planted_head_writes(planted):
    prompts = planted_prompts()
    d = planted_direction(planted)
    attribution = decompose(planted, prompts, [d]).attribution("red")
    strongest, *others = attribution.writers()
    assert strongest == Component(LAYER, "head", HEAD)
    assert attribution.score_of(strongest) > 1.0
    assert abs(attribution.total - attribution.score_of(strongest)) < 1e-5
    assert all(attribution.score_of(c) == 0 for c in others)
    assert attribution.low[attribution.components.index(strongest)] > 0
    assert attribution.n == 4


def test_biases_have_their_own_parts(tiny, three_categories):
    """A bias put onto an output matrix is a part of its own, and the sum stays exact."""
    anatomy = Anatomy(tiny.backend)
    plain = decompose(tiny, three_categories, [random_direction(tiny, Site(2))])
    assert all("bias" not in c.kind for c in plain.components)
    block = tiny.backend.model.blocks[1]
    bias = torch.linspace(-1, 1, tiny.d_model)
    if anatomy.bias(1, "attn") is not None:
        pytest.skip("this architecture has a bias already")
    out = getattr(block.attn, "o", None)
    if out is None:
        block.attn.b_O.data.copy_(bias)
    else:
        out.original_component.bias = torch.nn.Parameter(bias, requires_grad=False)
    try:
        decomposition = decompose(tiny, three_categories, [random_direction(tiny, Site(2))])
    finally:
        if out is None:
            block.attn.b_O.data.zero_()
        else:
            out.original_component.bias = None
    c = decomposition.components.index(Component(1, "attention bias"))
    score = decomposition.mean[0, :, :, c]
    assert decomposition.worst < 1e-5
    if anatomy.scale(1, "attn") is None:
        expected = bias @ random_direction(tiny, Site(2)).vector
        assert torch.allclose(score, expected.double().expand_as(score), atol=1e-6)
    else:
        assert score.std() > 0  # the post-norm divides each token's write by its own number


def test_the_interval_is_that_of_the_pair_differences(tiny_llama, three_categories):
    d = random_direction(tiny_llama, Site(2))
    reds = three_categories.only(category="red")
    attribution = decompose(tiny_llama, reds, [replace(d, category="red")]).attribution("red")
    each = {
        p.id: decompose_prompt(tiny_llama, p.text, d).score_of(Component(1, "MLP")) for p in reds
    }
    pairs = [each[f"red-{i}-refuse"] - each[f"red-{i}-comply"] for i in range(5)]
    values = torch.tensor(pairs, dtype=torch.float64)
    half = 2.7764451 * values.std() / 5**0.5  # t(.975, 4)
    i = attribution.components.index(Component(1, "MLP"))
    assert abs(attribution.scores[i] - values.mean()) < 1e-5
    assert abs((attribution.high[i] - attribution.low[i]) / 2 - half) < 1e-5
    unpaired = PromptSet(tuple(replace(p, pair=None) for p in reds))
    loose = decompose(tiny_llama, unpaired, [replace(d, category="red")]).attribution("red")
    assert torch.allclose(loose.scores, attribution.scores)
    assert not torch.allclose(loose.low, attribution.low)


def test_batches_and_order_change_nothing(tiny_llama, three_categories, monkeypatch):
    directions = directions_of(tiny_llama, three_categories)
    whole = decompose(tiny_llama, three_categories, directions)
    monkeypatch.setattr(tiny_llama.rows, "most", 4)
    small = decompose(tiny_llama, three_categories, directions)
    assert torch.allclose(whole.mean, small.mean, atol=1e-5, equal_nan=True)
    assert torch.allclose(whole.error, small.error, atol=1e-5, equal_nan=True)


def test_a_decomposition_is_saved_whole(tiny_llama, three_categories, tmp_path):
    decomposition = decompose(
        tiny_llama, three_categories, directions_of(tiny_llama, three_categories)
    )
    save_record(decomposition, tmp_path / "found")
    again = load_record(Decomposition, tmp_path / "found")
    assert again.components == decomposition.components and again.targets == decomposition.targets
    assert torch.equal(again.mean.nan_to_num(-7), decomposition.mean.nan_to_num(-7))
    one = decomposition.attribution("red", category="green", site=Site(2), offset=-3)
    assert (one.target.site, one.target.offset) == (Site(2), -3)
    with pytest.raises(InputError, match="names 4 of the directions"):
        decomposition.attribution("red")
    save_record(one, tmp_path / "one")
    assert torch.equal(load_record(Attribution, tmp_path / "one").scores, one.scores)


def test_what_cannot_be_attributed_is_refused(tiny_llama, three_categories):
    d = random_direction(tiny_llama, Site(2))
    with pytest.raises(InputError, match="one writer's output"):
        decompose(tiny_llama, three_categories, [random_direction(tiny_llama, Site(1, "mlp_out"))])
    refused = pytest.raises(InputError, match="not the sum of what its components write")
    with refused, tiny_llama.editing(Ablate(d)):
        decompose(tiny_llama, three_categories, [d])
    with pytest.raises(InputError, match="before the prompt's own tokens"):
        decompose(tiny_llama, three_categories, [replace(d, offset=-400)])
    with pytest.raises(InputError, match="names 0 of the directions"):
        decompose(tiny_llama, three_categories, [d]).attribution("red")
    with pytest.raises(InputError, match="'grey' was not decomposed"):
        decompose(tiny_llama, three_categories, [d]).attribution("random", category="grey")


def test_a_stream_that_is_not_the_sum_is_refused(tiny_llama, three_categories, monkeypatch):
    """If a head's matrix were read wrongly, the remainder would tell."""
    monkeypatch.setattr(Anatomy, "heads", lambda self, n: 1.01 * torch.ones(4, 8, 32).double())
    with pytest.raises(InputError, match="don't sum to the stream"):
        decompose(tiny_llama, three_categories, [random_direction(tiny_llama, Site(2))])


def test_no_hook_remains(tiny_llama, three_categories):
    before = tiny_llama.backend.hook_count()
    logits = tiny_llama.logits(three_categories)
    decompose(tiny_llama, three_categories, [random_direction(tiny_llama, Site(2))])
    assert tiny_llama.backend.hook_count() == before
    assert torch.equal(tiny_llama.logits(three_categories), logits)


def test_half_precision_adds_up_to_its_rounding(tiny_folders, three_categories):
    """bfloat16 keeps 8 bits: 2e-3 of the stream's length was seen over six writes."""
    for name in ("llama", "gemma2"):
        placement = Placement(dtype="bfloat16", device="cpu")
        model = load_model(str(tiny_folders[name]), placement=placement)
        decomposition = decompose(model, three_categories, [random_direction(model, Site(2))])
        assert 1e-6 < decomposition.worst < 1e-2


SMALL = {k: v for k, v in SIZES.items() if k != "head_dim"}
GPT2_SIZES = {
    "vocab_size": 300,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 512,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
OTHERS = {
    "biases everywhere": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "norms before and after": Gemma3TextConfig(
        **SIZES, query_pre_attn_scalar=8, sliding_window=256
    ),
    "norms after only": Olmo2Config(**SMALL),
    "LayerNorm and learned positions": GPT2Config(**GPT2_SIZES),
    "experts": MixtralConfig(**SIZES, num_local_experts=4),
    "a factor on what is written": GraniteConfig(**SMALL, residual_multiplier=0.4),
    "a factor and experts": tiny_config("Granite MoE"),
    "scalars on the stream": tiny_config("Gemma 4 (text)"),
    "a norm over the heads": tiny_config("BitNet"),
    "values from a latent": tiny_config("DeepSeek 3"),
    "a hybrid with gated heads": Qwen3_5TextConfig(
        **TINY["Qwen3.5"][1] | {"layer_types": ["full_attention", "linear_attention"] * 2}
    ),
}
MIXERS = ("JetMoE", "Mamba 2", "Falcon-H1", "Granite hybrid, MoE", "LFM2")


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_add_up_too(kind, tmp_path, three_categories):
    placement = Placement(dtype="float32", device="cpu")
    model = load_model(str(write_tiny(tmp_path, OTHERS[kind])), placement=placement)
    weights = model.backend.model.original_model.named_parameters()
    for i, bias in enumerate(w for name, w in weights if name.endswith("bias")):
        bias.data.normal_(generator=torch.Generator().manual_seed(i))
    d = replace(random_direction(model, Site(2)), category="red")
    if kind == "norms after only" and metadata.version("transformer_lens").startswith("3."):
        # That bridge has no hook point on this block's norms: refused, not wrong.
        with pytest.raises(InputError, match="don't sum to the stream"):
            decompose(model, three_categories, [d])
        return
    decomposition = decompose(model, three_categories, [d])
    assert decomposition.worst < 1e-5
    kinds = {c.kind for c in decomposition.components}
    biased = kind.startswith(("biases", "LayerNorm"))
    assert kinds >= {"attention bias", "MLP bias"} if biased else "MLP bias" not in kinds
    assert head_sources(model, three_categories.prompts[0], d).residual < 1e-4
    if not Anatomy(model.backend).has_neurons(1):
        assert "experts" in kind or "latent" in kind
        with pytest.raises(InputError, match="no neurons"):
            mlp_neurons(model, three_categories, d, 1)
        return
    reds = PromptSet(tuple(p for p in three_categories if p.category == "red"))
    neurons = mlp_neurons(model, reds, d, 1)
    if not biased:
        written = decomposition.attribution("red").score_of(Component(1, "MLP"))
        assert float(neurons.scores.sum()) + neurons.rest == pytest.approx(written, abs=1e-4)


@pytest.mark.parametrize("family", MIXERS)
def test_mixers_without_heads_are_one_part(family, tmp_path, three_categories):
    placement = Placement(dtype="float32", device="cpu")
    model = load_model(write_tiny(tmp_path, tiny_config(family)), placement=placement)
    d = random_direction(model, Site(2))
    text = three_categories.prompts[1].text
    attribution = decompose_prompt(model, text, d)
    assert abs(attribution.residual) < 1e-4 * float(attribution.scores.abs().sum())
    mixers = [c for c in attribution.components if c.kind == "mixer"]
    assert mixers and set(mixers) <= set(attribution.writers())
    for c in mixers:
        written = model.residuals([text], sites=[Site(c.layer, "attn_out")]).tensor[0, 0, 0]
        assert attribution.score_of(c) == pytest.approx(float(written @ d.vector), abs=1e-4)


def test_a_part_that_was_not_scaled_is_refused(tmp_path, three_categories, monkeypatch):
    """Granite multiplies what a block writes: without the factor the parts don't add up."""
    config = GraniteConfig(**SMALL, residual_multiplier=0.5)
    placement = Placement(dtype="float32", device="cpu")
    model = load_model(str(write_tiny(tmp_path, config)), placement=placement)
    monkeypatch.setattr(Anatomy, "factor", lambda self, layer: 1.0)
    with pytest.raises(InputError, match="don't sum to the stream"):
        decompose(model, three_categories, [random_direction(model, Site(2))])
