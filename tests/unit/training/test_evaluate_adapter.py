"""Which prompts an adapter is measured on."""

from pathlib import Path

import pytest

from refusal_lens.prompts.files import load_prompts
from refusal_lens.training.planted import evaluate as module
from refusal_lens.training.planted.evaluate import evaluate


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
