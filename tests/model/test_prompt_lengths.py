"""What is too long, or too short for an offset, is named: which prompt, and its first words."""

import pytest

from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.interventions import Add, Only
from refusal_lens.model import Decoding
from refusal_lens.prompts import Prompt, PromptSet

LONG = "tides " * 200  # more than the 512 tokens of the tiny models


def test_a_prompt_that_is_too_long_is_named(tiny_llama):
    one = Prompt("moon-3", LONG, "red", "refuse", "train", "test")
    prompts = PromptSet((Prompt("moon-1", "Why?", "red", "comply", "train", "test"), one))
    calls = (
        tiny_llama.ids,
        tiny_llama.feed,
        tiny_llama.logits,
        tiny_llama.generate,
        tiny_llama.residuals,
        tiny_llama.residual_stats,
    )
    for call in calls:
        with pytest.raises(InputError, match=r"prompt 'moon-3' \('tides tides .*…'\) has 1\d\d\d"):
            call(prompts)
    with pytest.raises(InputError, match=r"prompt 2 of 3 \('tides"):
        tiny_llama.logits(["Why?", LONG, "Who?"])


def test_a_prompt_that_its_answer_makes_too_long_is_named(tiny_llama):
    prompts = ["Why?", "How does a question about tides end?"]
    n_ctx = tiny_llama.backend.n_ctx
    with pytest.raises(InputError, match=r"prompt 2 of 2 \('How does.* and 500 new ones"):
        tiny_llama.generate(prompts, Decoding(max_new_tokens=500))
    with pytest.raises(InputError, match=r"prompt 1 of 2 \('Why\?'\) has .* with its answer"):
        tiny_llama.answer_log_probs(prompts, [(5,) * n_ctx, (5,)])
    with pytest.raises(InputError, match="row 2 of 2 is a text of 1 tokens"):
        tiny_llama.text_log_probs([(5, 6), (5,)])


WRONG_IDS = {
    "no row of token ids": lambda m: m.text_log_probs([]),
    "row 2 of 2 has token id 9999; use the tokenizer of the model, 0 to 299": lambda m: (
        m.text_log_probs([(5, 6), (5, 9999)])
    ),
    "2 prompts and 1 answers": lambda m: m.answer_log_probs(["a", "b"], [(5,)]),
    "the answer to prompt 1 of 1 ('a') has token id -1": lambda m: m.answer_log_probs(
        ["a"], [(5, -1)]
    ),
    "a row has token id 300": lambda m: m.feed_ids([(5, 300)], ["a row"]),
    "no site was given": lambda m: m.residuals(["a"], sites=[]),
    "no offset was given": lambda m: m.residuals(["a"], offsets=[]),
}


@pytest.mark.parametrize("words", WRONG_IDS)
def test_what_can_not_be_read_is_one_clear_line(tiny_llama, words):
    with pytest.raises(InputError) as raised:
        WRONG_IDS[words](tiny_llama)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": float("nan")},
        {"seed": -1},
        {"seed": 2**60},
    ],
    ids=str,
)
def test_a_setting_of_decoding_outside_its_range_is_named(settings):
    ((name, _),) = settings.items()
    with pytest.raises(InputError, match=f"{name} is .*; give"):
        Decoding(**settings)


def test_a_prompt_before_whose_beginning_an_offset_reaches_is_named(tiny_llama, three_categories):
    with pytest.raises(InputError, match=r"the shortest, prompt 'red-\d-\w+' \('.*'\), has \d+"):
        tiny_llama.residuals(three_categories, offsets=[-400])
    d = fit_mean_difference(tiny_llama.residual_stats(three_categories)).at("red", 2)
    far = Only(Add(d, alpha=1.0), "prompt", offsets=(-60,))
    with (
        tiny_llama.editing(far),
        pytest.raises(InputError, match=r"of prompt 2 of 2 \('Why\?'\), which has \d+ tokens"),
    ):
        tiny_llama.logits(["How does a very long question about tides and moons end?" * 2, "Why?"])
