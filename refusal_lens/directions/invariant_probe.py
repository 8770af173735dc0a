"""Invariant refusal probes over environments: ERM, IRM, IB-ERM and IB-IRM (arXiv 2106.06607).

A linear probe of what the model refused, which should be as good in an environment that it has not
seen: Ahuja et al. 2021, Invariance Principle Meets Information Bottleneck. IRM asks that one scale
and offset of the logit be the best in every environment; where the invariant features determine
the label that does not keep spurious ones out, and a bottleneck (least variance) is added. Without
both (ERM) and unpenalised it is logistic regression, whose pattern (Haufe et al. 2014) for classes
of equal covariance is the mean difference, up to shrinkage.

In the tests' examples of known truth (an invariant and a spurious coordinate, two environments to
train on) IRM and IB-IRM drop the spurious one where labels are noisy. Where they are not, the case
that IB-IRM is for, IB-ERM drops it in one example of two and IB-IRM gains nothing over ERM.

`invariance/` holds what a fit is made of. This is no registered estimator: it needs environments
with both sides each, which prompts of one category do not have, so that there are no directions by
category; `InvariantProbe.filters` and `.patterns` are sets of pooled directions like any other.
Jackknife intervals over pairs make no sense of it: a choice among configurations jumps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.arguments import one
from refusal_lens.auroc import auroc_over_units, aurocs
from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import NOISE_FLOOR
from refusal_lens.directions.invariance.environments import EnvironmentData, notes_on
from refusal_lens.directions.invariance.recipe import METHODS, Config, InvarianceRecipe, Principle
from refusal_lens.directions.invariance.selection import Search, fit
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.linalg import unit
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

_DEFAULT: Final = InvarianceRecipe()


@final
@dataclass(frozen=True)
class InvariantMethod:
    """One of the four: how good it is on environments that it has not seen, and its direction.

    `auroc[i]` is that on the i-th outer environment, which is in no fit and no choice, with
    `chosen[i]`; control: chance, .5. `mean` is over outer environments, `gain` the mean difference
    to ERM (control 0), both with t intervals over environments, whose training data overlap;
    undefined with one. `oracle[i]`:
    the AUROC of the configuration that is best on the outer environment itself, an upper bound.
    `config` is that of the directions, and the cosines are the filter's: to the mean difference, to
    the mean of the environments' unit mean differences, to ERM's filter, and the least one between
    two seeds; None where it is undefined.
    """

    method: Principle
    chosen: tuple[Config, ...]
    auroc: tuple[Estimate, ...]
    mean: Estimate
    gain: Estimate
    oracle: tuple[float, ...]
    config: Config
    to_mean_difference: float | None
    to_environments: float | None
    to_erm: float | None
    between_seeds: float | None


@final
@dataclass(frozen=True, eq=False)
class InvariantProbe(Record):
    """The 2 x 2 of ERM, IRM, IB-ERM and IB-IRM at one site and offset, whole.

    `counts` are prompts (refuse, comply) of each environment; `outer` names those that were left
    out in turn to test on. `filter_vectors` are w_raw = V w / sigma (what to read refusal with) and
    `pattern_vectors` Sigma w_raw (what refusal adds, to steer with; Haufe et al. 2014), of unit
    length and towards refusal, mean over seeds; NaN where the probe does not tell the sides apart.
    `centres` are the class means (refuse, comply), every environment weighing the same. `notes`
    say what to know before reading a gain.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    site: Site
    offset: int
    environments: tuple[str, ...]
    counts: tuple[tuple[int, int], ...]
    outer: tuple[str, ...]
    methods: tuple[InvariantMethod, ...]
    filter_vectors: Float64[Tensor, "method d_model"]
    pattern_vectors: Float64[Tensor, "method d_model"]
    centres: Float64[Tensor, "label d_model"]
    recipe: InvarianceRecipe
    notes: tuple[str, ...]
    provenance: Provenance

    def of(self, method: Principle) -> InvariantMethod:
        """The results of one method.

        Raises:
            InputError: there is no such method.
        """
        if method not in METHODS:
            raise InputError(f"method {method!r} is unknown; use one of {list(METHODS)}")
        return self.methods[METHODS.index(method)]

    @property
    def filters(self) -> DirectionSet:
        """The filters as directions, by method: `probe.filters["IB-IRM"]`."""
        return self._set(self.filter_vectors, "filter")

    @property
    def patterns(self) -> DirectionSet:
        """The patterns as directions, by method: `probe.patterns["IB-IRM"]`."""
        return self._set(self.pattern_vectors, "pattern")

    def _set(self, vectors: Float64[Tensor, "method d_model"], kind: str) -> DirectionSet:
        high, low = (vectors @ self.centres.mT).T[:, :, None, None]
        n = sum(a for a, _ in self.counts), sum(b for _, b in self.counts)
        return DirectionSet(
            method=f"invariant probe, {kind}",
            categories=METHODS,
            offsets=(self.offset,),
            sites=(self.site,),
            vectors=vectors[:, None, None].float(),
            scale=(high - low).nan_to_num(0.0).float(),
            low=low.float(),
            high=high.float(),
            count=(n,) * len(METHODS),
            provenance=self.provenance,
        )


def fit_invariant_probe(
    residuals: Residuals,
    environments: Mapping[str, str],
    site: Site,
    offset: int = -1,
    *,
    recipe: InvarianceRecipe = _DEFAULT,
    progress: Progress = NO_PROGRESS,
) -> InvariantProbe:
    """Probes of the labels over environments, each tested on one that it has not seen.

    `environments` maps prompt ids to environments (`environments_by`); prompts without one are left
    out. Labels should be what this model did: relabel the residuals by a judge's verdicts
    (`residuals.only(prompts=relabelled)`). Residuals are standardised over training environments
    and reduced to `recipe.components`; a configuration is chosen by leaving out one training
    environment after the other, the highest mean AUROC. `progress` counts fits of the grid.

    >>> few = rl.directions.InvarianceRecipe(components=4, steps=20, warm_up=5, decays=(0.001,))
    >>> by_category = rl.directions.environments_by(prompts, "category")
    >>> residuals = model.residuals(prompts)
    >>> probe = rl.directions.fit_invariant_probe(residuals, by_category, rl.Site(2), recipe=few)
    >>> [m.method for m in probe.methods], len(probe.of("IRM").auroc)
    (['ERM', 'IRM', 'IB-ERM', 'IB-IRM'], 3)
    >>> probe.patterns["IB-IRM"]
    Direction('IB-IRM', resid_pre[2], offset -1, scale ..., d_model 32)

    Raises:
        InputError: fewer than three environments; one without two prompts on either side, or whose
            comply side is another's; an unknown prompt, site, offset or outer environment.
    """
    one(residuals, Residuals, what="residuals", write="model.residuals(prompts)")
    one(environments, Mapping, what="environments", write='environments_by(prompts, "category")')
    data = EnvironmentData.of(residuals, environments, site, offset)
    if recipe.outer is not None and recipe.outer not in data.names:
        raise InputError(f"outer environment {recipe.outer!r} is not among {list(data.names)}")
    every = range(len(data.names))
    outer = [e for e in every if recipe.outer in (None, data.names[e])]
    search = Search(data, recipe, progress)
    tested = [_Tested.of(search, e) for e in outer]
    left_out = [] if recipe.outer is None else outer
    final_fit = _Final.of(search, left_out)
    notes = notes_on(data, residuals.labelled, environments)
    return InvariantProbe(
        site=site,
        offset=offset,
        environments=data.names,
        counts=data.counts(),
        outer=tuple(data.names[e] for e in outer),
        methods=tuple(_results(i, tested, final_fit) for i in range(len(METHODS))),
        filter_vectors=final_fit.filters,
        pattern_vectors=final_fit.patterns,
        centres=final_fit.centres,
        recipe=recipe,
        notes=notes + final_fit.notes,
        provenance=residuals.provenance,
    )


@final
@dataclass(frozen=True, eq=False)
class _Tested:
    """The four methods on one outer environment."""

    chosen: tuple[Config, ...]
    auroc: tuple[Estimate, ...]
    oracle: tuple[float, ...]

    @classmethod
    def of(cls, search: Search, environment: int) -> "_Tested":
        chosen = tuple(search.chosen([environment]).values())
        training, test = search.data.without([environment]), search.data.one(environment)
        basis, w = fit(training, chosen, search.recipe.seeds, search.recipe)
        logits = w.mean(1) @ basis(test.x).mT
        auroc = tuple(auroc_over_units(f, test.refused, test.unit) for f in logits)
        return cls(chosen, auroc, tuple(search.oracle(environment).values()))


@final
@dataclass(frozen=True, eq=False)
class _Final:
    """The probes whose directions are given, fitted on all environments that may be seen."""

    chosen: tuple[Config, ...]
    filters: Float64[Tensor, "method d_model"]
    patterns: Float64[Tensor, "method d_model"]
    centres: Float64[Tensor, "label d_model"]
    cosines: Float64[Tensor, "method other"]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, search: Search, left_out: list[int]) -> "_Final":
        data = search.data.without(left_out)
        chosen = tuple(search.chosen(left_out).values())
        basis, w = fit(data, chosen, search.recipe.seeds, search.recipe)
        raw = basis.back(w)
        weights = data.weights()
        centred = weights.sqrt()[:, None] * (data.x - basis.centre)
        sides = [2 * weights * side for side in (data.refused, ~data.refused)]
        centres = torch.stack([side @ data.x for side in sides])
        noise = NOISE_FLOOR * float((weights @ data.x.square().sum(1)).sqrt())
        mean = raw.mean(1)
        filters = _towards(mean, centres, noise)
        patterns = _towards((mean @ centred.mT) @ centred, centres, noise)
        others = torch.stack([centres[0] - centres[1], _mean_of_units(data), filters[0]])
        between = (unit(raw) @ unit(raw).mT).amin((1, 2))
        if raw.shape[1] == 1:  # a cosine with itself says nothing
            between = torch.full_like(between, torch.nan)
        cosines = torch.cat([filters @ unit(others).mT, between[:, None]], dim=1)
        logits = w[:1].mean(1) @ basis(data.x).mT
        notes = _notes(data, len(w[0, 0]) - 1, logits)
        return cls(chosen, filters, patterns, centres, cosines, notes)


def _towards(
    vectors: Float64[Tensor, "method d_model"],
    centres: Float64[Tensor, "label d_model"],
    noise: float,
) -> Float64[Tensor, "method d_model"]:
    """Unit vectors along which the refuse side is further; NaN where the sides do not differ."""
    directions = unit(vectors)
    gap = directions @ (centres[0] - centres[1])
    return torch.where(gap.abs() > noise, gap.sign(), torch.nan)[:, None] * directions


def _mean_of_units(data: EnvironmentData) -> Float64[Tensor, " d_model"]:
    """The mean of the environments' unit mean differences."""
    units: list[Tensor] = []
    for e in data.environment.unique().tolist():
        of = data.one(e)
        units.append(unit(of.x[of.refused].mean(0) - of.x[~of.refused].mean(0)))
    return torch.stack(units).nan_to_num(0.0).mean(0)


def _notes(
    data: EnvironmentData, components: int, erm: Float64[Tensor, "1 prompt"]
) -> tuple[str, ...]:
    """What the training data allow."""
    environments = data.environment.unique().tolist()
    notes: list[str] = []
    if len(environments) < components:
        notes.append(
            f"{len(environments)} training environments for {components} components: linear IRM "
            "needs about more environments than there are spurious dimensions; expect no gain over "
            f"ERM where {len(environments)} or more of them are spurious"
        )
    each = [aurocs(erm[:, data.environment == e], data.one(e).refused) for e in environments]
    if min(map(float, each)) == 1:
        notes.append(
            "ERM separates every training environment perfectly: gradients of the risk vanish, and "
            "with them the invariance penalty; take fewer components or more prompts"
        )
    return tuple(notes)


def _over_environments(values: Float64[Tensor, " outer"], control: float) -> Estimate:
    method = "mean over outer environments, t interval over environments"
    return replace(mean_estimate(values.tolist(), control), method=method)


def _as_area(e: Estimate) -> Estimate:
    """With its t interval cut off where no area can be."""
    if e.low is None or e.high is None:
        return e
    return replace(e, low=max(0.0, e.low), high=min(1.0, e.high))


def _results(i: int, tested: list[_Tested], final_fit: _Final) -> InvariantMethod:
    values = torch.tensor([[e.value for e in t.auroc] for t in tested], dtype=torch.float64)
    cosines = [None if x != x else x for x in final_fit.cosines[i].tolist()]
    return InvariantMethod(
        method=METHODS[i],
        chosen=tuple(t.chosen[i] for t in tested),
        auroc=tuple(t.auroc[i] for t in tested),
        mean=_as_area(_over_environments(values[:, i], 0.5)),
        gain=_over_environments(values[:, i] - values[:, 0], 0.0),
        oracle=tuple(t.oracle[i] for t in tested),
        config=final_fit.chosen[i],
        to_mean_difference=cosines[0],
        to_environments=cosines[1],
        to_erm=cosines[2],
        between_seeds=cosines[3],
    )
