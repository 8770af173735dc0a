"""Whether judges agree, and scores with read answers."""

from typing import Final

from refusal_lens.evaluation.agreement import SECOND_READER, judges_agree, screening_agrees
from refusal_lens.judges import JudgeAgreement, make_judge
from refusal_lens.progress import Progress
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Records, Stage, Work
from refusal_lens.study.stages.answers import ANSWERS
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.manners import STEERED
from refusal_lens.study.stages.score import HELD_OUT
from refusal_lens.study.stages.trade_off import GRID, READ

OF_BEHAVIOUR: Final = Key("agreement", "behaviour", JudgeAgreement)
OF_SCORE: Final = Key("agreement", "score", JudgeAgreement)
OF_ANSWERS: Final = Key("agreement", "answers", JudgeAgreement)
OF_MANNERS: Final = Key("agreement", "manners", JudgeAgreement)
SCREENING: Final = Key("agreement", "screening", JudgeAgreement)


def agreements(bench: Bench, tick: Progress) -> Records:
    """Whether the study's judge and a second one agree, and scores with read answers."""
    results, other = bench.results, make_judge(SECOND_READER)
    records: Records = {}
    for source, agreement in ((BEHAVIOUR, OF_BEHAVIOUR), (HELD_OUT, OF_SCORE)):
        if (read := results.find(source)) is not None:
            records[agreement] = judges_agree(read, other)
    if (shown := results.find(ANSWERS)) is not None:
        records[OF_ANSWERS] = judges_agree(shown.only(condition=shown.conditions[-1]), other)
    if (steered := results.find(STEERED)) is not None:
        records[OF_MANNERS] = judges_agree(steered.answers, other)
    grid = results.find(GRID)
    answered = results.find(READ) or steered  # the first, of another model, where that is compared
    if grid is not None and answered is not None and not bool(grid.generated.all()):
        records[SCREENING] = screening_agrees(grid, answered)
    tick(1)
    return records


STAGE: Final = Stage(
    "agreement",
    "whether judges agree",
    run=agreements,
    work=lambda b: Work(1, 0),
    writes=(OF_BEHAVIOUR, OF_SCORE, OF_ANSWERS, OF_MANNERS, SCREENING),
    after=("behaviour", "score", "trade_off", "manners", "answers"),
    place=160,
)
