"""A prompt and the model's answer, token by layer, along every direction."""

from functools import partial
from typing import Final

from refusal_lens.attribution import TokenMap, token_maps
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.fitted import category_set
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, PerCategory, Records, Stage, Work

MAP: Final = Key("answer_map", "map", TokenMap)
ANSWER_TOKENS: Final = 24


def answer_maps(bench: Bench, tick: Progress, *, category: str) -> Records:
    """One refuse-side prompt and the model's answer, token by layer, along every direction."""
    directions = category_set(bench.results)
    asked = bench.prompts.only(split="test", label="refuse", category=category)
    prompt = asked.prompts[0]
    (answer,) = bench.model.generate_ids(PromptSet((prompt,)), Decoding(ANSWER_TOKENS))
    order = (category, *(c for c in directions.categories if c != category))
    maps = token_maps(bench.model, prompt, directions, order, answer=answer)
    tick(1)
    return {MAP.at(i): m for i, m in enumerate(maps)}


def _stage(i: int, category: str) -> Stage:
    return Stage(
        f"answer_map_{i}",
        f"a prompt and its answer, token by layer: {category}",
        run=partial(answer_maps, category=category),
        work=lambda b: Work(1, ANSWER_TOKENS),
        writes=(MAP,),
        needs=("directions",),
        plan="attribution",
        family="answer_map",
        category=category,
        asked_for=lambda full, shown: shown,
        place=380,
    )


STAGES: Final = (PerCategory(_stage),)
