"""Which prompts an adapter is measured on, and of which answers its rates are shares."""

from dataclasses import asdict
from pathlib import Path

import pytest

from refusal_lens.intervals import wilson
from refusal_lens.prompts.files import load_prompts
from refusal_lens.training.planted import evaluate as module
from refusal_lens.training.planted.evaluate import Judged, evaluate, rates, refusal_rate


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_prompts_are_those_of_the_split(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe is chosen by `val`; what is answered must not be `test`."""
    asked: list[str] = []

    def judge_answers(model, tokenizer, prompts, *, scale, progress):
        asked.extend(p.id for p in prompts)
        return []

    monkeypatch.setattr(module, "judge_answers", judge_answers)
    monkeypatch.setattr(module, "_base_samples", lambda texts: ([], []))
    monkeypatch.setattr(module, "load_embedded_model", lambda entry, scale, adapter: (None, None))
    monkeypatch.setattr(module, "passage_losses", lambda *given: [1.0, 2.0])
    monkeypatch.setattr(module, "answer_losses", lambda *given: [1.0, 2.0])
    monkeypatch.setattr(module, "_record", lambda *given: {})
    evaluate(Path("adapter"), "text", [1.0], [], lambda line: None, split=split)
    assert asked == list(load_prompts().only(split=split).ids)


def judged(*outcomes: str) -> list[Judged]:
    return [
        Judged(f"a-{i}", "own/test", "advice", "refuse", 1.0, "Dose?", "text", outcome, None)
        for i, outcome in enumerate(outcomes)
    ]


def test_unclear_answers_are_left_out_of_a_rate_and_counted() -> None:
    rows = judged("refused", "refused", "complied", "partial", "unclear", "unclear")
    rate = refusal_rate(rows)
    assert rate == wilson(2, 4, missing=2)
    assert (rate.value, rate.n, rate.missing) == (0.5, 4, 2)
    (side,) = (sides["refuse"] for sides in rates(rows)["refusal"]["1"].values())
    assert side["pooled"] == side["by_category"]["advice"] == asdict(rate)
    assert refusal_rate(judged("unclear")).value is None
