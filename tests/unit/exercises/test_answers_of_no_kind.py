"""Answers that can't be compared, and answers that are right by luck: a line each, no traceback."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import refusal_lens as rl
from refusal_lens.exercises.relation import relation

ALL = rl.exercises.all_exercises()
OF_EACH_KIND = (  # ids, tensors, numbers, a number or None, values, words, truth values, a table
    *("prompt_ids", "stream_before_each_block", "mean_difference", "reliability", "refusal_rate"),
    *("monotone", "difference_interval", "knob_answer", "in_test", "four_cells", "first_alarm"),
)


def endless(*args):
    return endless(*args)


def leaves(*args):
    raise SystemExit(3)


def yields(*args):
    yield args


async def waits(*args):
    return args


HOSTILE = {
    "meta": lambda *args: torch.zeros(3, device="meta"),
    "one meta number": lambda *args: torch.zeros((), device="meta"),
    "sparse": lambda *args: torch.eye(7).to_sparse(),
    "nested": lambda *args: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "complex": lambda *args: torch.ones(3, 5, dtype=torch.complex64),
    "a complex number": lambda *args: 1j,
    "half": lambda *args: torch.full((3, 5), 9.0, dtype=torch.float16),
    "with a graph": lambda *args: torch.full((3, 5), 9.0, requires_grad=True),
    "too large": lambda *args: 10**400,
    "infinite": lambda *args: float("inf"),
    "a number as text": lambda *args: "0.6",
    "bytes": lambda *args: b"0.6",
    "yes": lambda *args: True,
    "an array": lambda *args: np.ones((2, 2)),
    "an array of objects": lambda *args: np.array([None, "x"], dtype=object),
    "a class": lambda *args: int,
    "ragged": lambda *args: [[1], [2, 3]],
    "empty": lambda *args: [],
    "an empty tensor": lambda *args: torch.zeros(0),
    "endless": endless,
    "leaves": leaves,
    "yields": yields,
    "print": print,
    "a type": dict,
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", OF_EACH_KIND)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_one_line_and_no_traceback(name: str, kind: str):
    feedback = ALL[name](HOSTILE[kind])
    assert feedback.state == "not yet", feedback
    assert "\n" not in repr(feedback) and len(repr(feedback)) < 700


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_coroutine_is_named():
    assert "is a coroutine" in ALL["ablate"](waits).message


@pytest.mark.parametrize(
    ("name", "lucky", "phrase"),
    [
        # None of these is right on every input that the exercise describes.
        ("refusal_rate", lambda o: str(round(3 / 5, 1)), "is '0.6', expected a number"),
        (
            "over_refusal_at",
            lambda t, x, y: float(np.interp(t, x, y)) if x[0] < t < x[-1] else None,
            "The ends of the curve were measured",
        ),
        (
            "knob_answer",
            lambda low, high, m: (
                "equivalent"
                if abs(low) < m and abs(high) < m
                else "different"
                if low >= m or high <= -m
                else "unresolved"
            ),
            "exactly the margin does not matter",
        ),
        (
            "prompt_score",
            lambda x, n: x.masked_fill(torch.arange(x.shape[1]) >= n[:, None], -1e4).amax(1),
            "put in place of padding is larger",
        ),
        (
            "prompt_score",
            lambda x, n: x.masked_fill(torch.arange(x.shape[1]) >= n[:, None], -1000.0).amax(1),
            "On large coordinates the result is -1000",
        ),
        (
            "patch_stream",
            lambda net, b, r, layer, pos: patch_outputs(net, b, r, layer, pos),
            "On layer 0, the first token: The patch had no effect",
        ),
        (
            "stream_before_each_block",
            lambda blocks, x: torch.stack([x, *(x := block(x) for block in list(blocks)[:-1])]),
            "no hook read them",
        ),
        (
            "threshold",
            lambda benign, rate: benign.quantile(1 - rate, interpolation="higher"),
            "One benign score fewer than allowed",
        ),
    ],
)
def test_a_lucky_answer_is_caught(name, lucky, phrase):
    feedback = ALL[name](lucky)
    assert feedback.state == "not yet" and phrase in feedback.message, feedback


def patch_outputs(blocks, benign, refused, layer, pos):
    """Replaces what leaves block `layer - 1`, which is right where there is such a block."""
    for i, block in enumerate(blocks):
        benign, refused = block(benign), block(refused)
        if i == layer - 1:
            benign = benign.clone()
            benign[pos] = refused[pos]
    return benign


@pytest.mark.parametrize(
    ("name", "wrong", "phrase"),
    [
        ("prompt_ids", lambda t, x: [ids(t, x)], "a batch of one prompt"),
        ("prompt_ids", lambda t, x: torch.tensor([ids(t, x)]), "a batch of one prompt"),
        ("prompt_ids", lambda t, x: ids(t, x)[0], "is an int, expected"),
        (
            "last_real_token",
            lambda x, n: torch.stack([r[:k].mean(0) for r, k in zip(x, n, strict=True)]),
            "the mean over the real tokens",
        ),
        (
            "mean_kl",
            lambda b, a: F.kl_div(b.log_softmax(-1), a.softmax(-1)),
            "swapped, and the mean was taken over the vocabulary",
        ),
        ("cosine_matrix", lambda d: (d / d.norm()) @ (d / d.norm()).T, "divided by one number"),
        (
            "reliability",
            lambda d: (
                torch.triu(d @ d.T, 1).sum() / len(d) / (len(d) - 1) / d.mean(0).square().sum()
            ),
            "counted once",
        ),
        (
            "sign_flip_p",
            lambda d, s: (((s @ d / len(d)).norm(dim=1) >= d.mean(0).norm()).sum() + 1) / len(s),
            "added above, but not below",
        ),
        (
            "difference_interval",
            lambda a, b, d: tuple(np.percentile((a - b)[d].mean(1), [0.025, 0.975])),
            "counts in percent",
        ),
        (
            "difference_interval",
            lambda a, b, d: tuple(np.percentile((a - b)[d].mean(1), [97.5, 2.5])),
            "This is (high, low)",
        ),
        (
            "within_direction",
            lambda x, h, r: F.normalize(x[~h & r].mean(0) - x[~h & ~r].mean(0), dim=0),
            "Only benign prompts",
        ),
        ("mean_difference", lambda r, a: (r.mean(0) - a.mean(0)).numpy(), "is a NumPy array"),
        ("add", lambda x, u, scale, k: 10 * (x + k * scale * u), "10 times what it should be"),
        ("ablate", lambda x, r: -(x - (x @ r)[..., None] * r / (r @ r)), "its sign is turned"),
        ("recovery", lambda x, b, r: (x.T - b) / (r - b), "axes are in the wrong order"),
    ],
)
def test_more_answers_get_a_message_that_fits(name, wrong, phrase):
    feedback = ALL[name](wrong)
    assert feedback.state == "not yet" and phrase in feedback.message, feedback


def ids(tokenizer, text):
    messages = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True)


@pytest.mark.parametrize("name", ["between_means", "recovery", "direct_shares", "mean_difference"])
def test_an_error_of_one_kind_is_not_taken_for_a_mistake_that_ends_in_another(name: str):
    """An error alone does not say which mistake it was."""

    def stuck(*args):
        raise RuntimeError("expected scalar type Double but found Float")

    assert "expected scalar type Double" in ALL[name](stuck).message


def test_what_is_related_and_what_is_not():
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    assert relation([(-one, one)]) == "In every case its sign is turned."
    assert "0.5 times" in relation([(1.0, 2.0), (1.5, 3.0)])
    assert relation([(other, one)]) == relation([(1.0, 2.0)]) == relation([("x", one)]) == ""
    assert relation([(one.repeat(2, 1).T, one.repeat(2, 1))]).endswith("wrong order.")
