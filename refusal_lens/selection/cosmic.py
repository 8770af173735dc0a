"""Choosing layer and position without reading outputs: COSMIC (2506.00085).

As in the released code: the mean of raw vectors over prompts and over the evaluation layers is
taken before any cosine, so that late layers, whose vectors are long, weigh most.

The rule reads hidden states and next tokens under two edits and knows nothing of how a direction
was fitted: any estimator's directions can be candidates. What addition adds is a direction's
`scale`, which is the length of the raw difference for mean differences, as published, and for every
estimator the distance that it puts between the two sides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction, DirectionSet, several_directions
from refusal_lens.errors import InputError
from refusal_lens.intervals import jackknife_error, mean_estimate, t_quantile
from refusal_lens.interventions import Ablate, Add
from refusal_lens.linalg import unit
from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Record
from refusal_lens.selection.arditi import (
    KL_LIMIT,
    first_late_layer,
    value_or_nan,
)
from refusal_lens.selection.scores import kl_divergence
from refusal_lens.sites import ActivationName, Site

SHARE: Final = 0.1
"""Share of the layers that are evaluated: those least alike on the two sides."""

_METHOD: Final = "cosine of pooled means; jackknife over prompts, t interval; control: unedited"


@final
@dataclass(frozen=True)
class CosmicCandidate:
    """A direction's scores at one site and offset; higher is better for both.

    `comply`: cosine of the refuse side with the direction ablated and the unedited benign side.
    `refuse`: cosine of the benign side with the raw difference added and the unedited refuse side.
    `kl`: as in Arditi's rule.
    """

    layer: int
    offset: int
    comply: Estimate
    refuse: Estimate
    kl: Estimate
    point: ActivationName = "resid_pre"

    @property
    def site(self) -> Site:
        """Where the direction was fitted, and is added."""
        return Site(self.layer, self.point)


@final
@dataclass(frozen=True)
class CosmicSelection(Record):
    """The layers that were evaluated, the candidates, those that pass (best first), the choice.

    `evaluated` counts the outputs of blocks, the last after the final norm. `chosen` is None where
    no candidate passes.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    evaluated: tuple[int, ...]
    candidates: tuple[CosmicCandidate, ...]
    survivors: tuple[int, ...]
    chosen: int | None

    @property
    def choice(self) -> CosmicCandidate | None:
        """The chosen candidate."""
        return None if self.chosen is None else self.candidates[self.chosen]


def evaluation_layers(
    harmful: Float[Tensor, "harmful layer d_model"],
    harmless: Float[Tensor, "harmless layer d_model"],
) -> tuple[int, ...]:
    """The tenth of the layers (rounded down, at least one) whose class means are least alike.

    >>> import torch
    >>> harmful = torch.ones(2, 3, 4)  # prompt, layer, d_model
    >>> harmless = harmful * torch.tensor([1.0, 1.0, -1.0])[:, None]
    >>> evaluation_layers(harmful, harmless)
    (2,)
    """
    a, b = harmful.double().mean(0), harmless.double().mean(0)
    alike = torch.nn.functional.cosine_similarity(a, b, dim=-1)
    return tuple(sorted(alike.argsort(stable=True)[: max(1, int(SHARE * len(alike)))].tolist()))


def cosmic_passing(
    scores: Sequence[tuple[int, int, float, float, float]], n_layers: int
) -> tuple[int, ...]:
    """Indices of the candidates that pass, best first.

    `scores` holds (layer, offset, comply, refuse, KL) of each; the layer is the one whose input the
    direction's site is, so that the output of block l counts as l + 1. Left out: any NaN, a layer
    in the last fifth (l >= int(.8 L)), KL above .1. A candidate at the last token is also left out
    if its layer lies above two medians over the other offsets: of the layer with the highest
    `comply` and of that with the highest `refuse`. The rest in order of comply + refuse, largest
    first.

    >>> cosmic_passing([(3, -1, 0.4, 0.4, 0.05), (4, -2, 0.5, 0.5, 0.05)], n_layers=10)
    (1, 0)
    """
    limit = first_late_layer(n_layers)
    defined = [i for i, row in enumerate(scores) if not any(math.isnan(x) for x in row[2:])]
    bounds = [_median_of_best(scores, defined, column) for column in (2, 3)]
    kept: list[tuple[float, int]] = []
    for i in defined:
        layer, offset, comply, refuse, kl = scores[i]
        late = offset == -1 and all(bound is not None and layer > bound for bound in bounds)
        if layer < limit and kl <= KL_LIMIT and not late:
            kept.append((-(comply + refuse), i))
    return tuple(i for _, i in sorted(kept))


def select_cosmic(
    model: LensModel,
    directions: DirectionSet | Sequence[Direction],
    *,
    train: tuple[PromptSet, PromptSet],
    val: tuple[PromptSet, PromptSet],
    category: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> CosmicSelection:
    """COSMIC's choice among directions of any estimator, each added at the site of its fit.

    `directions` is a list, or a set, of which those of one `category` are taken (which need not be
    named where there is one) at every site and offset where they are defined. `train` and `val` are
    (refuse side, benign side); `train` chooses the evaluation layers.

    >>> train, test = (
    ...     tuple(prompts.only(split=split, label=label) for label in ("refuse", "comply"))
    ...     for split in ("train", "test")
    ... )
    >>> ways = [directions["advice", layer] for layer in (1, 2)]
    >>> chosen = select_cosmic(model, ways, train=train, val=test)
    >>> [candidate.layer for candidate in chosen.candidates]
    [1, 2]
    >>> medians = rl.directions.make_estimator("median_difference").pooled(model.residuals(prompts))
    >>> chosen = select_cosmic(model, medians, train=train, val=test)
    >>> [str(candidate.site) for candidate in chosen.candidates]
    ['resid_pre[1]', 'resid_pre[2]']

    Raises:
        InputError: fewer than two prompts on a side of `val`; a set of several categories of which
            none is named, or none of whose directions is defined.
    """
    directions = candidates_of(directions, category)
    if min(map(len, val)) < 2:
        raise InputError(
            f"COSMIC pools {len(val[0])} refuse-side and {len(val[1])} benign prompts; expected at "
            "least two of each"
        )
    evaluated = evaluation_layers(*(hidden_states(model, side) for side in train))
    harmful, harmless = (_pooled(model, side, evaluated) for side in val)
    anchors = unit(harmful.mean(0)), unit(harmless.mean(0))
    plain = model.logits(val[1])
    candidates: list[CosmicCandidate] = []
    for d in directions:
        with model.editing(Ablate(d)):
            ablated = _pooled(model, val[0], evaluated)
            kl = kl_divergence(plain, model.logits(val[1]))
        with model.editing(Add(d, strength=1.0, at=_as_input(d.site, model.n_layers))):
            added = _pooled(model, val[1], evaluated)
        candidates.append(
            CosmicCandidate(
                layer=d.site.layer,
                offset=d.offset,
                comply=_cosine(ablated, anchors[1], harmful),
                refuse=_cosine(added, anchors[0], harmless),
                kl=mean_estimate(kl.tolist(), 0.0),
                point=d.site.point,
            )
        )
        progress(1)
    rows = [
        (
            c.site.vector_of_stream[0],
            c.offset,
            value_or_nan(c.comply),
            value_or_nan(c.refuse),
            value_or_nan(c.kl),
        )
        for c in candidates
    ]
    survivors = cosmic_passing(rows, model.n_layers)
    return CosmicSelection(evaluated, tuple(candidates), survivors, next(iter(survivors), None))


def candidates_of(
    directions: DirectionSet | Sequence[Direction], category: str | None = None
) -> tuple[Direction, ...]:
    """The directions that are tried: those of a list, or the defined ones of a set's category.

    >>> len(candidates_of(directions, "advice")), len(candidates_of([direction]))
    (..., 1)

    Raises:
        InputError: as `select_cosmic`.
    """
    if not isinstance(directions, DirectionSet):
        return several_directions(directions)
    if category is None:
        category, *others = directions.categories
        if others:
            raise InputError(
                f"this direction set has {len(directions.categories)} categories; name the one to "
                f"choose a layer for, as in category={category!r}"
            )
    if category not in directions.categories:
        raise InputError(
            f"category {category!r} is not in this direction set; it holds "
            f"{list(directions.categories)}"
        )
    defined = directions.defined()[directions.categories.index(category)]
    tried = tuple(
        directions.at_site(category, site, offset)
        for s, site in enumerate(directions.sites)
        for o, offset in enumerate(directions.offsets)
        if bool(defined[o, s])
    )
    if not tried:
        raise InputError(f"no direction of {category!r} in this set is defined; fit at later sites")
    return tried


def hidden_states(model: LensModel, prompts: PromptSet) -> Float[Tensor, "prompt layer d_model"]:
    """The output of every block at the last token, the last one after the final norm."""
    sites = [Site(layer, "resid_post") for layer in range(model.n_layers)]
    resid = model.residuals(prompts, sites=sites).tensor[:, 0]
    return torch.cat([resid[:, :-1], model.final_norm(resid[:, -1])[:, None]], dim=1)


def _as_input(site: Site, n_layers: int) -> Site:
    """The same vector of the stream as a block's input, if it is one.

    An addition there is not seen in the output of the block before, which may be evaluated.
    """
    layer, point = site.vector_of_stream
    return Site(layer) if point == "resid_pre" and layer < n_layers else site


def _pooled(
    model: LensModel, prompts: PromptSet, evaluated: tuple[int, ...]
) -> Float[Tensor, "prompt d_model"]:
    """The mean over the evaluation layers for each prompt."""
    return hidden_states(model, prompts)[:, list(evaluated)].double().mean(1)


def _cosine(
    edited: Float[Tensor, "prompt d_model"],
    anchor: Float[Tensor, " d_model"],
    unedited: Float[Tensor, "prompt d_model"],
) -> Estimate:
    """Cosine of the pooled mean with a fixed anchor, jackknifed over the edited prompts."""
    n = len(edited)
    value, control = (float(unit(x.mean(0)) @ anchor) for x in (edited, unedited))
    without = unit((edited.sum(0) - edited) / (n - 1)) @ anchor
    half = float(t_quantile(n - 1) * jackknife_error(without))
    if math.isnan(value + half):
        return Estimate(None, None, None, n, _METHOD, control)
    return Estimate(value, value - half, value + half, n, _METHOD, control)


def _median_of_best(
    scores: Sequence[tuple[int, int, float, float, float]], defined: Sequence[int], column: int
) -> float | None:
    """Median over all offsets but the last of the layer with the highest score."""
    best: dict[int, tuple[float, int]] = {}
    for i in defined:
        layer, offset, value = scores[i][0], scores[i][1], scores[i][column]
        if offset != -1 and value > best.get(offset, (-math.inf, 0))[0]:
            best[offset] = (value, layer)
    layers = [layer for _, layer in best.values()]
    return float(torch.tensor(layers, dtype=torch.float64).quantile(0.5)) if layers else None
