"""A small study of a tiny random model, its stand-in judges and its progress."""

from dataclasses import dataclass

from refusal_lens.judges import Verdict
from refusal_lens.study import Sizes
from refusal_lens.study.stages import (
    answers,
    behaviour,
    contrasts,
    costs,
    effects,
    manners,
    score,
    trade_off,
)

SIZES = Sizes(
    fit_pairs=8,
    behaviour_tokens=4,
    contrast_pairs=8,
    selection_prompts=4,
    selection_layers=2,
    curve_prompts=4,
    curve_layers=2,
    trade_off_pairs=3,
    strengths=(-1.0, 1.0),
    effect_pairs=3,
    effect_tokens=4,
    manner_pairs=4,
    manner_tokens=4,
    cost_prompts=4,
    cost_tokens=4,
    shown=2,
    shown_tokens=4,
)


class Watch:
    """Counts what was planned, started and could not be measured; may die in a stage."""

    def __init__(self, die_in: str | None = None) -> None:
        self.done: list[str] = []
        self.started_stages: list[str] = []
        self.gaps: dict[str, str] = {}
        self.ticks: dict[str, int] = {}
        self.die_in = die_in

    def planned(self, stages):
        self.done = [p.stage.name for p in stages if p.done]
        self.expected = {p.stage.name: p.ticks for p in stages}

    def started(self, planned):
        name = planned.stage.name
        self.started_stages.append(name)
        if name == self.die_in:
            raise KeyboardInterrupt

        def tick(n: int) -> None:
            self.ticks[name] = self.ticks.get(name, 0) + n

        return tick

    def ended(self, planned, gap):
        if gap is not None:
            self.gaps[planned.stage.name] = gap


@dataclass(frozen=True)
class ByPrompt:
    """A stand-in judge, so that a random model can "refuse": the refuse side ends with 'please'."""

    name: str = "stand-in"

    def judge(self, prompt: str, answer: str) -> Verdict:
        return Verdict("refused" if prompt.endswith("please") else "complied", None, ())


@dataclass(frozen=True)
class Mixed:
    """A stand-in judge that takes half of either side to be refused."""

    name: str = "mixed"

    def judge(self, prompt: str, answer: str) -> Verdict:
        turned = "thing 0" in prompt or "thing 2" in prompt
        refused = prompt.endswith("please") != turned
        return Verdict("refused" if refused else "complied", None, ())


def let_it_refuse(patch):
    """Stand-in judges, a score that takes every token as a refusal token of its own, and nobody
    who minds that a random model's answers make no sense."""
    for module in (behaviour, score, answers):
        patch.setattr(module, "RefusalJudge", ByPrompt)
    for module in (trade_off, costs, manners, contrasts, effects):
        patch.setattr(module, "RefusalJudge", Mixed)
    patch.setattr("refusal_lens.judges.first_token._RATIO", 1.0)
    patch.setattr("refusal_lens.evaluation.scoring.TRUSTED_AUROC", 0.0)
    patch.setattr("refusal_lens.evaluation.scoring._LEAST_YOUDEN", -1.0)
    patch.setattr("refusal_lens.evaluation.answering.senseless_reason", lambda *answer: None)
