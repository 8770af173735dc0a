"""What is compared by `refusal-lens compare-estimators`: one way of finding directions.

Every file beside this one lists some, as `COMPARED`. All are fitted on the same prompts, at the
chosen layer and the last token: by what the model did, or by intended labels where the run edits
with these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

import torch

from refusal_lens.directions import Direction, DirectionSet, Estimator, InvariantProbe
from refusal_lens.geometry import contrast_prompts
from refusal_lens.geometry.contrasts import BOTH
from refusal_lens.progress import Progress
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site
from refusal_lens.study.fitted import POOLED, Gap
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.stage import Bench
from refusal_lens.study.stages.behaviour import BEHAVIOUR

ComparedKind = Literal["estimator", "control"]
REFERENCE: Final = "mean_difference"


@final
@dataclass(frozen=True)
class Fitted:
    """What a way of finding directions gives on one sample.

    `pooled` is the direction over all categories; a control's draws. `categories` are each
    category's, where there are any, and `without[c]` the pooled one fitted on all categories but
    c. Where `basis` is not empty its span is what is ablated, in place of `pooled`. `refit` is the
    estimator with the residuals it was fitted on, where halves of these can be fitted as quickly;
    None where they can't, and reliability is not measured; those were then the run's own fitting
    prompts. `labels` is what the sides are where it isn't what the run's directions are of. `probe`
    is the invariant probe that the direction is of.
    """

    pooled: tuple[Direction, ...]
    categories: DirectionSet | None = None
    without: Mapping[str, Direction] = field(default_factory=dict[str, Direction])
    basis: tuple[Direction, ...] = ()
    method: str = ""
    refit: tuple[Estimator, Residuals] | None = None
    probe: InvariantProbe | None = None
    labels: str = ""


@final
@dataclass(frozen=True)
class Compared:
    """One way of finding directions: its name, kind, and how it is fitted.

    An `InputError` of `fit` is a gap of this one in the run, and keeps no other from it.
    `slow` ones run only where they are named. Those of one `group` are only shown together, and run
    where one of them is named. `counts` is what the pooled
    fit and the strengths at the damage budget add to the stage's work, in units of a prompt that is
    read twice and answered. `place` orders the rows of the table.
    """

    name: str
    kind: ComparedKind
    fit: Callable[[Bench, Residuals, Progress], Fitted]
    slow: bool = False
    group: str | None = None
    counts: int = 2
    place: int = 100


def fitting_residuals(bench: Bench) -> Residuals:
    """Residuals at the chosen layer's last token, labelled by what the run's directions are of.

    Raises:
        Gap: too few prompts were refused, or too few answered.
    """
    resid = bench.train_resid().select(sites=(Site(chosen_layer(bench.results)),))
    if bench.study.fitted_on == "intended":
        return resid
    refused = bench.results.get(BEHAVIOUR).refused()
    prompts = contrast_prompts(resid.labelled, refused, BOTH)
    if not len(prompts):
        raise Gap("too few prompts were refused, or too few were answered, to fit by behaviour")
    return resid.only(prompts=prompts)


def direction_set(directions: Sequence[Direction], method: str) -> DirectionSet:
    """Directions of one site and offset, each under its name, as a set."""
    first = directions[0]
    return DirectionSet(
        method=method,
        categories=tuple(d.category for d in directions),
        offsets=(first.offset,),
        sites=(first.site,),
        vectors=torch.stack([d.vector for d in directions])[:, None, None],
        scale=torch.tensor([d.scale for d in directions])[:, None, None],
        low=torch.tensor([d.low for d in directions])[:, None, None],
        high=torch.tensor([d.high for d in directions])[:, None, None],
        count=((0, 0),) * len(directions),
        provenance=first.provenance,
    )


def fit_everywhere(estimator: Estimator, residuals: Residuals, tick: Progress) -> Fitted:
    """The pooled direction, each category's, and those that leave one category out."""
    pooled = estimator.within_categories(residuals)
    categories = estimator(residuals)
    tick(1)
    without: dict[str, Direction] = {}
    for category in residuals.labelled.categories:
        others = [c for c in residuals.labelled.categories if c != category]
        if not others:
            break
        rest = estimator.within_categories(residuals.only(category=others))
        without[category] = replace(pooled_direction(rest), category=category)
        tick(1)
    direction, refit = pooled_direction(pooled), (estimator, residuals)
    return Fitted((direction,), categories, without, method=pooled.method, refit=refit)


def pooled_direction(directions: DirectionSet) -> Direction:
    """The direction of a set that holds one.

    Raises:
        InputError: it is undefined.
    """
    return directions.at_site(POOLED, directions.sites[0], directions.offsets[0])
