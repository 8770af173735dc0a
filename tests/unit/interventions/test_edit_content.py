"""An edit's digest: of what it does and where, not of what it is called."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from support.sparse import random_sae

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions import (
    Ablate,
    AblateLatents,
    AblateSubspace,
    Add,
    Affine,
    AlongOne,
    Clamp,
    Cosine,
    Only,
    Probe,
    ResidualMap,
    Rotate,
    When,
)
from refusal_lens.interventions.content import part_digest
from refusal_lens.records import Provenance
from refusal_lens.sites import Site

HERE, LATER = Site(1), Site(2)
PROVENANCE = Provenance("tiny", "", "", "prefix", "prompts", "float32", "cpu")


def direction(seed=0, name="a", site=HERE):
    vector = torch.randn(8, generator=torch.Generator().manual_seed(seed))
    return Direction.from_difference(
        vector, category=name, site=site, offset=-1, provenance=PROVENANCE, low=-1.0
    )


def digest(edit):
    (part,) = edit.parts()
    return part_digest(part, n_layers=3)


def nearly(d):
    """The direction with the last bit of one number changed."""
    vector = d.vector.clone()
    vector[0] = torch.nextafter(vector[0], torch.tensor(9.0))
    return replace(d, vector=vector)


D, E = direction(), direction(1)
EDITS = {
    "add": Add(D, strength=1.0),
    "add more": Add(D, strength=1.0000000000000002),
    "subtract": Add(D, strength=-1.0),
    "add another": Add(E, strength=1.0),
    "add nearly": Add(nearly(D), strength=1.0),
    "add later": Add(D, strength=1.0, at=LATER),
    "add to the prompt": Only(Add(D, strength=1.0), "prompt"),
    "add to the answer": Only(Add(D, strength=1.0), "generated"),
    "add at the end": Only(Add(D, strength=1.0), "all", offsets=(-1,)),
    "add before": Only(Add(D, strength=1.0), "all", offsets=(-2,)),
    "add where alike": When(Cosine(D, "above", 0.1), Add(D, strength=1.0)),
    "add where more alike": When(Cosine(D, "above", 0.2), Add(D, strength=1.0)),
    "add where unlike": When(Cosine(D, "below", 0.1), Add(D, strength=1.0)),
    "add where probed": When(Probe("p", D.vector, 0.0, HERE, "above"), Add(D, strength=1.0)),
    "ablate": Ablate(D),
    "ablate here": Ablate(D, at=(HERE,)),
    "clamp": Clamp(D, "low"),
    "affine": Affine(D, strength=1.0, reference=E.vector),
    "rotate": Rotate(D, E.vector, 20.0),
    "rotate more": Rotate(D, E.vector, 21.0),
    "rotate elsewhere": Rotate(D, nearly(E).vector, 20.0),
    "span": AblateSubspace((D, E)),
    "one after the other": AblateSubspace((D, E), "sequential"),
    "the other first": AblateSubspace((E, D), "sequential"),
}


def test_edits_that_differ_in_anything_that_acts_have_digests_of_their_own():
    digests = {name: digest(edit) for name, edit in EDITS.items()}
    assert None not in digests.values()
    assert len(set(digests.values())) == len(EDITS), digests


@pytest.mark.parametrize("name", EDITS)
def test_a_digest_is_the_same_when_the_edit_is_made_again(name):
    again = replace(EDITS[name])
    assert again is not EDITS[name] and digest(again) == digest(EDITS[name])


def test_what_a_direction_is_called_or_fitted_on_does_not_count():
    other = replace(D, category="b", provenance=replace(PROVENANCE, prompts_digest="others"))
    for make in (lambda d: Add(d, strength=1.0), Ablate, lambda d: AblateSubspace((d, E))):
        assert digest(make(other)) == digest(make(D))


class Foreign(ResidualMap):
    """A map of somebody's own, whose numbers are nowhere to be read."""

    repeatable = False
    width = 8

    def sites(self, n_layers):
        del n_layers
        return (HERE,)

    def __call__(self, resid):
        return 2 * resid


class Odd(AlongOne):
    """A map along a direction that does something else with it."""

    direction, repeatable, removed, added = D, False, 0, 1.0

    def sites(self, n_layers):
        del n_layers
        return (HERE,)

    def __call__(self, resid):
        return resid - resid.abs()


def test_what_numbers_alone_do_not_tell_has_no_digest():
    sae = random_sae(8, 16, "standard", site=HERE, subtract_b_dec=False)
    for edit in (Foreign(), Odd(), AblateLatents(sae, (1, 2))):
        assert digest(edit) is None
        assert digest(Only(edit, "generated")) is None


@pytest.mark.parametrize(
    "to", [np.float32(1.5), np.float64(1.5), torch.tensor(1.5), Fraction(3, 2)]
)
def test_a_clamp_to_any_kind_of_number_is_that_to_a_float(to):
    edit, plain = Clamp(D, to=to), Clamp(D, to=1.5)
    resid = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(edit(resid), plain(resid))
    assert type(edit.added) is float and digest(edit) == digest(plain)
    assert digest(edit) != digest(Clamp(D, to=1.25))
    assert repr(edit).endswith("= 1.5, at resid_pre[1])") and len({edit, plain, edit}) == 2


@pytest.mark.parametrize(
    "to", ["middle", torch.tensor([1.5]), None, [1.5], torch.tensor(torch.nan)]
)
def test_a_clamp_to_no_number_is_refused(to):
    with pytest.raises(InputError, match="give 'low', 'high' or a number|not finite"):
        Clamp(D, to=to)
