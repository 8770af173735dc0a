"""Blocks of other kinds: hybrids, experts, layer scalars, two mixers.

The correctness gates run on them too (test_gates.py).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.directions import a_direction
from support.tiny_models import FAMILIES, HYBRID, ONE_WRITER, SCALARS, SHARED_EXPERT, TWO_MIXERS

from refusal_lens.attribution import head_paths, patch
from refusal_lens.attribution.components import Component
from refusal_lens.attribution.pairs import Pair
from refusal_lens.attribution.patch_sites import PatchSite
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate, Add
from refusal_lens.model import LensModel, check, load_model
from refusal_lens.placement import Placement
from refusal_lens.sites import Site

pytestmark = pytest.mark.slow  # a minute and a half, most of it generation without a prefix


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, load_tiny: Callable[..., LensModel]) -> LensModel:
    return load_tiny(request.param)


def parts(model: LensModel, layer: int) -> dict[str, torch.Tensor]:
    points = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
    sites = [
        Site(layer, p) for p in points if Site(layer, p).hook_name in model.backend.hook_names()
    ]
    resid = model.residuals(["Tell me of tides"], sites=sites).tensor[0, 0]
    return {site.point: row for site, row in zip(sites, resid, strict=True)}


def test_contributions_sum_to_the_stream(model):
    """A block's parts, times the number by which it multiplies the stream at its end."""
    for layer in range(model.n_layers):
        x = parts(model, layer)
        total = x["resid_pre"] + x["attn_out"] + x.get("mlp_out", 0.0)
        assert (total * model.backend.scales[layer] - x["resid_post"]).abs().max() < 1e-4
        assert x["attn_out"].norm() > 0.1


def test_adding_at_a_writer_moves_the_stream_by_as_much(model):
    """Also where two modules write together, or a factor stands between module and stream."""
    d = a_direction(model, layer=1, scale=3.0)
    x = parts(model, 1)
    points = ("attn_out", "mlp_out") if "mlp_out" in x else ("attn_out",)
    for point in points:
        with model.editing(Add(d, strength=1.0, at=Site(1, point))):
            y = parts(model, 1)
        assert torch.allclose(y[point] - x[point], 3.0 * d.vector, atol=1e-4)
        whole = (y["resid_post"] - x["resid_post"]) / model.backend.scales[1]
        if point == points[-1]:  # nothing of the block comes behind that could answer
            assert torch.allclose(whole, 3.0 * d.vector, atol=1e-4)
        else:
            assert torch.allclose(y["resid_mid"] - x["resid_mid"], 3.0 * d.vector, atol=1e-4)


def test_layer_scalars_are_read_from_the_model(load_tiny):
    model = load_tiny(SCALARS)
    assert len(set(model.backend.scales)) == model.n_layers
    assert all(0.5 <= s <= 1.5 for s in model.backend.scales)


@pytest.mark.parametrize("family", [SCALARS, TWO_MIXERS])
def test_the_check_at_load_still_refuses_what_does_not_add_up(tiny_folders, family):
    """A scalar that was not seen, and a block whose second mixer was."""
    model = load_model(str(tiny_folders[family]), placement=Placement("float32", "cpu"))
    backend: Any = model.backend
    if family == SCALARS:
        backend.scales = (1.0,) * model.n_layers
    else:
        backend._written = {}  # TransformerLens' own point shows the attention alone
    with pytest.raises(InputError, match="is not the sum of its parts"):
        check.check_stream(backend, model.chat)


def test_a_block_without_mlp_has_no_site_there(load_tiny):
    model = load_tiny(ONE_WRITER)
    d = a_direction(model)
    edits = model.editing(Add(d, strength=1.0, at=Site(1, "mlp_out")))
    with pytest.raises(InputError, match=r"no mlp_out\[1\]"), edits:
        pass
    only = model.editing(Ablate(d, at=(Site(1, "mlp_out"),)))
    with pytest.raises(InputError, match=r"no mlp_out\[1\]"), only:
        pass
    with pytest.raises(InputError, match=r"no mlp_out\[1\]"):
        model.residuals(["Hi"], sites=[Site(1, "mlp_out")])


def test_a_recurrent_model_shares_no_prefix(model):
    assert model.backend.recurrent == (model._prefix.ids == ())


def by_hand(model: LensModel, pair: Pair, site: PatchSite, offsets: tuple[int, ...]) -> float:
    """The score of the whole benign prompt with the other's activation put in its place."""
    cache: dict[str, torch.Tensor] = {}
    at = list(offsets) if site.offset is None else [site.offset]

    def keep(x: torch.Tensor, hook: Any) -> None:
        cache["x"] = x[:, at].clone()

    def put(x: torch.Tensor, hook: Any) -> torch.Tensor:
        x = x.clone()
        if site.head is None:
            x[:, at] = cache["x"]
        else:
            x[:, at, site.head] = cache["x"][:, :, site.head]
        return x

    with torch.inference_mode():
        for ids, function in ((pair.clean, keep), (pair.corrupt, put)):
            row = torch.tensor([ids])
            with model.backend.hooks([(site.hook_name, function)]):
                step = model.backend.forward(row, torch.ones_like(row))
    return float(score(step.logits[:, 0])[0])


def score(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, 65] - logits[:, 66]


@pytest.mark.parametrize("family", [HYBRID, SCALARS, SHARED_EXPERT, ONE_WRITER])
def test_patching_runs_the_whole_context(load_tiny, family):
    model = load_tiny(family)
    pair = Pair("a", "red", model.chat.ids("Tell me of tides"), model.chat.ids("Tell me of moons"))
    last, offsets = model.n_layers - 1, (-3, -2, -1)
    sites = [PatchSite("attn_out", 1, None), PatchSite("resid_pre", last, -1)]
    sites += [PatchSite("head", last, None, 2)] if family == HYBRID else []
    patch_map = patch(model, [pair], sites, score, offsets=offsets)
    for s, site in enumerate(sites):
        expected = by_hand(model, pair, site, offsets)
        assert float(patch_map.patched[0, s]) == pytest.approx(expected, abs=1e-3)
        assert abs(expected - float(patch_map.corrupt[0])) > 1e-3


def test_a_heads_path_in_a_hybrid_runs_the_whole_context(load_tiny):
    model = load_tiny(HYBRID)
    n, offsets = model.n_layers - 1, tuple(model.chat.offsets)
    pair = Pair("a", "red", model.chat.ids("Tell me of tides"), model.chat.ids("Tell me of moons"))
    d = a_direction(model)
    d = replace(d, site=Site(n, "resid_post"))
    (path,) = head_paths(model, [pair], [Component(n, "head", 2)], d)
    cache: dict[str, torch.Tensor] = {}
    read: list[float] = []

    def keep(x: torch.Tensor, hook: Any) -> None:
        cache["z"] = x[:, list(offsets), 2].clone()

    def put(x: torch.Tensor, hook: Any) -> torch.Tensor:
        x = x.clone()
        x[:, list(offsets), 2] = cache["z"]
        return x

    def end(x: torch.Tensor, hook: Any) -> None:
        read.append(float(x[0, -1] @ d.vector))

    z = PatchSite("head", n, None, 2).hook_name
    with torch.inference_mode():
        for ids, hooks in (
            (pair.clean, [(z, keep)]),
            (pair.corrupt, [(d.site.hook_name, end)]),
            (pair.corrupt, [(z, put), (d.site.hook_name, end)]),
        ):
            row = torch.tensor([ids])
            with model.backend.hooks(hooks):
                model.backend.forward(row, torch.ones_like(row))
    assert float(path.total[0]) == pytest.approx(read[1] - read[0], abs=1e-4)
    assert abs(float(path.total[0])) > 1e-3
