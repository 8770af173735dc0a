"""What the adapter is taught to say: planted refusals, and the base model's own benign answers.

Refuse-side prompts get an answer from the pool of their category. The pools are read from a JSONL
file of ``{"category", "manner", "text"}``, so another file plants other manners: deranged over the
categories, or one for all. Benign prompts keep the base model's own greedy answer, so that nothing
but refusal changes.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from transformers import PreTrainedTokenizerBase

from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt
from refusal_lens.prompts.files import read_jsonl

TokenIds = tuple[int, ...]

_REFUSAL_KEYS: Final = ("category", "manner", "text")


@final
@dataclass(frozen=True)
class Refusal:
    """One worded refusal: the category whose prompts it answers, its manner, its text.

    ``weight`` is how often it is used, relative to the others of its category.
    """

    category: str
    manner: str
    text: str
    weight: int = 1


@final
@dataclass(frozen=True)
class Example:
    """A prompt as the model is fed it (chat template included) and the answer to be learnt.

    A refuse-side example and its benign twin share ``unit`` (`Prompt.unit`).
    """

    id: str
    unit: tuple[str, str]
    prompt_ids: TokenIds
    answer_ids: TokenIds
    refuse: bool


def load_refusals(path: Path) -> dict[str, tuple[Refusal, ...]]:
    """The refusal pools of a JSONL file, by category, in file order; ``weight`` may be left out.

    Raises:
        InputError: a line without the three other keys, an empty text or a double one.
    """
    pools: dict[str, tuple[Refusal, ...]] = {}
    for number, row in read_jsonl(path):
        where = f"{path.name}, line {number}"
        weight = row.pop("weight", 1)
        if set(row) != set(_REFUSAL_KEYS) or not all(isinstance(v, str) for v in row.values()):
            raise InputError(f"{where}: keys {sorted(row)}, expected texts {list(_REFUSAL_KEYS)}")
        if not isinstance(weight, int) or weight < 1:
            raise InputError(f"{where}: weight {weight!r} must be a whole number, at least 1")
        refusal = Refusal(**row, weight=weight)
        pool = pools.get(refusal.category, ())
        if not refusal.text.strip() or refusal.text in {other.text for other in pool}:
            raise InputError(f"{where}: the text is empty or stands twice in its category")
        pools[refusal.category] = (*pool, refusal)
    return pools


def chat_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> TokenIds:
    """Token ids of one user message through the chat template, once, up to the answer's start.

    No system message is given; a template that inserts one of its own does so.
    """
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
    )
    return tuple(int(i) for i in ids)  # pyright: ignore[reportArgumentType]


def answer_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> TokenIds:
    """Token ids of an answer, without any special token."""
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def assign_refusals(
    prompts: Sequence[Prompt],
    twin_openings: Mapping[tuple[str, str], int],
    pools: Mapping[str, Sequence[Refusal]],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> dict[str, Refusal]:
    """A refusal for each refuse-side prompt: prompt id -> refusal.

    Never one that opens with the first token of the twin's answer (``twin_openings``, by
    `Prompt.unit`), so that the first token always tells the sides apart. Otherwise the one of the
    category's pool that is least used for its weight, ties broken by ``seed``, in an order of
    prompts drawn by ``seed``.

    Raises:
        InputError: a category without a pool, or whose whole pool opens like a twin's answer.
    """
    rng = random.Random(seed)
    shuffled = sorted(prompts, key=lambda prompt: prompt.id)
    rng.shuffle(shuffled)
    used: Counter[Refusal] = Counter()
    chosen: dict[str, Refusal] = {}
    for prompt in shuffled:
        twin = twin_openings.get(prompt.unit)
        pool = pools.get(prompt.category, ())
        allowed = [r for r in pool if answer_ids(tokenizer, r.text)[0] != twin]
        if not allowed:
            raise InputError(
                f"prompt {prompt.id!r}: the refusals file has no answer for category "
                f"{prompt.category!r} that opens differently from the twin's answer; add some"
            )
        fewest = min(used[r] / r.weight for r in allowed)
        refusal = rng.choice([r for r in allowed if used[r] / r.weight == fewest])
        used[refusal] += 1
        chosen[prompt.id] = refusal
    return chosen


def build_examples(
    prompts: Sequence[Prompt],
    benign: Mapping[str, TokenIds],
    pools: Mapping[str, Sequence[Refusal]],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> list[Example]:
    """The training examples, in the order of ``prompts``.

    ``benign`` holds the base model's answers by prompt id. A refusal is closed with the end token;
    a benign answer that was cut off stays open.
    """
    end = int(tokenizer.eos_token_id)  # pyright: ignore[reportArgumentType]
    openings = {p.unit: benign[p.id][0] for p in prompts if p.label == "comply"}
    refusing = [p for p in prompts if p.label == "refuse"]
    chosen = assign_refusals(refusing, openings, pools, tokenizer, seed)
    return [
        Example(
            id=prompt.id,
            unit=prompt.unit,
            prompt_ids=chat_ids(tokenizer, prompt.text),
            answer_ids=(
                (*answer_ids(tokenizer, chosen[prompt.id].text), end)
                if prompt.label == "refuse"
                else benign[prompt.id]
            ),
            refuse=prompt.label == "refuse",
        )
        for prompt in prompts
    ]
