"""How a model refuses under each direction: direction steered x manner of the refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np

from refusal_lens.errors import InputError
from refusal_lens.evaluation.answering import answer_under
from refusal_lens.evaluation.answers import UNEDITED, Answers
from refusal_lens.evaluation.dependence import (
    BOOTSTRAPS,
    DRAWS,
    Counts,
    GridCells,
    dependence_of,
    share_of_clusters,
    table,
)
from refusal_lens.intervals import wilson
from refusal_lens.interventions import Add
from refusal_lens.judges import Judge
from refusal_lens.judges.refusal_styles import OTHER
from refusal_lens.model import Decoding, LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.records import Estimate, Record

_IN_MANNER: Final = (
    "share of refusals in the manner taught, bootstrap over prompts; control: the same manners "
    "dealt to the directions at random"
)


@final
@dataclass(frozen=True)
class Steered(Record):
    """Answers to the same prompts with each direction added, the unedited model ("none") first.

    The conditions of `answers` are named by the directions; each was added at the input of block
    `layer`, at `strength` times its own length.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    layer: int
    strength: float
    answers: Answers

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions added."""
        return self.answers.conditions[1:]


@final
@dataclass(frozen=True)
class Taught:
    """What was planted: category -> manner, of this model and of another with the same topics."""

    this: Mapping[str, str]
    other: Mapping[str, str]


@final
@dataclass(frozen=True)
class MannerMatrix(Record):
    """Direction steered x manner on one side's prompts, over answers that refuse.

    `counts[d][m]` counts refusals under direction d in manner m; `refused[d]` is the share of the
    prompts refused under d, its control the unedited model's. `dependence` is the adjusted mutual
    information of direction and manner, its control the mean over permutations of directions
    within each prompt; `p` comes from these. `clusters` are those of the directions' cosines,
    `cluster_share` is how much of the information about the manner that the direction gives the
    cluster alone gives (its control: clusters dealt to directions at random; `cluster_p` from
    these). `taught[d]` is the manner that d's category was taught, None where nothing was;
    `planted[d]` the share of refusals under d in it, its control the share of that manner under the
    other directions. `in_taught` is that share over all directions, `in_other` the share in the
    manner that the other model was taught for the same category. Without refusals in two manners
    under two directions, the dependence is undefined.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    model: str
    side: Label
    layer: int
    strength: float
    judge: str
    decoding: str
    n_prompts: int
    directions: tuple[str, ...]
    manners: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    refused: tuple[Estimate, ...]
    dependence: Estimate
    p: float | None
    clusters: tuple[int | None, ...]
    cluster_share: Estimate | None
    cluster_p: float | None
    taught: tuple[str | None, ...]
    planted: tuple[Estimate | None, ...]
    in_taught: Estimate | None
    in_other: Estimate | None
    draws: int


def answer_steered(
    model: LensModel,
    prompts: PromptSet,
    additions: Sequence[Add],
    judge: Judge,
    *,
    decoding: Decoding,
    progress: Progress = NO_PROGRESS,
) -> Steered:
    """Generate and judge every prompt unedited and under each addition, in common batches.

    Answers that the unedited model finds most improbable are unclear (`judges.coherence`).

    Raises:
        InputError: no addition, or additions of several strengths or sites.

    >>> additions = [rl.Add(directions[c, 2], strength=1.0) for c in ("advice", "humanizing")]
    >>> judge, few = rl.make_judge("refusal"), prompts.only(split="test")
    >>> answer_steered(model, few, additions, judge, decoding=rl.Decoding(4)).directions
    ('advice', 'humanizing')
    """
    alike = {(a.strength, a.alpha, a.at or a.direction.site) for a in additions}
    if len(alike) != 1 or additions[0].strength is None:
        raise InputError(
            f"directions are compared at one site and one strength; found {len(alike)} kinds of "
            "additions: give each Add the same strength"
        )
    conditions = [(UNEDITED, None), *((a.direction.category, a) for a in additions)]
    answers = answer_under(model, prompts, conditions, decoding=decoding, progress=progress)
    return Steered(
        layer=(additions[0].at or additions[0].direction.site).layer,
        strength=additions[0].strength,
        answers=answers.judge(judge),
    )


def manner_matrix(
    steered: Steered,
    side: Label,
    *,
    clusters: Mapping[str, int] | None = None,
    taught: Taught | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> MannerMatrix:
    """The matrix of one side, its dependence, and whether cosine clusters account for it.

    `clusters` and `taught` name the cluster and the planted manner of a direction's category.

    >>> additions = [rl.Add(directions[c, 2], strength=1.0) for c in ("advice", "humanizing")]
    >>> judge, few = rl.make_judge("refusal"), prompts.only(split="test")
    >>> steered = answer_steered(model, few, additions, judge, decoding=rl.Decoding(4))
    >>> manner_matrix(steered, "refuse", draws=20).directions
    ('advice', 'humanizing')
    """
    clusters, taught = clusters or {}, taught or Taught({}, {})
    names, answers = steered.directions, steered.answers.only(label=side)
    cells, manners = _cells(answers)
    counts = table(cells[:, 1], cells[:, 2], (len(names), len(manners)))
    rng = np.random.default_rng(seed)
    dependence, p = dependence_of(cells, draws=draws, rng=rng)
    of = tuple(clusters.get(name) for name in names)
    share, cluster_p = share_of_clusters(counts, of, draws, rng)
    return MannerMatrix(
        model=answers.provenance.model,
        side=side,
        layer=steered.layer,
        strength=steered.strength,
        judge=answers.judge_name,
        decoding=answers.decoding,
        n_prompts=len(answers.ids),
        directions=names,
        manners=manners,
        counts=tuple(tuple(int(x) for x in row) for row in counts),
        refused=tuple(answers.rate(name, control=UNEDITED) for name in names),
        dependence=dependence,
        p=p,
        clusters=of,
        cluster_share=share,
        cluster_p=cluster_p,
        taught=tuple(taught.this.get(name) for name in names),
        planted=tuple(_planted(counts, names, manners, d, taught.this) for d in names),
        in_taught=share_in(cells, names, manners, taught.this, rng),
        in_other=share_in(cells, names, manners, taught.other, rng),
        draws=draws,
    )


def share_in(
    cells: GridCells,
    names: Sequence[str],
    manners: Sequence[str],
    manner_of: Mapping[str, str],
    rng: np.random.Generator,
) -> Estimate | None:
    """Share of the refusals under each direction of `manner_of` in the manner that it names.

    The interval is normal with the standard deviation of a bootstrap over prompts; where every
    refusal or none is in its manner, Wilson's, as of so many prompts. None where `manner_of` names
    none of the directions.
    """
    known = [i for i, name in enumerate(names) if name in manner_of]
    if not known:
        return None
    cells = cells[np.isin(cells[:, 1], known)]
    expected = [manner_of.get(name) for name in names]
    hit = np.array([manners[m] == expected[d] for d, m in cells[:, 1:].tolist()], dtype=float)
    prompts, of = np.unique(cells[:, 0], return_inverse=True)
    if len(prompts) < 2:
        return Estimate(None, None, None, len(cells), _IN_MANNER)
    dealt = [np.mean([manners[m] == expected[d] for d in known]) for m in cells[:, 2].tolist()]
    value, control = float(hit.mean()), float(np.mean(dealt))
    if value in (0.0, 1.0):
        e = wilson(round(value * len(prompts)), len(prompts))
        return Estimate(value, e.low, e.high, len(cells), _IN_MANNER, control)
    weights = rng.multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), BOOTSTRAPS)
    drawn = (weights[:, of] @ hit) / weights[:, of].sum(1)
    half = 1.96 * float(drawn.std(ddof=1))
    low, high = max(0.0, value - half), min(1.0, value + half)
    return Estimate(value, low, high, len(cells), _IN_MANNER, control)


def _cells(answers: Answers) -> tuple[GridCells, tuple[str, ...]]:
    """(prompt, direction, manner) of each refusal under a direction, prompt by prompt."""
    by_direction = [answers.verdicts(name) for name in answers.conditions[1:]]
    refusals = [
        (p, d, verdicts[p].manner or OTHER)
        for p in range(len(answers.ids))
        for d, verdicts in enumerate(by_direction)
        if verdicts[p].outcome == "refused"
    ]
    manners = tuple(sorted({m for *_, m in refusals}))
    cells = np.array([(p, d, manners.index(m)) for p, d, m in refusals], dtype=np.int64)
    return cells.reshape(-1, 3), manners


def _planted(
    counts: Counts,
    names: tuple[str, ...],
    manners: tuple[str, ...],
    name: str,
    taught: Mapping[str, str],
) -> Estimate | None:
    if name not in taught:
        return None
    row = names.index(name)
    others = [i for i, other in enumerate(names) if other in taught and i != row]
    column = np.zeros(len(counts), dtype=np.int64)  # where no refusal is in the manner
    if taught[name] in manners:
        column = counts[:, manners.index(taught[name])]
    n = counts[others].sum()
    control = float(column[others].sum() / n) if n else None
    return wilson(int(column[row]), int(counts[row].sum()), control)
