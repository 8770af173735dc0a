"""One prompt's tokens by layer."""

from typing import Final

from refusal_lens.attribution import TokenMap, token_map
from refusal_lens.progress import Progress
from refusal_lens.study.fitted import Gap, category_set
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Records, Stage, Work

TOKENS: Final = Key("tokens", "tokens", TokenMap)


def tokens(bench: Bench, tick: Progress) -> Records:
    """One prompt's tokens by layer, along its own category's directions."""
    directions = category_set(bench.results)
    asked = bench.prompts.only(split="test", label="refuse")
    prompt = next((p for p in asked if p.category in directions.categories), None)
    if prompt is None:
        raise Gap("no category with a direction has a harmful prompt in `test`")
    tick(1)
    return {TOKENS: token_map(bench.model, prompt, directions, prompt.category)}


STAGE: Final = Stage(
    "tokens",
    "tokens by layer",
    run=tokens,
    work=lambda b: Work(1),
    writes=(TOKENS,),
    needs=("directions",),
    after=("contrasts",),
    place=170,
)
