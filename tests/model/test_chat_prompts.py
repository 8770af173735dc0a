"""Prompts of several turns, from tables and from files of chat rows."""

import json

import pandas as pd
import pytest
import torch

import refusal_lens as rl
from refusal_lens.attribution import decompose_prompt
from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.evaluation import answer_under
from refusal_lens.interventions import Ablate
from refusal_lens.model import Decoding
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.files import load_lists

TURNS = [
    {"role": "user", "content": "red thing"},
    {"role": "assistant", "content": "green thing"},
    {"role": "user", "content": "and a lock?"},
]
SYSTEM = [{"role": "system", "content": "Be short."}, *TURNS]


def prompt(messages, key="a"):
    before = tuple((m["role"], m["content"]) for m in messages[:-1])
    return Prompt(key, messages[-1]["content"], "red", "refuse", "train", "t", before=before)


@pytest.mark.parametrize("messages", [TURNS, SYSTEM], ids=["turns", "system"])
def test_turns_go_through_the_template_once(tiny, messages):
    try:
        expected = tiny.chat.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
    except Exception:
        with pytest.raises(InputError, match="prompts without a system turn"):
            tiny.ids([prompt(messages)])
        return
    ids = tiny.ids([prompt(messages)])[0]
    assert list(ids) == list(expected)
    assert ids != tiny.ids(["and a lock?"])[0]


def test_a_prompt_with_turns_is_read_alone_as_in_a_batch(tiny_llama):
    """Conversations, one with its own system turn, share a batch with plain prompts."""
    mixed = [prompt(TURNS), Prompt("b", "a lock?", "red", "refuse", "train", "t"), prompt(SYSTEM)]
    logits, resid = tiny_llama.logits(mixed), tiny_llama.residuals(mixed).tensor
    answers = tiny_llama.generate(mixed, Decoding(5))
    for i, p in enumerate(mixed):
        assert torch.allclose(tiny_llama.logits([p])[0], logits[i], atol=2e-5)
        assert torch.allclose(tiny_llama.residuals([p]).tensor[0], resid[i], atol=2e-4)
        assert tiny_llama.generate([p], Decoding(5))[0] == answers[i]
    assert (logits[0] - tiny_llama.logits(["and a lock?"])[0]).abs().max() > 1e-3


def test_evaluation_and_attribution_read_all_turns(tiny_llama, three_categories):
    d = fit_mean_difference(tiny_llama.residual_stats(three_categories)).at("red", 2)
    asked = PromptSet((prompt(TURNS),))
    answers = answer_under(
        tiny_llama, asked, [("none", None), ("ablated", Ablate(d))], decoding=Decoding(5)
    )
    assert answers.answers[0] == tuple(tiny_llama.generate(asked, Decoding(5)))
    whole = decompose_prompt(tiny_llama, prompt(TURNS), d).total
    resid = tiny_llama.residuals(asked, sites=[d.site], offsets=[d.offset]).tensor[0, 0, 0]
    assert whole == pytest.approx(float(resid @ d.vector), abs=1e-4)


def test_a_system_turn_and_a_system_prompt_exclude_each_other(tiny_folders):
    model = rl.load_model(tiny_folders["llama"], system="Be kind.")
    with pytest.raises(InputError, match="has a system turn of its own.*Be kind"):
        model.ids([prompt(SYSTEM)])
    assert model.ids([prompt(TURNS)])


def test_a_special_token_in_an_earlier_turn_is_refused(tiny_llama):
    token = tiny_llama.chat.special_tokens[0]
    messages = [{"role": "user", "content": f"x {token}"}, *TURNS[1:]]
    with pytest.raises(InputError, match="special token"):
        tiny_llama.ids([prompt(messages)])


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], "expected"),
        (TURNS[:2], "ends with a turn of 'assistant'"),
        ([TURNS[0], TURNS[2]], "message 2 is of role 'user'; expected assistant"),
        ([TURNS[0], SYSTEM[0], TURNS[2]], "message 2 is of role 'system'"),
        (
            [{"role": "tool", "content": "x"}],
            "message 1 is of role 'tool'; expected system or user",
        ),
        ([{"role": "user", "content": ""}], "message 1 has no text"),
        ([{"role": "user", "content": [{"type": "image"}]}], "message 1 has no text"),
        (["hello?"], "message 1 is 'hello\\?'"),
        ([{"role": "user", "content": "x", "tool_calls": [1]}], "has 'tool_calls'"),
    ],
)
def test_what_is_no_conversation_is_one_line(messages, error):
    with pytest.raises(InputError, match=f"refuse prompt 1.*{error}") as caught:
        PromptSet.from_texts([messages], ["bread?"])
    assert "\n" not in str(caught.value)


def test_lists_take_conversations_beside_texts(tmp_path):
    parts = [{"role": "user", "content": [{"type": "text", "text": "a "}, {"text": "lock?"}]}]
    prompts = PromptSet.from_texts([TURNS, "pick?", parts], ["bread?", SYSTEM])
    assert prompts.prompts[0].messages == TURNS and prompts.prompts[4].messages == SYSTEM
    assert prompts.prompts[2].text == "a lock?" and not prompts.prompts[1].before
    prompts.save(tmp_path / "mine.jsonl")
    assert rl.load_prompts(tmp_path / "mine.jsonl") == prompts
    one = PromptSet((Prompt("a", "and a lock?", "red", "refuse", "train", "t"),))
    assert one.digest != PromptSet((prompt(TURNS),)).digest


def test_the_digest_of_plain_prompts_is_what_it_was():
    """Runs and records that were made before there were turns are still found."""
    assert rl.load_prompts().digest.startswith("5804811741da7bc3")


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_files_of_chat_rows(tmp_path, suffix):
    rows = [{"messages": TURNS}, "pick?", {"text": "forge?"}]
    path, other = tmp_path / f"harmful{suffix}", tmp_path / "fine.txt"
    whole = json.dumps(rows) if suffix == ".json" else "\n".join(json.dumps(r) for r in rows)
    path.write_text(whole)
    other.write_text("bread?\n")
    prompts = load_lists(path, other)
    assert [p.text for p in prompts] == ["and a lock?", "pick?", "forge?", "bread?"]
    assert prompts.prompts[0].messages == TURNS
    path.write_text('{"train": [1]}' if suffix == ".json" else '"a?"\n{"question": "b?"}')
    message = r"an object with \['train'\]" if suffix == ".json" else "line 2: expected a text"
    with pytest.raises(InputError, match=f"harmful{suffix}.*{message}"):
        load_lists(path, other)


def test_a_row_gives_text_or_messages(tmp_path):
    path = tmp_path / "mine.jsonl"
    row = {"id": "a", "category": "c", "label": "refuse", "split": "train", "source": "s"}
    for more, quantifier in (({}, "neither"), ({"text": "x", "messages": TURNS}, "both")):
        path.write_text(json.dumps(row | more))
        with pytest.raises(InputError, match=f"mine.jsonl, line 1: {quantifier} 'text'"):
            rl.load_prompts(path)


class Series:
    """A column as polars has it: to_list, no tolist."""

    def __init__(self, values):
        self.to_list = lambda: values


class Polars:
    def __init__(self, table):
        self.columns, self.table = list(table), table

    def __getitem__(self, name):
        return Series(self.table[name])


class Arrow(Polars):
    """A table whose `columns` are the columns, with names beside them, as pyarrow's is."""

    def __init__(self, table):
        super().__init__(table)
        self.column_names, self.columns = list(table), [Series(v) for v in table.values()]


TABLE = {
    "text": ["pick?", "bread?", "forge?", "tap?"],
    "label": ["refuse", "comply", "refuse", "comply"],
    "category": ["crime", "crime", "money", "money"],
    "pair": ["1", "1", None, None],
}


@pytest.mark.parametrize("make", [dict, pd.DataFrame, Polars, Arrow])
def test_tables_of_any_library(make):
    prompts = PromptSet.from_dataframe(make(TABLE))
    assert [p.text for p in prompts] == TABLE["text"]
    assert [p.label for p in prompts] == TABLE["label"]
    assert prompts.categories == ("crime", "money")
    assert [p.pair for p in prompts] == ["1", "1", None, None]
    assert {p.source for p in prompts} == {"from_dataframe"}


def test_tables_with_other_names_and_chat_rows():
    frame = pd.DataFrame({"turns": [TURNS, SYSTEM], "bad": [1, 0], "fold": ["train", "test"]})
    prompts = PromptSet.from_dataframe(
        frame,
        columns={"messages": "turns", "label": "bad", "split": "fold"},
        labels={1: "refuse", 0: "comply"},
        category="mine",
    )
    assert prompts.prompts[1].messages == SYSTEM and prompts.ids == ("mine-1", "mine-2")
    assert [p.split for p in prompts] == ["train", "test"]
    assert PromptSet.from_dataframe({"messages": [TURNS], "label": ["refuse"]}).prompts[0].before


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ([1], {}, "list is no table"),
        ({"prompt": ["x"], "label": ["refuse"]}, {}, "no column 'text' for 'text'; it has"),
        ({"text": ["x"]}, {}, "no column 'label'"),
        (TABLE, {"columns": {"txt": "text"}}, "field 'txt' is unknown"),
        (TABLE, {"columns": {"pair": "twin"}}, "no column 'twin' for 'pair'"),
        (TABLE | {"label": [1, 0, 1, 0]}, {}, "row 1 of the table.*label 1 must be one of"),
        (TABLE | {"text": ["x", None, "y", "z"]}, {}, "row 2 of the table.*neither 'text'"),
        (TABLE | {"text": ["x", 3, "y", "z"]}, {}, "row 2 of the table.*text must be text"),
    ],
)
def test_a_wrong_table_is_one_line(table, options, message):
    with pytest.raises(InputError, match=message):
        PromptSet.from_dataframe(table, **options)
