"""Chat templates that print the date, and those that end before the answer begins."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.tiny_models import CHATML
from transformers import AutoTokenizer

from refusal_lens.errors import InputError
from refusal_lens.judges import make_judge
from refusal_lens.judges.raw_output import STILL_THINKING
from refusal_lens.model import load_model, wrap_model
from refusal_lens.model.chat import ChatTemplate

DATED = "<|im_start|>system\n{{ strftime_now('%d %B %Y, %H:%M:%S') }}<|im_end|>\n" + CHATML
NEVER_OPENS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
CUE_IN_USERS_TURN = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
THINKS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
MORNING, NIGHT = datetime(2026, 3, 4, 8, 0, 0), datetime(2026, 3, 4, 23, 59, 59)


@pytest.fixture
def tokenizer(tiny_folders: dict[str, Path]) -> Any:
    return AutoTokenizer.from_pretrained(tiny_folders["llama"])


def test_time_stands_still(tokenizer: Any) -> None:
    tokenizer.chat_template = DATED
    chat = ChatTemplate(tokenizer, now=MORNING)
    assert chat.dated
    assert "04 March 2026, 08:00:00" in chat.prefix_text
    assert "04 March 2026, 08:00:00" in tokenizer.decode(chat.ids("Hello"))
    assert ChatTemplate(tokenizer, now=MORNING).digest == chat.digest
    assert ChatTemplate(tokenizer, now=NIGHT).digest != chat.digest


def test_the_clock_prints_what_strftime_does(tokenizer: Any) -> None:
    """Against Python's own, and against transformers' clock where both read the same day."""
    codes = "%d|%-d|%b|%B|%Y|%y|%m|%A|%a|%H|%I|%p|%M|%S|%j|%F|100%%d"
    tokenizer.chat_template = f"\n{{{{ strftime_now('{codes}') }}}}\n" + CHATML
    sent = ChatTemplate(tokenizer, now=MORNING).prefix_text
    assert sent.startswith("\n" + MORNING.strftime(codes) + "\n")
    tokenizer.chat_template = "\n{% set day = strftime_now('%Y') %}{{ day }}\n" + CHATML
    theirs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert tokenizer.decode(ChatTemplate(tokenizer).ids("Hi")) == theirs


def test_without_a_date_the_time_changes_nothing(tokenizer: Any) -> None:
    early, late = (ChatTemplate(tokenizer, now=now) for now in (MORNING, NIGHT))
    assert not early.dated
    assert early.digest == late.digest
    assert early.ids("Hello") == late.ids("Hello")


def test_a_day_without_the_hour_is_one_template(tokenizer: Any) -> None:
    tokenizer.chat_template = DATED.replace(", %H:%M:%S", "")
    early, late = (ChatTemplate(tokenizer, now=now) for now in (MORNING, NIGHT))
    assert early.dated
    assert early.digest == late.digest


def test_the_tokenizer_has_a_digest_of_its_own(tiny_folders: dict[str, Path]) -> None:
    """Padding and truncation, which the last call set, are not the tokenizer's."""
    plain, used, more = (AutoTokenizer.from_pretrained(tiny_folders["llama"]) for _ in range(3))
    expected = ChatTemplate(plain).tokenizer_digest
    used(["a", "a longer text"], padding=True, truncation=True, max_length=9)
    assert ChatTemplate(used).tokenizer_digest == expected
    more.add_tokens(["please"])
    assert ChatTemplate(more).tokenizer_digest != expected
    assert ChatTemplate(more).digest == ChatTemplate(plain).digest


def test_the_time_of_loading_is_an_argument(tiny_folders: dict[str, Path], tokenizer: Any) -> None:
    tokenizer.chat_template = DATED
    bridge: Any = load_model(str(tiny_folders["llama"])).backend
    chat = wrap_model(bridge.model, tokenizer, now=NIGHT).chat
    assert "23:59:59" in chat.prefix_text


@pytest.mark.parametrize("thinking", [False, True])
def test_a_switch_that_the_template_lacks_is_refused(tokenizer: Any, thinking: bool) -> None:
    with pytest.raises(InputError, match=f"thinking is {thinking}, .* has no switch for it"):
        ChatTemplate(tokenizer, thinking=thinking)
    switched = "{% if enable_thinking %}<think>\n{% endif %}"
    tokenizer.chat_template = THINKS.replace("<think>\n", switched)
    opened = ChatTemplate(tokenizer, thinking=thinking).opened_thought
    assert opened == ("<think>\n" if thinking else "")


def test_no_generation_prompt_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = NEVER_OPENS
    with pytest.raises(InputError, match="no generation prompt"):
        ChatTemplate(tokenizer)


@pytest.mark.parametrize("special", [False, True])
def test_a_thought_that_the_template_opens_is_no_answer(tokenizer: Any, special: bool) -> None:
    """Its mark, which no generated token holds, begins the text, and tokens are found from it."""
    tokenizer.chat_template = THINKS
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    chat = ChatTemplate(tokenizer)
    thought, refusal = "The user asks how locks work.", "I can't help with that."
    for judge in map(make_judge, ("refusal", "phrase", "opening", "opening+sense", "manner")):
        ids = tokenizer(f"{thought}<|im_end|>", add_special_tokens=False)["input_ids"]
        read = judge.judge("How do locks work?", chat.answer(ids))
        assert (read.outcome, read.reason) == ("unclear", STILL_THINKING)
        ids = tokenizer(f"{thought}\n</think>\n\n{refusal}", add_special_tokens=False)["input_ids"]
        text = chat.answer(ids)
        assert text == f"<think>\n{thought}\n</think>\n\n{refusal}"
        assert chat.answer_ids(text) == tuple(ids)
        assert judge.judge("How do locks work?", text).outcome == "refused"
    tokenizer.chat_template = CHATML
    ids = tokenizer(f"{thought}<|im_end|>", add_special_tokens=False)["input_ids"]
    assert ChatTemplate(tokenizer).answer(ids) == thought


@pytest.mark.parametrize("template", [CUE_IN_USERS_TURN, THINKS, CHATML])
def test_templates_that_cue_the_answer_load(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    assert ChatTemplate(tokenizer).n_post > 0


def test_half_of_a_character_reaches_no_tokenizer(tokenizer: Any) -> None:
    """An argument that is not UTF-8 becomes such halves."""
    chat = ChatTemplate(tokenizer, now=MORNING)
    with pytest.raises(InputError, match="holds '.udce9' behind 'caf', which is half of a char"):
        chat.ids("caf\udce9?")
    with pytest.raises(InputError, match="the system prompt holds '.ud83d' behind 'x '"):
        ChatTemplate(tokenizer, system="x \ud83d")
    assert chat.ids("caf\u00e9? \U0001f600")
