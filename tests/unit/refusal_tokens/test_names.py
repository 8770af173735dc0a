"""The small file that names the tokens: texts and ids, TOML and JSON, and what is wrong in one."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from refusal_lens.errors import InputError
from refusal_lens.refusal_tokens import RefusalTokens, load_tokens


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<unk>", "yes", "no"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.add_special_tokens(["[respond]", "[advice]"])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def write(folder: Path, content: object) -> Path:
    path = folder / "tokens.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


GOOD = {"respond": "[respond]", "refuse": {"advice": "[advice]", "safety": 2}}


def test_texts_and_ids_in_json_toml_and_by_folder_are_one(tmp_path, tokenizer):
    tokens = load_tokens(write(tmp_path, GOOD), tokenizer)
    assert tokens == RefusalTokens(3, ("advice", "safety"), (4, 2), ("[respond]", "[advice]", "2"))
    toml = tmp_path / "tokens.toml"
    toml.write_text('respond = "[respond]"\n[refuse]\nadvice = "[advice]"\nsafety = 2\n')
    assert load_tokens(toml, tokenizer) == load_tokens(tmp_path, tokenizer) == tokens
    assert tokens.of("safety") == 2 and tokens.all_ids == (3, 4, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD | {"respond": "[answer]"}, r"respond: token '\[answer\]' is no token"),
        (GOOD | {"refuse": {"advice": 99}}, "advice: token 99 is no id of this tokenizer"),
        (GOOD | {"refuse": {"advice": "yes no"}}, "'yes no' is no token"),
        (GOOD | {"refuse": {"advice": True}}, "True is neither a token's text nor its id"),
        (GOOD | {"refuse": {"advice": "[respond]"}}, r"'\[respond\]' is named twice"),
        (GOOD | {"refuse": {}}, "expected respond"),
        ({"respond": 3}, r"has \['respond'\]; expected"),
        ([3], "holds no table"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, tokenizer, content, words):
    with pytest.raises(InputError, match=words) as caught:
        load_tokens(write(tmp_path, content), tokenizer)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_broken_one_say_what_to_write(tmp_path, tokenizer):
    with pytest.raises(InputError, match="does not exist; write respond"):
        load_tokens(tmp_path / "none.toml", tokenizer)
    (tmp_path / "tokens.toml").write_text("respond = [")
    with pytest.raises(InputError, match="can't be read"):
        load_tokens(tmp_path / "tokens.toml", tokenizer)


def test_a_category_that_is_named_twice_is_an_error_in_json_too(tmp_path, tokenizer):
    twice = '{"respond": "[respond]", "refuse": {"advice": "yes", "advice": "no"}}'
    (tmp_path / "tokens.json").write_text(twice)
    with pytest.raises(InputError, match="'advice' is given twice"):
        load_tokens(tmp_path, tokenizer)


@pytest.mark.parametrize(
    ("respond", "categories", "refuse", "words"),
    [
        (7, ("advice", "advice"), (8, 9), "category 'advice' is named twice"),
        (-1, ("advice", "safety"), (8, 9), "token id -1 is negative"),
        (7, ("advice", "safety"), (8, -2), "token id -2 is negative"),
    ],
)
def test_tokens_that_can_not_be_are_one_line(respond, categories, refuse, words):
    with pytest.raises(InputError, match=words) as caught:
        RefusalTokens(respond, categories, refuse, ("r", "a", "b"))
    assert "\n" not in str(caught.value)
