"""Whether judges agree, and scores with read answers."""

from typing import Final

from refusal_lens.evaluation import Evaluation, Grid, SideBySide, Steered
from refusal_lens.evaluation.agreement import judges_agree, screening_agrees
from refusal_lens.judges import Agreement, SubstringJudge
from refusal_lens.progress import Progress
from refusal_lens.study.stage import Bench, Records, Stage


def agreements(bench: Bench, tick: Progress) -> Records:
    """Whether the phrase and the substring judge agree, and scores with read answers."""
    results, other = bench.results, SubstringJudge()
    text = {p.id: p.text for p in bench.prompts}
    records: Records = {}
    for stage, name in (("behaviour", "train"), ("score", "val")):
        if results.has(stage, name):
            read = results.get(stage, name, Evaluation)
            records[stage] = judges_agree(read, [text[i] for i in read.ids], other)
    if results.has("answers", "answers"):
        shown = results.get("answers", "answers", SideBySide)
        records["answers"] = judges_agree(shown.conditions[-1], shown.texts, other)
    if results.has("manners", "steered"):
        steered = results.get("manners", "steered", Steered)
        records["manners"] = judges_agree(steered, steered.texts, other)
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
    (Agreement,),
    agreements,
    lambda b: 1,
    lambda b: 0,
    after=("behaviour", "score", "trade_off", "manners", "answers"),
)
