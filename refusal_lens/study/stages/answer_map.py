"""A prompt and the model's answer, token by layer, along every direction."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from refusal_lens.attribution import TokenMap, token_maps
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.fitted import category_set
from refusal_lens.study.stage import Bench, Records, Stage

ANSWER_TOKENS: Final = 24


def answer_maps(bench: Bench, tick: Progress, *, category: str) -> Records:
    """One refuse-side prompt and the model's answer, token by layer, along every direction."""
    found = category_set(bench.results)
    asked = bench.prompts.only(split="test", label="refuse", category=category)
    prompt = asked.prompts[0]
    (answer,) = bench.model.generate_ids(PromptSet((prompt,)), Decoding(ANSWER_TOKENS))
    order = (category, *(c for c in found.categories if c != category))
    maps = token_maps(bench.model, prompt, found, order, answer=answer)
    tick(1)
    return {f"map_{i}": m for i, m in enumerate(maps)}


def _answer_map(i: int, category: str) -> Stage:
    return Stage(
        f"answer_map_{i}",
        f"a prompt and its answer, token by layer: {category}",
        ("directions",),
        (TokenMap,),
        partial(answer_maps, category=category),
        lambda b: 1,
        lambda b: ANSWER_TOKENS,
    )


def stages(categories: Sequence[str]) -> tuple[Stage, ...]:
    """One for each category."""
    return tuple(_answer_map(i, c) for i, c in enumerate(categories))
