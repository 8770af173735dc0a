"""Whether judges agree, and scores with read answers."""

from typing import Final

from refusal_lens.evaluation.agreement import judges_agree, screening_agrees
from refusal_lens.judges import Agreement, SubstringJudge
from refusal_lens.progress import Progress
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Records, Stage, Work
from refusal_lens.study.stages.answers import ANSWERS
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.manners import STEERED
from refusal_lens.study.stages.score import HELD_OUT
from refusal_lens.study.stages.trade_off import GRID, READ

OF_BEHAVIOUR: Final = Key("agreement", "behaviour", Agreement)
OF_SCORE: Final = Key("agreement", "score", Agreement)
OF_ANSWERS: Final = Key("agreement", "answers", Agreement)
OF_MANNERS: Final = Key("agreement", "manners", Agreement)
SCREENING: Final = Key("agreement", "screening", Agreement)


def agreements(bench: Bench, tick: Progress) -> Records:
    """Whether the study's judge and the substring judge agree, and scores with read answers."""
    results, other = bench.results, SubstringJudge()
    text = {p.id: p.text for p in bench.prompts}
    records: Records = {}
    for source, agreement in ((BEHAVIOUR, OF_BEHAVIOUR), (HELD_OUT, OF_SCORE)):
        if (read := results.find(source)) is not None:
            records[agreement] = judges_agree(read, [text[i] for i in read.ids], other)
    if (shown := results.find(ANSWERS)) is not None:
        records[OF_ANSWERS] = judges_agree(shown.conditions[-1], shown.texts, other)
    if (steered := results.find(STEERED)) is not None:
        records[OF_MANNERS] = judges_agree(steered, steered.texts, other)
    grid = results.find(GRID)
    answered = (
        results.find(READ) or steered
    )  # the first is of another model, where that is compared
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
