"""Directions and offsets that attributions cannot be made of: refused in one line."""

from dataclasses import replace

import pytest
import torch

from refusal_lens.attribution import (
    attribution_patch,
    decompose,
    head_paths,
    mlp_neurons,
    pairs_of,
    promoted_tokens,
    token_map,
    token_maps,
    writer_sites,
)
from refusal_lens.attribution.components import Component
from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.model.transfer import TransferWarning
from refusal_lens.sites import Site


def at(model, prompts, site):
    fitted = fit_mean_difference(model.residuals(prompts, sites=[site]))
    return fitted.at_site("red", site)


@pytest.mark.parametrize("layer", [0, 1])
def test_neurons_write_no_other_writers_output(tiny_llama, three_categories, layer):
    written = at(tiny_llama, three_categories, Site(1, "attn_out"))
    with pytest.raises(InputError, match="which is one writer's output; a sum over writers needs"):
        mlp_neurons(tiny_llama, three_categories, written, layer)


def test_a_direction_of_another_model_brings_a_warning(tiny_llama, three_categories):
    d = at(tiny_llama, three_categories, Site(2))
    other = replace(d, provenance=replace(d.provenance, model_digest="another"))
    pairs = pairs_of(tiny_llama, three_categories, equal_length=False, most=1)
    for attribution in (
        lambda: mlp_neurons(tiny_llama, three_categories, other, 1),
        lambda: head_paths(tiny_llama, pairs, [Component(1, "head", 0)], other),
        lambda: promoted_tokens(tiny_llama, other),
    ):
        with pytest.warns(TransferWarning, match="another"):
            attribution()


def test_promoted_tokens_are_of_the_vocabulary_and_of_the_stream(tiny_llama, three_categories):
    d = at(tiny_llama, three_categories, Site(2))
    for most in (0, 301):
        with pytest.raises(InputError, match="expected from 1 to 300, the vocabulary"):
            promoted_tokens(tiny_llama, d, most=most)
    assert len(promoted_tokens(tiny_llama, d, most=300).raised) == 300
    narrow = replace(d, vector=torch.tensor([1.0, 0.0]))
    with pytest.raises(InputError, match=r"is 2 wide, the stream of .* 32"):
        promoted_tokens(tiny_llama, narrow)


def test_offsets_count_once_and_from_the_end(tiny_llama, three_categories):
    pairs = pairs_of(tiny_llama, three_categories, equal_length=False, most=1)[:1]

    def estimated(offsets):
        return attribution_patch(
            tiny_llama, pairs, writer_sites([1]), lambda logits: logits[:, 7], offsets=offsets
        )

    once, twice = estimated([-1]), estimated([-1, -1])
    assert twice.offsets == (-1,) and torch.equal(twice.estimate, once.estimate)
    with pytest.raises(InputError, match=r"offsets \[0\] must be negative"):
        estimated([0])


def test_token_maps_need_block_inputs_and_the_sides_coordinates(tiny_llama, three_categories):
    outputs = fit_mean_difference(
        tiny_llama.residuals(three_categories, sites=[Site(1, "resid_post")])
    )
    with pytest.raises(InputError, match=r"'resid_post\[1\]'.*at the input of a block"):
        token_map(tiny_llama, "Why?", outputs, "red")
    inputs = fit_mean_difference(tiny_llama.residuals(three_categories, sites=[Site(2)]))
    unknown = torch.full_like(inputs.low, torch.nan)
    with pytest.raises(InputError, match="do not know the mean coordinates of their sides"):
        token_map(tiny_llama, "Why?", replace(inputs, low=unknown, high=unknown), "red")
    assert token_map(tiny_llama, "Why?", inputs, "red").coordinate.isfinite().all()


def test_directions_of_another_width_are_refused(tiny_llama, three_categories):
    d = at(tiny_llama, three_categories, Site(2))
    narrow = replace(d, vector=torch.tensor([1.0, 0.0]))
    pairs = pairs_of(tiny_llama, three_categories, equal_length=False, most=1)
    inputs = fit_mean_difference(tiny_llama.residuals(three_categories, sites=[Site(2)]))
    first = inputs.vectors[..., :2]
    cut = replace(inputs, vectors=first / first.norm(dim=-1, keepdim=True))
    for attribution in (
        lambda: decompose(tiny_llama, three_categories, [narrow]),
        lambda: head_paths(tiny_llama, pairs, [Component(1, "head", 0)], narrow),
        lambda: mlp_neurons(tiny_llama, three_categories, narrow, 1),
        lambda: token_maps(tiny_llama, "Why?", cut, ["red"]),
    ):
        with pytest.raises(InputError, match=r"'red' is 2 wide, the stream of .* 32; fit it on"):
            attribution()
