"""The projection of every token at every layer onto a direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import several
from refusal_lens.attribution.checks import check_stream_width
from refusal_lens.directions import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.model import Batch, LensModel, warn_of_transfer
from refusal_lens.model.lengths import check_ids
from refusal_lens.prompts import Prompt
from refusal_lens.records import Provenance, Record
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class TokenMap(Record):
    """Coordinates of a prompt's tokens along a category's direction of each layer.

    `coordinate` is (x . r - low) / (high - low), without unit: 0 is the mean of the benign prompts
    and 1 that of the should-refuse prompts, at the offset where the direction was fitted. NaN
    where the direction is undefined. `positions` count from the prompt's end, -1 is its last
    token; 0 and above are the answer's tokens. Tokens before the instruction are left out.

    >>> projected = token_map(model, "Should I sue?", directions, "advice")
    >>> projected.coordinate.shape == (len(projected.layers), len(projected.tokens))
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    prompt: str
    category: str
    offset: int
    positions: tuple[int, ...]
    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    coordinate: Float[Tensor, "layer pos"]
    provenance: Provenance


def token_map(
    model: LensModel,
    prompt: Prompt | str,
    directions: DirectionSet,
    category: str,
    *,
    offset: int = -1,
    answer: Sequence[int] = (),
) -> TokenMap:
    """Project the prompt's own tokens, the template's end and an answer's tokens.

    `answer` holds token ids, as `model.generate_ids` gives them. Edits that are on act, also on
    the answer's tokens, which are generated ones to them.

    Raises:
        InputError: as `token_maps`.

    >>> answer = model.generate_ids(["Should I sue?"], rl.Decoding(max_new_tokens=3))[0]
    >>> token_map(model, "Should I sue?", directions, "advice", answer=answer).positions[-1]
    2
    """
    chosen = [category]
    return token_maps(model, prompt, directions, chosen, offset=offset, answer=answer)[0]


def token_maps(
    model: LensModel,
    prompt: Prompt | str,
    directions: DirectionSet,
    categories: Sequence[str],
    *,
    offset: int = -1,
    answer: Sequence[int] = (),
) -> tuple[TokenMap, ...]:
    """The same tokens along several categories' directions, read in one pass.

    Raises:
        InputError: a category or offset for which there are no directions, a token id that the
            model does not have, a set without directions at the input of a block (`resid_pre`), of
            another width than the stream, or directions that do not know the coordinates of their
            sides' means, as those that are read from most files.

    >>> maps = token_maps(model, "Should I sue?", directions, ["advice", "humanizing"])
    >>> [one.category for one in maps]
    ['advice', 'humanizing']
    """
    warn_of_transfer([directions], model.provenance(), "if that is meant, use allow_transfer()")
    sites = tuple(s for s in directions.sites if s == Site(s.layer))
    for category in several(categories, str, what="category", write='["advice"], or token_map'):
        _check(directions, category, offset, sites)
        check_stream_width(model, directions.vectors.shape[-1], category)
    feed = model.feed([prompt])
    check_ids(["the answer"], [answer], model.backend.n_vocab)
    ids = (*feed.ids[0], *answer)
    n_shown = len(ids) - len(model.chat.prefix_ids)

    def read(batch: Batch) -> Float[Tensor, "batch offset site d_model"]:
        longer = batch.extended([answer])
        reader = feed.read(longer, [site.hook_name for site in sites], range(-n_shown, 0))
        return reader.residuals(sites, model.d_model)

    with torch.inference_mode():
        ((_, (resid,)),) = feed.batches(read)
    s = [directions.sites.index(site) for site in sites]
    o = directions.offsets.index(offset)
    maps: list[TokenMap] = []
    for category in categories:
        c = directions.categories.index(category)
        vectors = directions.vectors[c, o][s]
        low, high = directions.low[c, o][s, None], directions.high[c, o][s, None]
        projection = (resid.permute(1, 0, 2) * vectors[:, None]).sum(-1)
        maps.append(
            TokenMap(
                prompt=prompt.text if isinstance(prompt, Prompt) else prompt,
                category=category,
                offset=offset,
                positions=tuple(range(len(answer) - n_shown, len(answer))),
                tokens=tuple(model.chat.strings(ids[-n_shown:])),
                layers=tuple(site.layer for site in sites),
                coordinate=(projection - low) / (high - low),
                provenance=model.provenance(),
            )
        )
    return tuple(maps)


def _check(directions: DirectionSet, category: str, offset: int, sites: tuple[Site, ...]) -> None:
    if category not in directions.categories or offset not in directions.offsets:
        raise InputError(
            f"there is no direction of {category!r} at offset {offset}; there are "
            f"{list(directions.categories)} at offsets {list(directions.offsets)}"
        )
    if not sites:
        raise InputError(
            f"the directions are of {[str(s) for s in directions.sites]}; a token map needs some "
            "at the input of a block (resid_pre): fit them on model.residuals(prompts)"
        )
    place = directions.categories.index(category), directions.offsets.index(offset)
    there = directions.defined()[place].bool()
    known = (directions.low[place] + directions.high[place]).isfinite()
    if bool((there & ~known)[[directions.sites.index(s) for s in sites]].any()):
        raise InputError(
            f"the directions of {category!r} at offset {offset} do not know the mean coordinates "
            "of their sides (low, high), which are 0 and 1 of a token map; fit directions on this "
            "model's residuals in place of a file's"
        )
