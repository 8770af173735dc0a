"""Everything that can be compared, found in the files of this folder."""

from collections.abc import Sequence
from functools import cache
from typing import cast

from refusal_lens.discovery import modules_of
from refusal_lens.errors import InputError
from refusal_lens.study.estimators.entry import REFERENCE, Compared


@cache
def compared() -> tuple[Compared, ...]:
    """The reference first and controls last.

    >>> from refusal_lens.study.estimators import compared
    >>> [one.name for one in compared()][0]
    'mean_difference'
    """
    listed = [
        one
        for module in modules_of("refusal_lens.study.estimators")
        for one in cast(tuple[Compared, ...], getattr(module, "COMPARED", ()))
    ]
    return tuple(sorted(listed, key=lambda one: (one.place, one.name)))


def chosen(names: Sequence[str] | None) -> tuple[Compared, ...]:
    """Those of these names with their groups, the reference and the controls; None: all not slow.

    >>> from refusal_lens.study.estimators import chosen
    >>> [one.name for one in chosen(["median_difference"])][:2]
    ['mean_difference', 'median_difference']
    >>> [one.name for one in chosen(["irm"])][:5]
    ['mean_difference', 'erm', 'irm', 'ib_erm', 'ib_irm']

    Raises:
        InputError: an unknown name.
    """
    every = compared()
    if names is None:
        return tuple(one for one in every if not one.slow)
    known = [one.name for one in every if one.kind == "estimator"]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"estimator {unknown[0]!r} is unknown; use some of {known}")
    groups = {one.group for one in every if one.name in names} - {None}
    return tuple(
        one
        for one in every
        if one.kind == "control" or one.name in {REFERENCE, *names} or one.group in groups
    )
