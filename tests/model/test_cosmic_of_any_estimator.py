"""COSMIC's choice of layer and position among the directions of any estimator."""

from dataclasses import replace

import pytest
import torch

from refusal_lens.directions import fit_mean_difference, make_estimator
from refusal_lens.errors import InputError
from refusal_lens.selection import CosmicSelection, candidates_of, select_cosmic
from refusal_lens.sites import Site


@pytest.fixture(scope="module")
def sides(three_categories):
    return tuple(three_categories.only(label=label) for label in ("refuse", "comply"))


@pytest.fixture(scope="module")
def medians(tiny_llama, three_categories):
    residuals = tiny_llama.residuals(three_categories, offsets=(-2, -1))
    return make_estimator("median_difference").pooled(residuals)


def test_a_set_is_every_defined_direction_of_it(tiny_llama, medians, sides):
    selection = select_cosmic(tiny_llama, medians, train=sides, val=sides)
    places = [(c.site, c.offset) for c in selection.candidates]
    # At the input of the first block template tokens are the same for every prompt.
    assert places == [(Site(layer), offset) for layer in (1, 2) for offset in (-2, -1)]
    singly = [medians.at("pooled", site.layer, offset) for site, offset in places]
    assert select_cosmic(tiny_llama, singly, train=sides, val=sides) == selection
    means = fit_mean_difference(
        tiny_llama.residual_stats(sides[0] + sides[1], offsets=[-2, -1]).pooled()
    )
    others = select_cosmic(tiny_llama, means, train=sides, val=sides)
    assert others.evaluated == selection.evaluated
    values = [[c.comply.value for c in x.candidates] for x in (selection, others)]
    assert values[0] != pytest.approx(values[1], abs=1e-6)


def test_a_set_of_one_site_at_a_blocks_output_is_its_next_blocks_input(
    tiny_llama, three_categories, sides, monkeypatch
):
    """The same vector under two names: the same scores, and the same place in the rule."""
    monkeypatch.setattr("refusal_lens.selection.cosmic.KL_LIMIT", 99.0)
    stats = {
        site: tiny_llama.residual_stats(three_categories, sites=[site], offsets=[-1]).pooled()
        for site in (Site(0, "resid_post"), Site(1), Site(1, "resid_post"), Site(2))
    }
    selections = {
        str(site): select_cosmic(tiny_llama, fit_mean_difference(s), train=sides, val=sides)
        for site, s in stats.items()
    }
    for post, pre in (("resid_post[0]", "resid_pre[1]"), ("resid_post[1]", "resid_pre[2]")):
        (a,), (b,) = selections[post].candidates, selections[pre].candidates
        assert (str(a.site), str(b.site)) == (post, pre)
        for name in ("comply", "refuse", "kl"):
            assert getattr(a, name).value == pytest.approx(getattr(b, name).value, abs=1e-5)
        assert selections[post].survivors == selections[pre].survivors
    # Layer 2 of 3 is in the last fifth, under either name.
    assert selections["resid_post[0]"].chosen == 0 and selections["resid_post[1]"].chosen is None


def test_a_choice_among_block_outputs_names_the_direction_and_can_be_saved(
    tiny_llama, three_categories, sides, tmp_path, monkeypatch
):
    monkeypatch.setattr("refusal_lens.selection.cosmic.KL_LIMIT", 99.0)
    site = Site(0, "resid_post")
    stats = tiny_llama.residual_stats(three_categories, sites=[site], offsets=[-1]).pooled()
    fitted = fit_mean_difference(stats)
    selection = select_cosmic(tiny_llama, fitted, train=sides, val=sides)
    assert fitted.at_site("pooled", selection.choice.site, selection.choice.offset).site == site
    selection.save(tmp_path / "cosmic")
    again = CosmicSelection.load(tmp_path / "cosmic")
    assert again == selection and again.choice.site == site


def test_which_directions_of_a_set_is_asked_for(medians):
    three = replace(
        medians,
        categories=("red", "blue", "none"),
        count=medians.count * 3,
        **{
            name: torch.cat([x, -x if name == "vectors" else x, torch.full_like(x, torch.nan)])
            for name in ("vectors", "scale", "low", "high")
            for x in [getattr(medians, name)]
        },
    )
    blue = candidates_of(three, "blue")
    assert {d.category for d in blue} == {"blue"} and len(blue) == 4
    with pytest.raises(InputError, match="3 categories; name the one.*category='red'"):
        candidates_of(three)
    with pytest.raises(InputError, match="category 'green' is not in this direction set"):
        candidates_of(three, "green")
    with pytest.raises(InputError, match="no direction of 'none' in this set is defined"):
        candidates_of(three, "none")
