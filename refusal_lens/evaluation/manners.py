"""How a model refuses under each direction: direction steered x manner of the refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
from jaxtyping import Float64, Int64
from sklearn.metrics import adjusted_mutual_info_score, mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

from refusal_lens.errors import InputError
from refusal_lens.intervals import wilson
from refusal_lens.interventions import Add, PerRow
from refusal_lens.judges import Judge, Outcome, judge_all
from refusal_lens.judges.manners import OTHER
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.forward import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.records import Estimate, Provenance, Record

UNEDITED: Final = "none"
DRAWS: Final = 9_999
_BOOTSTRAPS: Final = 400
_CHUNK: Final = 500
_METHOD: Final = (
    "adjusted mutual information of direction and manner; control: directions permuted within "
    "prompt"
)
Cells = Int64[np.ndarray, "cell 3"]
Counts = Float64[np.ndarray, "*draw row manner"]


@final
@dataclass(frozen=True)
class Steered(Record):
    """Answers to the same prompts under each direction, the unedited model ("none") first.

    The rows of `answers`, `outcomes` and `manners` are the directions, their columns the prompts.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    layer: int
    strength: float
    judge: str
    decoding: str
    directions: tuple[str, ...]
    ids: tuple[str, ...]
    labels: tuple[Label, ...]
    categories: tuple[str, ...]
    texts: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    outcomes: tuple[tuple[Outcome, ...], ...]
    manners: tuple[tuple[str | None, ...], ...]
    provenance: Provenance


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
    these). `planted[d]` is the share of refusals under d in the manner that d's category was
    taught, its control the share of that manner under the other directions; None where nothing was
    taught. Without refusals in two manners under two directions, everything is undefined.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

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
    planted: tuple[Estimate | None, ...]
    draws: int


def steer(
    model: LensModel,
    prompts: PromptSet,
    additions: Sequence[Add],
    judge: Judge,
    *,
    decoding: Decoding,
    progress: Progress = lambda n: None,
) -> Steered:
    """Generate and judge every prompt unedited and under each addition, in common batches.

    Raises:
        InputError: no addition, or additions of several strengths or sites.
    """
    alike = {(a.strength, a.alpha, a.at or a.direction.site) for a in additions}
    if len(alike) != 1 or additions[0].strength is None:
        raise InputError(
            f"directions are compared at one site and one strength; found {len(alike)} kinds of "
            "additions: give each Add the same strength"
        )
    rows = [(edit, p.text) for edit in (None, *additions) for p in prompts]
    with model.editing(PerRow(tuple(edit for edit, _ in rows))):
        said = model.generate([text for _, text in rows], decoding, progress=progress)
    verdicts = judge_all(judge, [(text, a) for (_, text), a in zip(rows, said, strict=True)])
    n = len(prompts)
    cuts = range(0, len(rows), n)
    return Steered(
        layer=(additions[0].at or additions[0].direction.site).layer,
        strength=additions[0].strength,
        judge=judge.name,
        decoding=f"max_new_tokens={decoding.max_new_tokens}, temperature={decoding.temperature}",
        directions=(UNEDITED, *(a.direction.category for a in additions)),
        ids=prompts.ids,
        labels=tuple(p.label for p in prompts),
        categories=tuple(p.category for p in prompts),
        texts=tuple(p.text for p in prompts),
        answers=tuple(tuple(said[i : i + n]) for i in cuts),
        outcomes=tuple(tuple(v.outcome for v in verdicts[i : i + n]) for i in cuts),
        manners=tuple(tuple(v.manner for v in verdicts[i : i + n]) for i in cuts),
        provenance=model.provenance(prompts, decoding.seed),
    )


def manner_matrix(
    steered: Steered,
    side: Label,
    *,
    clusters: Mapping[str, int] | None = None,
    taught: Mapping[str, str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> MannerMatrix:
    """The matrix of one side, its dependence, and whether cosine clusters account for it.

    `clusters` and `taught` name the cluster and the planted manner of a direction's category.
    """
    clusters, taught = clusters or {}, taught or {}
    names = steered.directions[1:]
    columns = [i for i, label in enumerate(steered.labels) if label == side]
    cells, manners = _cells(steered, columns)
    counts = table(cells[:, 1], cells[:, 2], (len(names), len(manners)))
    rng = np.random.default_rng(seed)
    dependence, p = dependence_of(cells, draws=draws, rng=rng)
    of = tuple(clusters.get(name) for name in names)
    share, cluster_p = _by_cluster(counts, of, draws, rng)
    return MannerMatrix(
        side=side,
        layer=steered.layer,
        strength=steered.strength,
        judge=steered.judge,
        decoding=steered.decoding,
        n_prompts=len(columns),
        directions=names,
        manners=manners,
        counts=tuple(tuple(int(x) for x in row) for row in counts),
        refused=_refused(steered, columns),
        dependence=dependence,
        p=p,
        clusters=of,
        cluster_share=share,
        cluster_p=cluster_p,
        planted=tuple(_planted(counts, names, manners, d, taught) for d in names),
        draws=draws,
    )


def dependence_of(
    cells: Cells, *, draws: int, rng: np.random.Generator
) -> tuple[Estimate, float | None]:
    """Adjusted mutual information of direction and manner over cells (prompt, direction, manner).

    The interval is normal, with the standard deviation of a bootstrap over prompts: a percentile
    interval would sit too high, since prompts drawn twice look like dependence. p permutes the
    directions within each prompt, (b + 1) / (B + 1). Cells lie in the order of their prompts.
    """
    prompts = np.unique(cells[:, 0])
    if len(np.unique(cells[:, 1])) < 2 or len(np.unique(cells[:, 2])) < 2 or len(prompts) < 2:
        return Estimate(None, None, None, len(prompts), _METHOD), None
    direction, manner = cells[:, 1], cells[:, 2]
    value = float(adjusted_mutual_info_score(direction, manner))
    p, permuted = permutation_test(cells, draws, rng)
    rows = [np.flatnonzero(cells[:, 0] == q) for q in prompts]
    drawn: list[float] = []
    for picks in rng.integers(len(rows), size=(_BOOTSTRAPS, len(rows))):
        chosen = np.concatenate([rows[i] for i in picks])
        drawn.append(float(adjusted_mutual_info_score(direction[chosen], manner[chosen])))
    half = 1.96 * float(np.std(drawn, ddof=1))
    control = float(_adjusted(direction, manner, permuted).mean())
    return Estimate(value, value - half, value + half, len(prompts), _METHOD, control), p


def permutation_test(
    cells: Cells, draws: int, rng: np.random.Generator
) -> tuple[float, Float64[np.ndarray, " draw"]]:
    """p of the information that directions give about manners, and the permuted information."""
    shape = (int(cells[:, 1].max()) + 1, int(cells[:, 2].max()) + 1)
    permuted = _permuted(cells, shape, draws, rng)
    seen = float(information(table(cells[:, 1], cells[:, 2], shape)))
    # Equal tables may differ in the last bits.
    return (float((permuted >= seen - 1e-9).sum()) + 1) / (draws + 1), permuted


def table(
    rows: Int64[np.ndarray, " cell"], columns: Int64[np.ndarray, " cell"], shape: tuple[int, int]
) -> Float64[np.ndarray, "row manner"]:
    """How often each row meets each column."""
    flat = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    return flat.reshape(shape).astype(np.float64)


def information(counts: Counts) -> Float64[np.ndarray, "*draw"]:
    """Mutual information (nats) of the rows and columns of tables of counts."""
    share = counts / counts.sum((-2, -1), keepdims=True)
    apart = share.sum(-1, keepdims=True) * share.sum(-2, keepdims=True)
    ratio = np.divide(share, apart, out=np.ones_like(share), where=share > 0)
    return np.asarray((share * np.log(ratio)).sum((-2, -1)))


def _permuted(
    cells: Cells, shape: tuple[int, int], draws: int, rng: np.random.Generator
) -> Float64[np.ndarray, " draw"]:
    """The information in tables whose directions were permuted within each prompt."""
    found: list[np.ndarray] = []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        keys = cells[:, 0][None] + rng.uniform(size=(size, len(cells)))
        moved = cells[:, 1][np.argsort(keys, axis=1)]
        flat = moved * shape[1] + cells[:, 2] + np.arange(size)[:, None] * shape[0] * shape[1]
        counts = np.bincount(flat.ravel(), minlength=size * shape[0] * shape[1])
        found.append(information(counts.reshape(size, *shape).astype(np.float64)))
    return np.concatenate(found)


def _adjusted(
    direction: Int64[np.ndarray, " cell"],
    manner: Int64[np.ndarray, " cell"],
    values: Float64[np.ndarray, " draw"],
) -> Float64[np.ndarray, " draw"]:
    """Information adjusted for chance as scikit-learn does, for tables with the same margins."""
    counts = table(direction, manner, (int(direction.max()) + 1, int(manner.max()) + 1))
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    chance = float(expected_mutual_information(counts.astype(np.int64), len(direction)))
    most = (mutual_info_score(direction, direction) + mutual_info_score(manner, manner)) / 2
    return (values - chance) / (most - chance)


def _by_cluster(
    counts: Counts, clusters: tuple[int | None, ...], draws: int, rng: np.random.Generator
) -> tuple[Estimate | None, float | None]:
    known = [i for i, c in enumerate(clusters) if c is not None and counts[i].sum() > 0]
    of = np.array([clusters[i] for i in known])
    whole = float(information(counts[known])) if known else 0.0
    if len(set(of.tolist())) < 2 or len(known) < 3 or whole <= 0:
        return None, None
    dealt = rng.permuted(np.tile(of, (draws, 1)), axis=1)
    groups = np.unique(of)
    member = (np.concatenate([of[None], dealt])[:, None] == groups[:, None]).astype(np.float64)
    share = information(member @ counts[known]) / whole
    p = (float((share[1:] >= share[0] - 1e-9).sum()) + 1) / (draws + 1)
    method = "share of the information about the manner; control: clusters dealt at random"
    return Estimate(float(share[0]), None, None, len(known), method, float(share[1:].mean())), p


def _cells(steered: Steered, columns: Sequence[int]) -> tuple[Cells, tuple[str, ...]]:
    """(prompt, direction, manner) of each refusal under a direction, prompt by prompt."""
    found = [
        (column, d - 1, steered.manners[d][column] or OTHER)
        for column in columns
        for d in range(1, len(steered.directions))
        if steered.outcomes[d][column] == "refused"
    ]
    manners = tuple(sorted({m for *_, m in found}))
    cells = np.array([(c, d, manners.index(m)) for c, d, m in found], dtype=np.int64)
    return cells.reshape(-1, 3), manners


def _refused(steered: Steered, columns: Sequence[int]) -> tuple[Estimate, ...]:
    def rate(row: tuple[Outcome, ...], control: float | None) -> Estimate:
        clear = [row[i] for i in columns if row[i] != "unclear"]
        missing = len(columns) - len(clear)
        return wilson(clear.count("refused"), len(clear), control, missing)

    plain = rate(steered.outcomes[0], None).value
    return tuple(rate(row, plain) for row in steered.outcomes[1:])


def _planted(
    counts: Counts,
    names: tuple[str, ...],
    manners: tuple[str, ...],
    name: str,
    taught: Mapping[str, str],
) -> Estimate | None:
    if name not in taught:
        return None
    own = names.index(name)
    others = [i for i, other in enumerate(names) if other in taught and i != own]
    column = manners.index(taught[name]) if taught[name] in manners else None
    hits = 0 if column is None else int(counts[own, column])
    n = counts[others].sum()
    control = float(counts[others, column].sum() / n) if column is not None and n else None
    return wilson(hits, int(counts[own].sum()), control)
