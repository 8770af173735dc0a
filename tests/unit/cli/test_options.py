"""Options that exclude each other, say the same twice, or reach what they are meant for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.synthetic.run import QUESTION, run
from typer.testing import CliRunner

from refusal_lens.cli.judge_options import settings_of
from refusal_lens.cli.main import app
from refusal_lens.errors import InputError
from refusal_lens.resources import data_path
from refusal_lens.suffixes import load_suffixes


class Reached(Exception):
    """The arguments with which a command calls the package."""


def stop(*given: Any, **named: Any) -> None:
    """In place of what a command calls: end there."""
    raise Reached(given, named)


def reached(*arguments: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the stopped function was called with."""
    ended = CliRunner().invoke(app, list(arguments))
    assert isinstance(ended.exception, Reached), (ended.exception, ended.output)
    return ended.exception.args[0], ended.exception.args[1]


def refused(*arguments: str) -> str:
    """The one line that a wrong input ends with."""
    ended = CliRunner().invoke(app, list(arguments))
    assert isinstance(ended.exception, InputError), (ended.exception, ended.output)
    assert "\n" not in str(ended.exception)
    return str(ended.exception)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Ends a command at a function, named by its path."""
    return lambda path: monkeypatch.setattr(path, stop)


# --- a judge's settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "model", "others", "name"),
    [
        ("http://a/v1", None, ["endpoint=http://b/v1"], "endpoint"),
        (None, "A", ["model=B"], "model"),
        (None, None, ["samples=3", " samples = 5"], "samples"),
        (None, "A", ["model=A"], "model"),
    ],
)
def test_a_setting_of_a_judge_is_given_once(
    endpoint: str | None, model: str | None, others: list[str], name: str
) -> None:
    with pytest.raises(InputError, match=f"setting '{name}' is given twice"):
        settings_of(endpoint, model, others)


def test_settings_with_names_of_their_own_are_all_taken() -> None:
    given = settings_of("http://a/v1", "A", ["samples=3", "concurrency=2"])
    assert given == {"endpoint": "http://a/v1", "model": "A", "samples": "3", "concurrency": "2"}


# --- refusal-tokens -----------------------------------------------------------------------------


def test_the_judge_of_refusal_tokens_runs_where_the_model_runs(
    stopped: Callable[[str], None],
) -> None:
    stopped("refusal_lens.judges.registry.make_judge")
    where = ("--device", "cpu", "--batch-size", "3")
    setting = ("--judge-setting", "classifier=mine")
    given, named = reached("refusal-tokens", "--judge", "wildguard", *setting, *where)
    assert given == ("wildguard", {"classifier": "mine"})
    assert (named["placement"].device, named["placement"].batch_size) == ("cpu", 3)


def test_refusal_tokens_take_an_endpoint(stopped: Callable[[str], None]) -> None:
    stopped("refusal_lens.judges.registry.make_judge")
    endpoint = ("--endpoint", "http://127.0.0.1:9/v1", "--endpoint-model", "A")
    given, _ = reached("refusal-tokens", "--judge", "llm", *endpoint)
    assert given == ("llm", {"endpoint": "http://127.0.0.1:9/v1", "model": "A"})
    given, _ = reached("refusal-tokens")
    assert given == ("refusal", {})


# --- train-sae ----------------------------------------------------------------------------------

TRAIN = ("train-sae", "--layer", "1", "--out", "my-sae")


def test_a_number_of_book_tokens_needs_books(stopped: Callable[[str], None]) -> None:
    stopped("refusal_lens.sparse.SaeJob")
    assert refused(*TRAIN, "--book-tokens", "500").startswith("--book-tokens 500 has no effect")
    given, _ = reached(*TRAIN, "--text", "novel.txt", "--book-tokens", "500")
    assert given[2] == (Path("novel.txt"),) and given[3].book_tokens == 500
    given, _ = reached(*TRAIN, "--text", "novel.txt", "--samples", "0")
    assert given[3].book_tokens == 120_000 and given[3].samples == 0


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--book-tokens", "100", "book_tokens is 100, and a window has 128 tokens"),
        ("--book-tokens", "-1", "book_tokens is -1"),
        ("--samples", "-1", "samples is -1; give 0 or more"),
    ],
)
def test_sizes_of_text_that_leave_something_out_are_refused(
    option: str, value: str, words: str
) -> None:
    assert words in refused(*TRAIN, "--text", "novel.txt", option, value)


# --- back to what comes with the project --------------------------------------------------------


def languages_sizes(*options: str) -> dict[str, Any]:
    _, named = reached("languages", "run", *options)
    return {name: value for name, value in named.items() if name != "judge"}


def test_languages_come_back_to_the_built_in_set_and_to_all_languages(
    stopped: Callable[[str], None], tmp_path: Path
) -> None:
    stopped("refusal_lens.study.follow_ups.languages.run_languages")
    assert languages_sizes() == {}
    chosen = languages_sizes("--prompts", str(tmp_path), "--split", "test", "--languages", "en,de")
    assert chosen == {
        "languages": ("en", "de"),
        "language_folder": str(tmp_path),
        "language_split": "test",
    }
    back = languages_sizes("--prompts", "built-in", "--languages", "all")
    assert back == {"languages": (), "language_folder": "", "language_split": "train"}
    here = languages_sizes("--prompts", "./built-in")
    assert here == {"language_folder": str(Path("built-in").resolve())}


def test_languages_name_a_judge_only_where_one_is_given(stopped: Callable[[str], None]) -> None:
    stopped("refusal_lens.study.follow_ups.languages.run_languages")
    _, named = reached("languages", "run")
    assert named["judge"] is None
    _, named = reached("languages", "run", "--judge", "opening")
    assert named["judge"].name.startswith("opening")
    assert "no setting 'endpoint'" in refused("languages", "run", "--endpoint", "http://a/v1")


def test_suffixes_come_back_to_the_projects_own(stopped: Callable[[str], None]) -> None:
    stopped("refusal_lens.study.run_suffixes")
    _, named = reached("suffixes", "run")
    assert named["suffixes"] is None
    _, named = reached("suffixes", "run", "--suffixes", "built-in")
    assert named["suffixes"] == load_suffixes()


def test_features_come_back_to_the_autoencoder_that_comes_for_the_model(
    stopped: Callable[[str], None], tmp_path: Path
) -> None:
    results = run(tmp_path / "run", {})
    results.describe({"question": QUESTION | {"source": "qwen-coder-0.5b"}})
    stopped("refusal_lens.study.run_features")
    _, named = reached("features", str(results.folder), "--sae", "built-in")
    assert named["sae"] == data_path("saes", "qwen-coder-0.5b")
    _, named = reached("features", str(results.folder))
    assert named["sae"] is None
