"""Ways of finding directions side by side: a row for each, with tests against the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, final

from scipy.stats import false_discovery_control

from refusal_lens.intervals import mcnemar_p
from refusal_lens.records import Estimate, Provenance, Record

EstimatorMetric = Literal["removed", "left_out_removed", "damage_refusal", "damage_over_refusal"]
METRICS: Final[tuple[EstimatorMetric, ...]] = (
    *("removed", "left_out_removed"),
    *("damage_refusal", "damage_over_refusal"),
)

LEAST_COMMON: Final = 6
"""Prompts in common below which no split has an exact McNemar p of .05: 2 / 2^5 is .0625."""


@final
@dataclass(frozen=True)
class EstimatorFit(Record):
    """How one way of finding directions was fitted, on how many prompts, at what cost.

    `labels` is what the two sides are: what the model did ("behaviour"), what was "intended", or
    the sign of the unedited prompt's "refusal score". `n_prompts`, and `provenance` with them, are
    those that this one was fitted on.
    `n_directions` is the dimension of what is ablated; `draws` is more than one for controls, of
    which `draws_at_budget` reach the damage budget at some strength. `seconds` and
    `peak_mib` (growth of the process) are of this machine.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    name: str
    kind: str
    method: str
    layer: int
    labels: str
    n_prompts: int
    n_directions: int
    draws: int
    draws_at_budget: int
    seconds: float
    peak_mib: float
    provenance: Provenance


@final
@dataclass(frozen=True)
class PairedTest:
    """A comparison with the reference on the same prompts: exact McNemar test, two-sided.

    `n` counts the prompts that were read under both. `p` is the probability of those that only one
    of the two refuses being split at least as unevenly by chance; `q` is `p` after
    Benjamini-Hochberg over the tests of its kind: of estimators, or of controls. It is None with
    fewer than `LEAST_COMMON` prompts: such a test could not come out, and takes no part in the
    correction.
    """

    metric: EstimatorMetric
    n: int
    only_here: int
    only_reference: int
    p: float
    q: float | None


@final
@dataclass(frozen=True)
class EstimatorRow:
    """One way of finding directions; None is not measured, or not defined for it.

    `reliability`: agreement of halves of the pooled direction, stepped up. `cosine`: to the mean
    difference, corrected; `naive` as it is. `separation`: held-out AUROC within categories;
    `left_out_separation` of directions fitted without the category. Rates are of read answers:
    `removed`, harmful prompts refused under ablation (control: unedited); `left_out_removed`, the
    same with each prompt's category left out of the fit; `added`, benign ones refused with the
    direction added at its own length. `strength` does the damage budget, in lengths of the
    direction (`length`, in residual-stream units); under it `damage_refusal` and
    `damage_over_refusal` of harmful and benign prompts. `matched_over_refusal` is at matched
    refusal. `kl`, `text_change`: what ablation costs, nats.

    The rates of a control are over its `draws` in turn, those at the budget over the
    `draws_at_budget` that reach it, each at its own strength; everything else is of the first draw.
    Where `n_directions` is above 1, `removed`, `kl` and `text_change` are of the span and
    everything else of its first direction.
    """

    name: str
    kind: str
    method: str
    n_directions: int
    draws: int
    draws_at_budget: int
    seconds: float
    peak_mib: float
    reliability: Estimate | None
    cosine: Estimate | None
    naive: float | None
    separation: Estimate
    left_out_separation: Estimate | None
    removed: Estimate
    left_out_removed: Estimate | None
    added: Estimate
    length: float
    strength: float | None
    no_strength: str | None
    damage_refusal: Estimate | None
    damage_over_refusal: Estimate | None
    matched_over_refusal: Estimate | None
    kl: Estimate
    text_change: Estimate
    tests: tuple[PairedTest, ...] = ()

    def test(self, metric: EstimatorMetric) -> PairedTest | None:
        """The test of one metric against the reference."""
        return next((t for t in self.tests if t.metric == metric), None)


@final
@dataclass(frozen=True)
class MatchedAt:
    """Where directions are compared at matched refusal, which may be in another model.

    `rate` is that of the set refusal rates which most of them reach, None where none reaches any.
    Of the pairs that were `asked`, the answers of `read` were generated and judged, and the others
    scored; `n_pairs` have a verdict everywhere. `outside[rate]` are those of the `estimators` that
    do not reach a rate; the others are compared there two by two. `low` and `high` are the ends of
    the simultaneous 95% band of these `differences` in over-refusal, `apart` of which it tells from
    0; None where nothing could be compared.
    """

    model: str
    rate: float | None
    asked: int
    read: int
    n_pairs: int
    estimators: int
    outside: tuple[tuple[float, tuple[str, ...]], ...]
    differences: int
    apart: int
    low: float | None
    high: float | None


@final
@dataclass(frozen=True)
class EstimatorComparison(Record):
    """All of them at one layer of a model, the reference first and controls last.

    `damage_kl` is the budget in nats. `matched` says where over-refusal at matched refusal was
    measured, None where it was not.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    layer: int
    labels: str
    judge: str
    decoding: str
    reference: str
    damage_kl: float
    matched: MatchedAt | None
    rows: tuple[EstimatorRow, ...]
    provenance: Provenance

    def row(self, name: str) -> EstimatorRow:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)


RefusedById = Mapping[str, bool]
"""Prompt id -> refused; answers that could not be read are left out."""


def with_paired_tests(
    rows: Sequence[EstimatorRow],
    flags: Sequence[Mapping[EstimatorMetric, RefusedById]],
    reference: str,
) -> tuple[EstimatorRow, ...]:
    """The rows with their tests against the reference, corrected over those of each kind.

    `flags[i][metric]` are the verdicts behind row i's rate. Prompts read under both count.
    """
    base = flags[[row.name for row in rows].index(reference)]
    tests: list[tuple[int, PairedTest]] = []
    for i, (row, each) in enumerate(zip(rows, flags, strict=True)):
        for metric in METRICS:
            if row.name != reference and metric in each and metric in base:
                tests.append((i, _mcnemar(metric, each[metric], base[metric])))
    # Controls differ from the reference by design: among the estimators' tests each of theirs that
    # is rejected would loosen the threshold for the rest.
    for kind in {row.kind for row in rows}:
        able = [
            k
            for k, (i, test) in enumerate(tests)
            if rows[i].kind == kind and test.n >= LEAST_COMMON
        ]
        q = false_discovery_control([tests[k][1].p for k in able]) if able else ()
        for k, value in zip(able, q, strict=True):
            i, test = tests[k]
            tests[k] = i, replace(test, q=float(value))
    return tuple(
        replace(row, tests=tuple(test for j, test in tests if j == i)) for i, row in enumerate(rows)
    )


def _mcnemar(metric: EstimatorMetric, here: RefusedById, there: RefusedById) -> PairedTest:
    both = here.keys() & there.keys()
    a = sum(here[key] and not there[key] for key in both)
    b = sum(there[key] and not here[key] for key in both)
    return PairedTest(metric, len(both), a, b, mcnemar_p(a, b), None)
