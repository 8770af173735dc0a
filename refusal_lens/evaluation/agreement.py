"""Whether two readings of the same answers agree: two judges, or scores and read answers."""

from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.evaluation.answers import UNEDITED, Answers
from refusal_lens.evaluation.grid import Grid
from refusal_lens.evaluation.manners import Steered
from refusal_lens.judges import Judge, JudgeAgreement, Verdict, agreement, judge_all
from refusal_lens.records import Provenance

SCREENING: Final = "scores"
SECOND_READER: Final = "substring"
"""The judge beside which the one that was chosen is shown."""


def judges_agree(answers: Answers, other: Judge, seed: int = 0) -> JudgeAgreement:
    """Another judge's verdicts on the same answers beside those that they hold.

    Intervals are over prompts where there are answers under several conditions.
    """
    again = [pair for row in answers.answers for pair in zip(answers.texts, row, strict=True)]
    verdicts = [verdict for name in answers.conditions for verdict in answers.verdicts(name)]
    prompts = answers.ids * len(answers.conditions) if len(answers.conditions) > 1 else None
    names = answers.judge_name, other.name
    return agreement(names, verdicts, judge_all(other, again), seed, prompts)


def screening_agrees(grid: Grid, read: Steered, seed: int = 0) -> JudgeAgreement:
    """Scores beside read answers, over all directions at the one strength that both hold.

    Prompts without a score that is trusted, and directions that one of them lacks, are left out.

    Raises:
        InputError: scores and answers come from two models, which says nothing about either.
    """
    _same_model(grid.provenance, read.answers.provenance)
    place = {
        key: (s, p)
        for p, pair in enumerate(grid.ids)
        for s, key in enumerate(pair)
        if not grid.generated[p]
    }
    scores: list[Verdict] = []
    answers: list[Verdict] = []
    prompts: list[str] = []
    for name in read.answers.conditions:
        strength = 0.0 if name == UNEDITED else read.strength
        row = 0 if name == UNEDITED else grid.names.index(name) if name in grid.names else None
        if row is None or strength not in grid.strengths:
            continue
        at = grid.strengths.index(strength)
        for key, verdict in zip(read.answers.ids, read.answers.verdicts(name), strict=True):
            flag = int(grid.refused[row, at][place[key]]) if key in place else -1
            if flag >= 0:
                scores.append(Verdict("refused" if flag else "complied", None, ()))
                answers.append(Verdict(verdict.outcome, None, ()))
                prompts.append(key)
    return agreement((SCREENING, read.answers.judge_name), scores, answers, seed, prompts)


def grids_agree(scored: Grid, read: Grid, seed: int = 0) -> JudgeAgreement:
    """Scores beside generated answers on the same prompts under each direction and strength.

    Only cells that both grids hold, one scored and the other generated, are compared; the unedited
    model counts once.

    Raises:
        InputError: the grids come from two models.
    """
    _same_model(scored.provenance, read.provenance)
    cells = _cells(read, generated=True)
    by_scores = _cells(scored, generated=False)
    keys = [key for key in by_scores if key in cells]
    return agreement(
        (SCREENING, read.judged_by),
        [by_scores[key] for key in keys],
        [cells[key] for key in keys],
        seed,
        [prompt for _, _, prompt in keys],
    )


def _cells(grid: Grid, *, generated: bool) -> dict[tuple[str, float, str], Verdict]:
    """A verdict by direction, strength and prompt."""
    verdicts: dict[tuple[str, float, str], Verdict] = {}
    for p, pair in enumerate(grid.ids):
        if bool(grid.generated[p]) != generated:
            continue
        for d, name in enumerate(grid.names):
            for s, strength in enumerate(grid.strengths):
                for side, key in enumerate(pair):
                    flag = int(grid.refused[d, s, side, p])
                    outcome = "unclear" if flag < 0 else "refused" if flag else "complied"
                    who = UNEDITED if strength == 0 else name
                    verdicts[who, strength, key] = Verdict(outcome, None, ())
    return verdicts


def _same_model(a: Provenance, b: Provenance) -> None:
    if a.model_digest != b.model_digest:
        raise InputError(
            f"the scores are of {a.model} and the answers of {b.model}; to compare the two "
            "readings, take both from one model"
        )
