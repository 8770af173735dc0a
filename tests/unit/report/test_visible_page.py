"""Nothing on a page hides, turns the direction of writing or names a folder of the machine."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.synthetic.evaluation import costs
from support.synthetic.geometry import CATEGORIES
from support.synthetic.records import read, side_by_side, trade_off
from support.synthetic.run import QUESTION, Page, run

from refusal_lens.plots.text import shown, visible_lines
from refusal_lens.report.findings import findings
from refusal_lens.report.methods import compared_model
from refusal_lens.report.page import write_report
from refusal_lens.report.run import Run
from refusal_lens.tables.languages import refusals_table
from refusal_lens.tables.rates import rates_table

HIDDEN = "\u202e\u2066\x1b[31m\x9b"
HERE = "/home/me/models"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run of a model in a folder, with characters that hide in what others wrote."""
    answers = replace(read(pairs=3), judged_by=f"judge{HIDDEN}")
    results = run(
        tmp_path_factory.mktemp("hidden") / "run",
        {
            "behaviour": {"train": answers},
            "costs": {"costs": replace(costs(CATEGORIES[:5]), judge=f"judge{HIDDEN}")},
            "answers": {"answers": replace(side_by_side(), judged_by=f"judge{HIDDEN}")},
        },
        question=QUESTION | {"source": f"{HERE}/mine", "system": f"one{HIDDEN}"},
        model=f"{HERE}/mine{HIDDEN}",
        rendered_prefix=f"<|user|>{HIDDEN}\nsecond line\n",
        prompts_note=f"note{HIDDEN}",
        sae_folder=f"{HERE}/sae",
    )
    results.add_gap("geometry", "d", f"gap{HIDDEN}")
    return write_report(results).read_text(encoding="utf-8")


def test_characters_that_hide_are_written_out(page: str) -> None:
    own = page.replace("\x1b", "", 0)
    assert "\u202e" not in own and "\u2066" not in own and "\x9b" not in own
    words = " ".join(Page(page).text)
    for text in ("mine", "one", "<|user|>", "note", "gap", "judge"):
        assert f"{text}\\u202e\\u2066\\u001b[31m\\u009b" in words, text


def test_a_template_keeps_its_lines(page: str) -> None:
    assert "\\u009b\nsecond line\n</pre>" in page


def test_no_folder_of_the_machine_is_on_the_page(page: str) -> None:
    words = " ".join(Page(page).text)
    assert HERE not in words and "/home/me" not in words
    assert "sae folder" not in words


def test_markup_of_a_template_stays_as_it_is() -> None:
    class Markup(str):
        def __html__(self) -> str:
            return self

    markup = Markup("<p>\t\u202e</p>")
    assert shown(markup) is markup
    assert shown(None) is None and shown(0.5) == 0.5
    assert visible_lines("a\nb\r\n") == "a\nb↵\n"


def test_captions_that_are_read_without_the_page_are_visible_by_themselves() -> None:
    provenance = replace(read(pairs=1).provenance, model=f"model{HIDDEN}")
    answers = replace(read(pairs=1), judged_by=f"judge{HIDDEN}", provenance=provenance)
    tables = [rates_table(answers, titles={}), refusals_table(answers, None)]
    for caption in (table.caption for table in tables):
        assert caption.isprintable() and "judge\\u202e" in caption and "model\\u202e" in caption


def test_findings_call_a_model_by_its_name_alone(tmp_path: Path) -> None:
    text = findings([Run(run(tmp_path / "run", {}, model=f"{HERE}/a`b{HIDDEN}"))])
    assert HERE not in text and "a'b\\u202e" in text.splitlines()[-1]
    assert all(line.isprintable() for line in text.splitlines())


def test_a_run_of_earlier_names_is_compared_with_its_own_model(tmp_path: Path) -> None:
    curves = replace(trade_off(), model="/earlier/folder/mine")
    results = run(tmp_path / "run", {"trade_off": {"trade_off": curves}}, model="mine")
    assert compared_model(Run(results)) is None
    results.describe({"model": "/earlier/folder/mine"})
    assert compared_model(Run(results)) is None
    results.describe({"model": "another"})
    assert compared_model(Run(results)) == "mine"
