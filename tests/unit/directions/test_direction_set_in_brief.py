"""`directions["advice", 21]` and `directions.cosine(21)`."""

import inspect
from dataclasses import replace

import pytest
import torch
from support.synthetic.geometry import CATEGORIES
from support.synthetic.records import direction_set

from refusal_lens.directions import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.sites import Site


def test_a_member_is_the_direction_at_that_layer():
    directions = direction_set(CATEGORIES[:3])
    member = directions[CATEGORIES[1], 7]
    assert torch.equal(member.vector, directions.at(CATEGORIES[1], 7).vector)
    assert not torch.equal(member.vector, directions[CATEGORIES[1], 8].vector)
    with pytest.raises(InputError, match="category 'nobody' is not in this direction set"):
        directions["nobody", 7]


def test_the_layer_may_be_left_out_where_there_is_one():
    many = direction_set(CATEGORIES[:3])
    with pytest.raises(InputError, match="name one, as in directions"):
        many[CATEGORIES[0]]
    parts = {n: getattr(many, n)[:, :, 9:10] for n in ("vectors", "scale", "low", "high")}
    single = replace(many, sites=many.sites[9:10], **parts)
    assert torch.equal(single[CATEGORIES[0]].vector, many[CATEGORIES[0], 9].vector)


@pytest.mark.parametrize("key", [("first", 7, -1), ("first",), 7])
def test_what_is_no_category_and_layer_is_refused(key):
    member = inspect.unwrap(DirectionSet.__getitem__)  # without the type checker of the tests
    with pytest.raises(InputError, match="expected a category and a layer, as in directions"):
        member(direction_set(CATEGORIES[:1]), key)


def test_an_undefined_direction_says_what_it_lacks():
    directions = direction_set(CATEGORIES[:2])
    nowhere = replace(directions, vectors=torch.full_like(directions.vectors, torch.nan))
    one_sided = replace(nowhere, count=((10, 0), (10, 10)))
    with pytest.raises(InputError, match="on 10 refuse-side and 0 comply-side prompts; give"):
        one_sided[CATEGORIES[0], 7]
    with pytest.raises(InputError, match="choose a later layer"):
        one_sided[CATEGORIES[1], 7]


def test_cosines_are_those_of_the_vectors():
    directions = direction_set(CATEGORIES[:3])
    cosines = directions.cosine(9)
    a, b = (directions[c, 9].vector for c in CATEGORIES[:2])
    assert float(cosines[0, 1]) == pytest.approx(float(a @ b), abs=1e-6)
    assert cosines.diagonal().tolist() == pytest.approx([1.0] * 3)
    broken = directions.vectors.clone()
    broken[1, :, directions.sites.index(Site(9))] = torch.nan
    assert bool(torch.isnan(replace(directions, vectors=broken).cosine(9)[1]).all())
    with pytest.raises(InputError, match="site 'resid_pre\\[99\\]'"):
        directions.cosine(99)
