"""`refusal-lens refusal-tokens` on a random tiny model: records, page, going on, wrong input."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from support.tiny_models import ARCHITECTURES, write_tiny
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.errors import InputError
from refusal_lens.judges import Verdict
from refusal_lens.judges.registry import make_judge
from refusal_lens.model import load_model
from refusal_lens.model.source_digest import source_digest
from refusal_lens.placement import Placement
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.files import load_prompts, write_jsonl
from refusal_lens.refusal_tokens import load_tokens
from refusal_lens.report.refusal_tokens import write_tokens_page
from refusal_lens.study import refusal_tokens as token_run
from refusal_lens.study.refusal_tokens import (
    Asked,
    OtherModel,
    TokenRun,
    TokenSizes,
    run_refusal_tokens,
)

CATEGORIES = ("advice", "humanizing", "safety", "unsupported")
PIECES = ("a", "b", "c", "d", "e")
FEW = {
    "fit_pairs": 4,
    "choose_pairs": 2,
    "layers": 2,
    "test_pairs": 3,
    "curve_pairs": 4,
    "effect_pairs": 2,
    "answer_tokens": 4,
    "strengths": (-1.0, 0.0, 1.0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model on disk, a file that names five of its tokens, and prompts in three splits."""
    root = tmp_path_factory.mktemp("tokens")
    write_tiny(root / "model", ARCHITECTURES["llama"])
    content = {"respond": "a", "refuse": dict(zip(CATEGORIES, PIECES[1:], strict=True))}
    (root / "tokens.json").write_text(json.dumps(content), encoding="utf-8")
    rows = [
        {
            "id": f"{c}-{split}-{i}-{label}",
            "text": f"{'No ' * bad}{c} {split} {i}?",
            "category": c,
            "label": label,
            "split": split,
            "source": "test",
            "pair": f"{c}-{split}-{i}",
        }
        for c in CATEGORIES
        for split in ("train", "val", "test")
        for i in range(4)
        for label, bad in (("refuse", i % 2 + 1), ("comply", 0))
    ]
    write_jsonl(root / "prompts.jsonl", rows)
    return root


def invoke(folder: Path, *more: str):
    asked = [
        "refusal-tokens",
        str(folder / "model"),
        "--tokens",
        str(folder / "tokens.json"),
        "--prompts",
        str(folder / "prompts.jsonl"),
        "--device",
        "cpu",
        "--quick",
        *more,
    ]
    return CliRunner().invoke(app, asked)


@pytest.fixture(scope="module")
def run(folder):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(token_run, "QUICK", TokenSizes(**FEW))
        done = invoke(folder, "--out", str(folder / "run"), "--control", str(folder / "model"))
    assert done.exception is None, done.exception
    return TokenRun.open(folder / "run"), done


def test_the_command_writes_records_and_a_page_that_show_what_was_measured(run, folder):
    measured, done = run
    assert "AUROC of the token's probability" in done.stdout
    assert measured.roc.unedited.token[0].n == 12  # three test pairs in each of four categories
    assert measured.carved is not None
    assert measured.carved.places == ("control, before", "before", "own token", "one token")
    assert torch.equal(
        measured.carved.corrected[0].nan_to_num(9), measured.carved.corrected[1].nan_to_num(9)
    )
    assert {a.against for a in measured.carved.agreements} <= {"token rows", "control, before"}
    assert measured.grid.refused.shape == (3, 3, 2, 4)
    page = (folder / "run" / "refusal_tokens.html").read_text(encoding="utf-8")
    for words in ("Threshold and bias", "own token never emitted", "Ablating the direction"):
        assert words in page
    assert page.count('id="plot-') == 2 * 4  # four figures, each with its data


def test_the_same_question_goes_on_and_another_one_is_refused(run, folder, monkeypatch):
    measured, _ = run
    kept = (folder / "run" / "grid.json").stat().st_mtime_ns
    (folder / "run" / "effects.json").unlink()
    again = measure(folder, TokenSizes(**FEW))
    assert again.effects == measured.effects
    assert (folder / "run" / "grid.json").stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="was made with another sizes"):
        measure(folder, TokenSizes(**(FEW | {"seed": 5})))
    with pytest.raises(InputError, match="was made with another compared_with"):
        measure(folder, TokenSizes(**FEW), "another")
    assert write_tokens_page(again).is_file()


def test_other_weights_of_the_control_or_stops_are_another_question(run, folder):
    with pytest.raises(InputError, match="was made with another compared_with"):
        measure(folder, TokenSizes(**FEW), control="another digest")
    path = folder / "model" / "generation_config.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"eos_token_id": [257, 10, 65]}))
    try:
        with pytest.raises(InputError, match="was made with another stops"):
            measure(folder, TokenSizes(**FEW))
    finally:
        path.write_text(before)


def test_only_the_model_that_comes_with_the_project_is_called_planted(run, folder):
    measured, _ = run
    named = replace(measured, question=measured.question | {"model": "my/adapter-merged-model"})
    assert "A planted case" not in write_tokens_page(named).read_text(encoding="utf-8")
    planted = replace(measured, question=measured.question | {"planted": True})
    assert "A planted case" in write_tokens_page(planted).read_text(encoding="utf-8")


def measure(folder: Path, sizes: TokenSizes, control: str | None = None) -> TokenRun:
    model = load_model(folder / "model", placement=Placement(device="cpu"))
    tokens = load_tokens(folder / "tokens.json", model.chat.tokenizer)
    digest = source_digest(folder / "model") if control is None else control
    asked = Asked(sizes, {"control": OtherModel(lambda: model, digest)})
    prompts, judge = load_prompts(folder / "prompts.jsonl"), make_judge("refusal")
    return run_refusal_tokens(model, tokens, prompts, judge, folder / "run", asked)


def test_what_a_user_gets_wrong_is_one_line(folder, tmp_path):
    (tmp_path / "bad.json").write_text('{"respond": "a", "refuse": {"advice": "[none]"}}')
    done = CliRunner().invoke(
        app, ["refusal-tokens", str(folder / "model"), "--tokens", str(tmp_path / "bad.json")]
    )
    assert isinstance(done.exception, InputError) and "'[none]' is no token" in str(done.exception)
    done = CliRunner().invoke(app, ["refusal-tokens", str(folder / "model")])
    assert isinstance(done.exception, InputError) and "needs --tokens" in str(done.exception)
    done = CliRunner().invoke(app, ["refusal-tokens", "a/model", "--adapter", str(tmp_path)])
    assert isinstance(done.exception, InputError) and "found both MODEL" in str(done.exception)
    one = PromptSet((Prompt("x", "Why?", "advice", "refuse", "test", "t", "x"),))
    with pytest.raises(InputError, match="split 'train'"):
        model = load_model(folder / "model", placement=Placement(device="cpu"))
        tokens = load_tokens(folder / "tokens.json", model.chat.tokenizer)
        run_refusal_tokens(model, tokens, one, make_judge("refusal"), tmp_path / "run")


@dataclass(frozen=True)
class Silent:
    """A judge that can't be asked."""

    name: str = "silent"

    def judge(self, prompt: str, answer: str) -> Verdict:
        raise InputError("nobody answers at this address")


def test_a_judge_that_cannot_be_asked_ends_before_anything_is_generated(
    folder, tmp_path, monkeypatch
):
    model = load_model(folder / "model", placement=Placement(device="cpu"))
    tokens = load_tokens(folder / "tokens.json", model.chat.tokenizer)
    prompts, asked = load_prompts(folder / "prompts.jsonl"), Asked(TokenSizes(**FEW))
    monkeypatch.setattr(token_run, "read_answers", lambda *given: pytest.fail("generates"))
    with pytest.raises(InputError, match="nobody answers"):
        run_refusal_tokens(model, tokens, prompts, Silent(), tmp_path / "run", asked)


def test_a_text_that_is_fitted_on_and_tested_on_is_refused(folder, tmp_path):
    prompts = load_prompts(folder / "prompts.jsonl")
    model = load_model(folder / "model", placement=Placement(device="cpu"))
    tokens = load_tokens(folder / "tokens.json", model.chat.tokenizer)
    texts = {p.split: p.text for p in prompts}
    (first, *others) = [p for p in prompts if p.split == "test"]
    rest = [p for p in prompts if p.split != "test"]
    mixed = PromptSet((*rest, replace(first, text=texts["train"]), *others))
    with pytest.raises(InputError, match="says the same as prompt .* of split"):
        run_refusal_tokens(model, tokens, mixed, make_judge("refusal"), tmp_path / "run")
