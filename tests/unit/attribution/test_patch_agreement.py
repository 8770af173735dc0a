"""Attribution patching is set beside activation patching of the very same pairs and places."""

from dataclasses import replace

import pytest
import torch
from support.synthetic.attribution import patched

from refusal_lens.attribution import patch_agreement
from refusal_lens.errors import InputError

CATEGORIES = ("red", "green")


def same_names():
    """Pairs 0, 1, ... in either category, and their estimates at the sites that were patched."""
    real, fast = patched(CATEGORIES)
    n = len(real.sites)
    names = tuple(str(i % (len(real.pairs) // 2)) for i in range(len(real.pairs)))
    fast = replace(fast, sites=real.sites, estimate=fast.estimate[:, -n:], pairs=names)
    return replace(real, pairs=names), fast


def of_category(record, category):
    """Its rows of one category."""
    rows = [i for i, c in enumerate(record.categories) if c == category]
    n = len(record.categories)
    values = {k: v for k, v in vars(record).items() if hasattr(v, "__len__") and len(v) == n}
    return replace(
        record,
        **{
            k: v[rows] if isinstance(v, torch.Tensor) else tuple(v[i] for i in rows)
            for k, v in values.items()
            if k not in ("sites", "offsets", "tokens")
        },
    )


def test_each_category_is_correlated_with_its_own_patches():
    real, fast = same_names()
    whole = patch_agreement(fast, real)
    for category in CATEGORIES:
        one = patch_agreement(of_category(fast, category), of_category(real, category))
        assert one.by_category.keys() == {category}
        assert one.overall == whole.by_category[category]


def test_pairs_of_one_name_in_two_categories_are_not_set_side_by_side():
    real, fast = same_names()
    red, green = of_category(fast, "red"), of_category(real, "green")
    assert red.pairs == green.pairs
    with pytest.raises(InputError, match="differ in categories") as raised:
        patch_agreement(red, green)
    assert "\n" not in str(raised.value)


def test_other_offsets_are_other_patches():
    real, fast = same_names()
    with pytest.raises(InputError, match="differ in offsets"):
        patch_agreement(replace(fast, offsets=(-1,)), real)
