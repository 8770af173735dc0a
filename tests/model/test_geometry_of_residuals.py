"""Geometry from `Residuals` is, to the last bit, that of the bare tensor and its pairs."""

import torch

from refusal_lens.directions import fit_mean_difference
from refusal_lens.geometry import (
    PairProducts,
    cosine_table,
    fit_geometry,
    fit_structure,
    separability,
)
from refusal_lens.geometry.dimension import effective_dimension
from refusal_lens.geometry.layers import self_cosines
from refusal_lens.residuals import Residuals, StatsAccumulator
from refusal_lens.sites import Site, block_inputs

SAME = ("naive", "corrected", "low", "high", "ceiling", "reliability", "share", "influence")


def same(a, b):
    """Every bit, and undefined at the same places."""
    return torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0))


def by_hand(model, prompts):
    """The residual tensor and the rows of its pairs, without `Residuals` and `PromptSet.pairs`."""
    tensor = model.residuals(list(prompts), offsets="post").tensor
    row = {p.id: i for i, p in enumerate(prompts)}
    rows = {
        c: torch.tensor(
            [
                (row[p.id], row[p.id.replace("refuse", "comply")])
                for p in prompts
                if p.category == c and p.label == "refuse"
            ]
        )
        for c in prompts.categories
    }
    return tensor, rows


def test_geometry_is_that_of_the_bare_tensor(tiny_llama, three_categories, tmp_path):
    tensor, rows = by_hand(tiny_llama, three_categories)
    last = tiny_llama.chat.offsets.index(-1)
    residuals = tiny_llama.residuals(three_categories, offsets="post")
    residuals.save(tmp_path)
    assert torch.equal(residuals.tensor, tensor)
    for source in (residuals, residuals.select(offsets=[-1]), Residuals.load(tmp_path)):
        g = fit_geometry(source)
        for s in (1, 2):  # layer 0 is undefined on the template's tokens
            x = tensor[:, last, s].double()
            products = PairProducts.of([x[r[:, 0]] - x[r[:, 1]] for r in rows.values()])
            table = cosine_table(products)
            for name in SAME:
                assert same(getattr(g, name)[s], getattr(table, name).float()), name
        assert torch.isfinite(g.naive[1:]).all() and torch.isfinite(g.share[1:]).all()
        assert g.provenance == tiny_llama.provenance(three_categories)
        assert g.pairs == tuple(p.pair for p in three_categories if p.label == "refuse")


def test_directions_are_those_of_the_bare_sums(tiny_llama, three_categories):
    tensor, rows = by_hand(tiny_llama, three_categories)
    offsets = tiny_llama.chat.offsets
    sums = StatsAccumulator(three_categories.categories, block_inputs(3), offsets, 32)
    category = torch.tensor(
        [three_categories.categories.index(p.category) for p in three_categories]
    )
    label = torch.tensor([int(p.label == "comply") for p in three_categories])
    sums.update(tensor, category, label, torch.cat([*rows.values()]))
    a = fit_mean_difference(sums.finish(tiny_llama.provenance(three_categories)))
    b = fit_mean_difference(tiny_llama.residuals(three_categories, offsets="post"))
    for name in ("vectors", "scale", "low", "high"):
        assert same(getattr(a, name), getattr(b, name))


def test_tests_and_structure_do_not_depend_on_how_residuals_are_cut(tiny_llama, three_categories):
    """All at once, a category at a time, or two readings: what a study has in memory."""
    residuals = tiny_llama.residuals(three_categories, offsets="post")
    parts = [residuals.only(category=c) for c in three_categories.categories]
    whole, cut = separability(residuals), separability(iter(parts))
    assert torch.equal(whole.p, cut.p) and torch.equal(whole.p_max[:, :, 1:], cut.p_max[:, :, 1:])
    assert whole.categories == cut.categories == three_categories.categories
    assert whole.provenance == tiny_llama.provenance(three_categories)
    tensor, rows = by_hand(tiny_llama, three_categories)
    x = tensor.double()[:, :, [1, 2]]
    eight = twice(residuals)
    structure = fit_structure(eight, 2)
    other = fit_structure(eight.select(offsets=[-1]), 2, at_layer=eight.select(sites=[Site(2)]))
    for name in (
        "along",
        "remainder",
        "layer_cosines",
        "offset_cosines",
        "cosines",
        "place",
        "least_angle",
    ):
        assert same(getattr(structure, name), getattr(other, name)), name
    last = tiny_llama.chat.offsets.index(-1)
    d = [torch.cat([x[r[:, 0]] - x[r[:, 1]]] * 2) for r in rows.values()]
    dimension = effective_dimension(PairProducts.of([y[:, last, 1] for y in d]), 32)
    assert structure.dimension[2] == dimension
    cosines = self_cosines(d[0][:, :, 1].contiguous())
    assert same(structure.offset_cosines[0, ..., 0], cosines.cosine.float())


def twice(residuals: Residuals) -> Residuals:
    """Every pair twice, under another name: structure needs eight pairs, and there are five."""
    from dataclasses import replace

    from refusal_lens.prompts import PromptSet

    again = PromptSet(
        tuple(replace(p, id=f"{p.id}-2", pair=f"{p.pair}-2") for p in residuals.labelled)
    )
    return Residuals.join([residuals, replace(residuals, ids=again.ids, prompts=again)])
