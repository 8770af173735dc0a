"""Measuring a ladder: spans of one to k directions ablated at every layer, and random ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.defence.ladder import CONTROL, Ladder
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.evaluation.answering import answer_under
from refusal_lens.evaluation.answers import Answers
from refusal_lens.evaluation.grid import check_whole_pairs
from refusal_lens.evaluation.scoring import scores_from_logits
from refusal_lens.interventions import UNEDITED, AblateSubspace, Edit
from refusal_lens.judges import Judge, ScoreTrust
from refusal_lens.linalg import kl_at_last_token
from refusal_lens.model import Decoding, LensModel, answers_unkept
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet

DRAWS: Final = 4
"""Random spans of each dimension; the prompts take them in turn."""


@final
@dataclass(frozen=True)
class LadderMaterial:
    """On what a ladder is measured: whole pairs, how they are answered and read, and scored.

    `trust` gives the scores by which refusal is compared at matched over-refusal; None leaves
    that out. `dimensions` are the rungs, by default every number of directions; `directions` names
    how the directions were fitted.
    """

    pairs: PromptSet
    judge: Judge
    decoding: Decoding
    trust: ScoreTrust | None = None
    dimensions: tuple[int, ...] | None = None
    directions: str = "deflation"


@final
@dataclass(frozen=True, eq=False)
class _Cell:
    """One condition: the edit of each prompt, in the order of the pairs."""

    name: str
    edits: Sequence[Edit | None]


def measure_ladder(
    model: LensModel,
    directions: Sequence[Direction],
    material: LadderMaterial,
    *,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Ladder:
    """What is refused, and what is damaged, with the span of the first directions ablated.

    `material.pairs` is what `evaluation.whole_pairs` gives, harmful and benign prompt in turn.
    Answers are read and dropped, and no store keeps them: an ablated model answers what it should
    not.

    >>> few = rl.evaluation.whole_pairs(prompts.only(split="test"), 3)
    >>> judge, decoding = rl.make_judge("substring"), rl.Decoding(4)
    >>> material = rl.defence.LadderMaterial(few, judge, decoding)
    >>> both = [directions["advice", 2], directions["humanizing", 2]]
    >>> ladder = rl.defence.measure_ladder(model, both, material)
    >>> ladder.dimensions, tuple(ladder.refused.shape)  # span rung side pair
    ((0, 1, 2), (2, 3, 2, 3))

    Raises:
        InputError: no direction, prompts that are not whole pairs, or a rung with more directions
            than there are.
    """
    check_whole_pairs(material.pairs, "a ladder")
    rungs = _rungs(material.dimensions, len(directions))
    cells = _cells(directions, rungs, len(material.pairs), seed)
    conditions = [(cell.name, list(cell.edits)) for cell in cells]
    with answers_unkept(model):
        unread = answer_under(
            model, material.pairs, conditions, decoding=material.decoding, progress=progress
        )
    answers = unread.judge(material.judge)
    refused = _flags(answers)
    kl, score = _passes(model, material, cells, progress)
    place = [*range(len(rungs)), 0, *range(len(rungs), 2 * len(rungs) - 1)]
    shape = (2, len(rungs))
    return Ladder(
        directions=material.directions,
        layer=directions[0].site.layer,
        offset=directions[0].offset,
        judge=answers.judge_name,
        decoding=answers.decoding,
        spans=("refusal directions", CONTROL),
        dimensions=rungs,
        available=len(directions),
        draws=DRAWS,
        pairs=tuple(refuse.unit_name for refuse, _ in material.pairs.pairs()),
        refused=_by_pair(refused[place], shape).to(torch.int8),
        score=_by_pair(score[place], shape).float(),
        kl=kl[place].unflatten(0, shape).float(),
        provenance=model.provenance(material.pairs, seed),
    )


def _rungs(asked: tuple[int, ...] | None, n: int) -> tuple[int, ...]:
    if n < 1:
        raise InputError("a ladder needs at least one direction, found none")
    rungs = tuple(range(n + 1)) if asked is None else tuple(sorted({0, *asked}))
    if rungs[-1] > n or rungs[0] < 0 or len(rungs) < 2:
        raise InputError(f"rungs {list(rungs)} of {n} directions; give numbers from 1 to {n}")
    return rungs


def ladder_conditions(rungs: Sequence[int]) -> list[str]:
    """Under what a ladder of these rungs answers and reads its pairs: unedited, each rung's span,
    then random spans of the same dimensions.

    >>> ladder_conditions((1, 2))
    ['none', '1 ablated', '2 ablated', '1 random', '2 random']
    """
    return [UNEDITED, *(f"{k} ablated" for k in rungs), *(f"{k} random" for k in rungs)]


def _cells(
    directions: Sequence[Direction], rungs: tuple[int, ...], n: int, seed: int
) -> list[_Cell]:
    """The edits under each of `ladder_conditions` the rungs, of which the first ablates nothing."""
    edits: list[Sequence[Edit | None]] = [[None] * n]
    edits += [[AblateSubspace(tuple(directions[:k]))] * n for k in rungs[1:]]
    for k in rungs[1:]:
        drawn = [random_span(directions[0], k, seed + draw) for draw in range(DRAWS)]
        # The two prompts of a pair are under one draw.
        edits.append([drawn[(i // 2) % DRAWS] for i in range(n)])
    return [_Cell(*cell) for cell in zip(ladder_conditions(rungs[1:]), edits, strict=True)]


def random_span(like: Direction, k: int, seed: int) -> AblateSubspace:
    """The ablation of a random span of k dimensions; those of one seed are nested."""
    numbers = [1_000 * (seed + 1) + i for i in range(k)]
    return AblateSubspace(tuple(like.random_like(s, name=f"random {s}") for s in numbers))


def _passes(
    model: LensModel, material: LadderMaterial, cells: Sequence[_Cell], progress: Progress
) -> tuple[Float[Tensor, "cell pair"], Float[Tensor, "cell prompt"]]:
    """KL of the token after each benign prompt, and each prompt's score, under every condition."""
    pairs = material.pairs
    plain = model.logits(pairs.only(label="comply"))
    kl, score = torch.zeros(len(cells), len(plain)), torch.full((len(cells), len(pairs)), torch.nan)
    for c, cell in enumerate(cells):
        for edit in dict.fromkeys(cell.edits):
            rows = [i for i, of_row in enumerate(cell.edits) if of_row is edit]
            some = PromptSet(tuple(pairs.prompts[i] for i in rows))
            twins = [i // 2 for i in rows if i % 2]
            with model.editing(*(() if edit is None else (edit,))):
                logits = model.logits(some)
                if material.trust is not None:
                    scores = scores_from_logits(model, some, material.trust, logits)
                    score[c, rows] = above_threshold(scores, some, material.trust)
            kl[c, twins] = kl_at_last_token(plain[twins], logits[1::2])
        progress(len(pairs))
    return kl, score


def above_threshold(
    scores: Float[Tensor, " prompt"], prompts: PromptSet, trust: ScoreTrust
) -> Float[Tensor, " prompt"]:
    """Scores minus the threshold of each prompt's category; NaN where none is trusted."""
    return scores - torch.tensor([trust.threshold.get(p.category, torch.nan) for p in prompts])


def _flags(answers: Answers) -> Float[Tensor, "cell prompt"]:
    flag = {"refused": 1.0, "unclear": -1.0}
    return torch.tensor(
        [[flag.get(v.outcome, 0.0) for v in answers.verdicts(name)] for name in answers.conditions]
    )


def _by_pair(rows: Float[Tensor, "cell prompt"], shape: tuple[int, int]) -> Tensor:
    """Span x rung x side x pair."""
    return rows.unflatten(-1, (-1, 2)).mT.unflatten(0, shape)
