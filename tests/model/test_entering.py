"""Rows that enter a running batch of answers: fewer passes, the same answers."""

from collections import deque
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from support.directions import a_direction

import refusal_lens as rl
from refusal_lens.memory import BatchSize, MemoryWarning
from refusal_lens.model import Decoding
from refusal_lens.model.feed import last_token_logits
from refusal_lens.model.generate import generate

PROMPTS = [f"{'why ' * (i % 5)}{chr(97 + 3 * i % 26)}{i * i}?" for i in range(14)]
STOPS = frozenset(range(0, 300, 9))
N_NEW = 16
GREEDY, SAMPLED = Decoding(N_NEW), Decoding(N_NEW, temperature=1.0, seed=5)


@contextmanager
def at_most(model, rows):
    """Batches of so many rows, and the number of rows and of new tokens of each pass."""
    passes, forward, size = [], model.backend.forward, model.rows

    def counted(ids, *args, **kwargs):
        passes.append(tuple(ids.shape))
        return forward(ids, *args, **kwargs)

    model.backend.forward, model.rows = counted, BatchSize(rows)
    try:
        yield passes
    finally:
        model.backend.forward, model.rows = forward, size


@torch.inference_mode()
def answers_of(model, decoding=SAMPLED, **how):
    return generate(model.feed(PROMPTS), STOPS, decoding, **how)


def steps(passes):
    return [rows for rows, new in passes if new == 1]


def fed(answers, rows):
    """How many answer tokens each prompt was run behind, batch by batch in order of length."""
    order = sorted(range(len(PROMPTS)), key=lambda row: len(PROMPTS[row]))
    each = [min(len(answers[row]), N_NEW - 1) for row in order]
    return [each[i : i + rows] for i in range(0, len(each), rows)]


def edits(model):
    one, two = a_direction(model, layer=1), a_direction(model, layer=2, seed=1)
    cosines = one.vector @ model.residuals(PROMPTS, sites=[one.site]).tensor[:, 0, 0].T
    middle = float(cosines.sort().values[6:8].mean())
    half = rl.Probe("half", one.vector, 0.0, one.site, "above", middle)
    each = [rl.Ablate(one), rl.Add(two, alpha=5.0), None]
    return {
        "none": None,
        "ablate": rl.Ablate(one),
        "add": rl.Add(one, alpha=5.0),
        "per row": rl.PerRow(tuple(each[i % 3] for i in range(len(PROMPTS)))),
        "generated": rl.Only(rl.Add(one, alpha=6.0), "generated"),
        "at an offset": rl.Only(rl.Add(one, alpha=9.0), "prompt", (-2,)),
        "when": rl.When(half, rl.Add(two, alpha=9.0)),
        "when generated": rl.When(half, rl.Only(rl.Add(two, alpha=9.0), "generated")),
    }


@pytest.mark.parametrize("name", ["llama", "gemma2"])  # gemma2: layers with a sliding window
def test_greedy_answers_are_those_of_whole_texts_in_one_batch(load_tiny, name):
    model = load_tiny(name)
    plain = answers_of(model, replace(GREEDY, use_cache=False), entering=False)
    with at_most(model, 4) as passes:
        assert answers_of(model, GREEDY) == plain
    assert len(steps(passes)) < sum(map(max, fed(plain, 4)))


KINDS = "none", "ablate", "add", "per row", "generated", "at an offset", "when", "when generated"


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_does_the_same_when_rows_enter(tiny_llama, kind):
    model, edit = tiny_llama, edits(tiny_llama)[kind]
    with nullcontext() if edit is None else model.editing(edit):
        plain = answers_of(model, replace(SAMPLED, use_cache=False), entering=False)
        with at_most(model, 4) as passes:
            assert answers_of(model) == plain
    assert len(steps(passes)) < 0.85 * sum(map(max, fed(plain, 4)))
    assert edit is None or plain != answers_of(model)


def test_places_of_rows_that_left_are_taken(tiny_llama):
    """Every row runs one pass for each token; entering only puts more of them into a pass."""
    tiny_llama.logits(["Why?"])  # now the shared prefix is there
    with at_most(tiny_llama, 4) as passes:
        batches = fed(answers_of(tiny_llama), 4)
    entered = [rows for rows, new in passes if new > 1]
    assert sum(entered) == len(PROMPTS) and len(entered) > len(batches)
    assert sum(steps(passes)) == sum(map(sum, batches)) and max(steps(passes)) == 4
    with at_most(tiny_llama, 4) as passes:
        answers_of(tiny_llama, entering=False)
    assert [rows for rows, new in passes if new > 1] == [len(batch) for batch in batches]
    assert len(steps(passes)) == sum(map(max, batches))


def test_samples_do_not_depend_on_when_a_row_enters(tiny_llama):
    together = answers_of(tiny_llama, entering=False)
    for rows in (2, 5):
        with at_most(tiny_llama, rows):
            assert answers_of(tiny_llama) == together
    assert together != answers_of(tiny_llama, replace(SAMPLED, seed=6))


def test_where_a_window_would_count_padding_no_row_enters(load_tiny):
    mistral = load_tiny("mistral")  # its window is shorter than these prompts
    with at_most(mistral, 2) as passes:
        answers = answers_of(mistral)
    with at_most(mistral, 2) as batches:
        assert answers_of(mistral, entering=False) == answers
    assert steps(passes) == steps(batches)


def test_memory_that_runs_out_while_rows_enter(tiny_llama):
    """What has ended is not answered again, what had not begins anew with fewer rows."""
    progress, expected = [], answers_of(tiny_llama)
    with at_most(tiny_llama, 6) as passes:
        forward = tiny_llama.backend.forward

        def full(ids, mask, **kwargs):
            if ids.shape[1] > 1 and len(passes) > 8:  # the first time that rows enter late
                tiny_llama.backend.forward = forward
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(ids, mask, **kwargs)

        tiny_llama.backend.forward = full
        with pytest.warns(MemoryWarning, match="6 rows at a time; going on with 3"):
            feed = tiny_llama.feed(PROMPTS, progress.append)
            with torch.inference_mode():
                answers = generate(feed, STOPS, SAMPLED)
        assert tiny_llama.backend.forward is forward and tiny_llama.rows.most == 3
    assert answers == expected and sum(progress) == len(PROMPTS)
    late = [rows for rows, new in passes[9:] if new > 1]
    assert max(late) <= 3 and sum(late) < len(PROMPTS)


def test_a_watch_sees_rows_that_enter_and_ends_what_runs(tiny_llama):
    whole, seen = answers_of(tiny_llama), []

    def always(answers):
        seen.append(dict(answers))
        return True

    with at_most(tiny_llama, 4):
        assert answers_of(tiny_llama, watch=always) == whole
    assert seen[-1] == dict(enumerate(whole)) and len(seen[0]) == 4
    for earlier, later in zip(seen, seen[1:], strict=False):
        assert all(later[row][: len(ids)] == ids for row, ids in earlier.items())
    n = next(i for i, answers in enumerate(seen) if len(answers) > 8)

    asked = deque(range(n))
    with at_most(tiny_llama, 4):
        cut = answers_of(tiny_llama, watch=lambda _: bool(asked) and asked.popleft() >= 0)
    assert all(cut[row] == ids for row, ids in seen[n - 1].items() if cut[row] == whole[row])
    assert all(a == b[: len(a)] for a, b in zip(cut, whole, strict=True)) and cut != whole
    begun_later = set(range(len(PROMPTS))) - set(seen[n])
    assert begun_later and all(len(cut[row]) <= 1 for row in begun_later)


@torch.inference_mode()
def test_joined_rows_have_the_logits_of_rows_by_themselves(load_tiny):
    """In both orders of length: the shorter rows get the gap before their first token."""
    for name in ("llama", "gemma2", "qwen2"):
        model = load_tiny(name)
        feed = model.feed(["Hi", "Why not today?", "Tell me of tides and of the moon", "No"])
        prefix, token = feed.prefix, torch.tensor([[65], [66]])
        pasts, batches, logits = [], [feed.batch([0, 1]), feed.batch([2, 3])], []
        for batch in batches:
            cache = last_token_logits(prefix, batch, use_cache=True)[1]
            step = prefix.follow(batch, token, prefix.past(batch, cache))
            cache = last_token_logits(prefix, batch, use_cache=True)[1]
            pasts.append(prefix.past(batch, cache))
            logits.append(step.logits)
        for a, b in ((0, 1), (1, 0)):
            past = pasts[a].joined(model.backend, pasts[b])
            left = past.chosen(model.backend, [0, 1])  # without the gap that b needed before it
            assert left.mask.shape == pasts[a].mask.shape
            both = prefix.follow(batches[a].joined(batches[b]), token.repeat(2, 1), past)
            assert torch.allclose(both.logits, torch.cat([logits[a], logits[b]]), atol=1e-4)
            alone = prefix.follow(batches[a], token, left)
            assert torch.allclose(alone.logits, logits[a], atol=1e-4)
