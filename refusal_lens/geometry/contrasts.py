"""What the model did against what was asked: the three contrasts of Joad et al. 2026, Table 10.

    harmful-refused minus benign-complied
    harmful-refused minus harmful-complied
    benign-refused minus benign-complied

Each is taken within categories and averaged over those with at least three prompts in either group,
so that no contrast compares one category's prompts with another's. They share groups, and with
them errors, which geometry/groups.py takes off.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.geometry.groups import LEAST, Contrasts, Groups, Member, contrast_table
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.records import Provenance, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

ContrastGroup = tuple[Label, bool]  # label, and whether the model refused
BOTH: Final = "harmful refused - benign complied"
WITHIN_HARMFUL: Final = "harmful refused - harmful complied"
WITHIN_BENIGN: Final = "benign refused - benign complied"
CONTRASTS: Final[dict[str, tuple[ContrastGroup, ContrastGroup]]] = {
    BOTH: (("refuse", True), ("comply", False)),
    WITHIN_HARMFUL: (("refuse", True), ("refuse", False)),
    WITHIN_BENIGN: (("comply", True), ("comply", False)),
}


@final
@dataclass(frozen=True, eq=False)
class BehaviourContrasts(Record):
    """Cosines between the contrasts at every site; those without enough prompts are left out.

    `groups` counts the prompts by label and behaviour over all categories; `used` names the
    categories that enter each contrast. NaN is "undefined".
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    names: tuple[str, ...]
    used: tuple[tuple[str, ...], ...]
    groups: dict[str, int]
    sites: tuple[Site, ...]
    offset: int
    naive: Float[Tensor, "site contrast contrast"]
    corrected: Float[Tensor, "site contrast contrast"]
    low: Float[Tensor, "site contrast contrast"]
    high: Float[Tensor, "site contrast contrast"]
    reliability: Float[Tensor, "site contrast"]
    provenance: Provenance

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {n}" for name, n in self.groups.items())
        return (
            f"BehaviourContrasts({'; '.join(self.names)}; {counts}; {len(self.sites)} sites, "
            f"{self.provenance.model})"
        )


def fit_contrasts(
    residuals: Residuals, refused: Mapping[str, bool], *, offset: int = -1
) -> BehaviourContrasts:
    """The contrasts at every site; `refused` is what the model did, by prompt id.

    Prompts whose answer was unclear, and so not in `refused`, are left out.

    >>> refused = {p.id: i % 4 < 2 for i, p in enumerate(prompts)}
    >>> contrasts = fit_contrasts(model.residuals(prompts), refused)
    >>> contrasts.corrected.shape[1] == len(contrasts.names)
    True

    Raises:
        InputError: fewer than two contrasts have enough prompts, or residuals of plain texts.
    """
    prompts = residuals.labelled
    sides = _cells(prompts, refused)
    enough = {key: members for key, members in sides.items() if len(members) >= LEAST}
    used = {
        name: tuple(c for c in prompts.categories if {(c, a), (c, b)} <= enough.keys())
        for name, (a, b) in CONTRASTS.items()
    }
    kept = [name for name, categories in used.items() if categories]
    if len(kept) < 2:
        counts = ", ".join(f"{text} {n}" for text, n in _counts(sides).items())
        raise InputError(
            f"only {len(kept)} of the contrasts has {LEAST} prompts on both sides in some category "
            f"({counts}); give more prompts, or an adapter scale that refuses about half"
        )
    order = list(enough)
    coefficients = _coefficients(order, {name: (CONTRASTS[name], used[name]) for name in kept})
    groups = {key: enough[key] for key in order}
    chosen = {name: used[name] for name in kept}
    return _tables(residuals, offset, groups, coefficients, chosen, sides)


def fit_behaviour_geometry(
    residuals: Residuals,
    refused: Mapping[str, bool],
    *,
    offset: int = -1,
    least: int = LEAST_PAIRS,
) -> BehaviourContrasts:
    """Cosines between categories, each by what the model did: harmful refused - benign complied.

    The names are the categories with at least `least` prompts in both groups. The two groups need
    not be pairs; where a refused prompt's twin was answered, their common noise is taken off.

    >>> refused = {p.id: p.label == "refuse" for p in prompts}
    >>> fit_behaviour_geometry(model.residuals(prompts), refused, least=6).names
    ('advice', 'humanizing', 'unsupported')

    Raises:
        InputError: fewer than two categories have enough, or residuals of plain texts.
    """
    prompts = residuals.labelled
    sides = _cells(prompts, refused)
    a, b = CONTRASTS[BOTH]
    kept = [
        c for c in prompts.categories if all(len(sides.get((c, g), ())) >= least for g in (a, b))
    ]
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} categories have {least} harmful prompts that were refused and {least} "
            "benign ones that were answered; cosines need at least two: give more prompts"
        )
    groups = {(c, g): sides[c, g] for c in kept for g in (a, b)}
    coefficients = _coefficients(list(groups), {c: ((a, b), (c,)) for c in kept})
    return _tables(residuals, offset, groups, coefficients, {c: (c,) for c in kept}, sides)


def contrast_prompts(
    prompts: PromptSet, refused: Mapping[str, bool], name: str, *, least: int = LEAST
) -> PromptSet:
    """The prompts of a contrast, relabelled: "refuse" its first group, "comply" its second.

    Categories with fewer than `least` prompts in either group are left out. Any estimator that
    takes labelled prompts so fits on what the model did.

    >>> refused = {p.id: p.label == "refuse" for p in prompts}
    >>> contrast = contrast_prompts(prompts, refused, "harmful refused - benign complied")
    >>> len(contrast) == len(prompts)
    True

    Raises:
        InputError: an unknown contrast.
    """
    if name not in CONTRASTS:
        raise InputError(f"contrast {name!r} is unknown; use one of {list(CONTRASTS)}")
    sides = dict(zip(CONTRASTS[name], ("refuse", "comply"), strict=True))
    labels: dict[str, Label] = {}
    for p in prompts:
        if p.id in refused and (group := (p.label, refused[p.id])) in sides:
            labels[p.id] = "refuse" if sides[group] == "refuse" else "comply"
    relabelled = tuple(replace(p, label=labels[p.id]) for p in prompts if p.id in labels)
    count = {
        (c, side): sum(p.category == c and p.label == side for p in relabelled)
        for c in prompts.categories
        for side in ("refuse", "comply")
    }
    enough = {c for c in prompts.categories if min(count[c, "refuse"], count[c, "comply"]) >= least}
    return PromptSet(tuple(p for p in relabelled if p.category in enough))


def _cells(
    prompts: PromptSet, refused: Mapping[str, bool]
) -> dict[tuple[str, ContrastGroup], list[Member]]:
    """The prompts with a clear answer, by category and group."""
    sides: dict[tuple[str, ContrastGroup], list[Member]] = {}
    for row, p in enumerate(prompts):
        if p.id in refused:
            sides.setdefault((p.category, (p.label, refused[p.id])), []).append((p.unit, row))
    return sides


def _tables(  # noqa: PLR0913 - the parts of one record
    residuals: Residuals,
    offset: int,
    groups: Mapping[tuple[str, ContrastGroup], list[Member]],
    coefficients: Float64[Tensor, "contrast group"],
    used: Mapping[str, tuple[str, ...]],
    sides: Mapping[tuple[str, ContrastGroup], list[Member]],
) -> BehaviourContrasts:
    named = {f"{c}, {label}, refused {did}": rows for (c, (label, did)), rows in groups.items()}
    tables: list[Contrasts] = [
        contrast_table(Groups.of(named, residuals.at(site, offset).double()), coefficients)
        for site in residuals.sites
    ]

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(table, name) for table in tables]).float()

    return BehaviourContrasts(
        names=tuple(used),
        used=tuple(used.values()),
        groups=_counts(sides),
        sites=residuals.sites,
        offset=offset,
        provenance=residuals.provenance,
        **{x: stacked(x) for x in ("naive", "corrected", "low", "high", "reliability")},
    )


def _coefficients(
    order: list[tuple[str, ContrastGroup]],
    contrasts: Mapping[str, tuple[tuple[ContrastGroup, ContrastGroup], tuple[str, ...]]],
) -> Float64[Tensor, "contrast group"]:
    matrix = torch.zeros(len(contrasts), len(order), dtype=torch.float64)
    for k, ((a, b), categories) in enumerate(contrasts.values()):
        for c in categories:
            matrix[k, order.index((c, a))] = 1.0 / len(categories)
            matrix[k, order.index((c, b))] = -1.0 / len(categories)
    return matrix


def _counts(sides: Mapping[tuple[str, ContrastGroup], list[Member]]) -> dict[str, int]:
    words = {"refuse": "harmful", "comply": "benign"}
    counts = {f"{w} {did}": 0 for w in words.values() for did in ("refused", "complied")}
    for (_, (label, did)), members in sides.items():
        counts[f"{words[label]} {'refused' if did else 'complied'}"] += len(members)
    return counts
