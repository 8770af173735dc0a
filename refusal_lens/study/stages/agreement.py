"""Whether judges agree, and scores with read answers."""

from typing import Final

from refusal_lens.evaluation import Answers, Grid, Steered
from refusal_lens.evaluation.agreement import SECOND_READER, judges_agree, screening_agrees
from refusal_lens.judges import JudgeAgreement, make_judge
from refusal_lens.progress import Progress
from refusal_lens.study.stage import Bench, Records, Stage


def agreements(bench: Bench, tick: Progress) -> Records:
    """Whether the study's judge and a second one agree, and scores with read answers."""
    results, other = bench.results, make_judge(SECOND_READER)
    records: Records = {}
    for stage, name in (("behaviour", "train"), ("score", "val")):
        if results.has(stage, name):
            records[stage] = judges_agree(results.get(stage, name, Answers), other)
    if results.has("answers", "answers"):
        shown = results.get("answers", "answers", Answers)
        records["answers"] = judges_agree(shown.only(condition=shown.conditions[-1]), other)
    if results.has("manners", "steered"):
        records["manners"] = judges_agree(results.get("manners", "steered", Steered).answers, other)
    if results.has("trade_off", "grid"):
        grid = results.get("trade_off", "grid", Grid)
        stage, name = ("trade_off", "read")  # of another model than the study's, where it is
        if not results.has(stage, name):
            stage, name = ("manners", "steered")
        if results.has(stage, name) and not bool(grid.generated.all()):
            records["screening"] = screening_agrees(grid, results.get(stage, name, Steered))
    tick(1)
    return records


STAGE: Final = Stage(
    "agreement",
    "whether judges agree",
    (),
    (JudgeAgreement,),
    agreements,
    lambda b: 1,
    lambda b: 0,
    after=("behaviour", "score", "trade_off", "manners", "answers"),
)
