"""Feature cards: for one latent, where it fires most, how often on what, and what it promotes."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch

from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.sparse.autoencoder import SparseAutoencoder
from refusal_lens.sparse.reading import own_residuals

AROUND: Final = 12
"""Tokens that are shown on either side of the one on which a latent fires."""


@final
@dataclass(frozen=True)
class Context:
    """A token of a prompt on which a latent fires, with what stands around it, and how strongly.

    The text is the templated prompt's; `value` is in units of the latent.
    """

    prompt: str
    category: str
    label: str
    before: str
    token: str
    after: str
    value: float


@final
@dataclass(frozen=True)
class FeatureCard:
    """One latent.

    `n_lists` counts the categories in whose lists it is; `difference` is P(z > 0 | refused) -
    P(z > 0 | answered) on the prompts by which it was chosen (mean over categories), `measured` on
    others. `rates` are its firing rates per category, on refused and on answered prompts.
    `promoted` are the tokens that its decoder row raises most, `cosine` is that of its decoder row
    with the pooled direction.
    """

    latent: int
    role: str
    n_lists: int
    difference: float
    measured: Estimate
    rates: Mapping[str, tuple[float, float]]
    contexts: tuple[Context, ...]
    promoted: tuple[str, ...]
    cosine: float | None


@final
@dataclass(frozen=True)
class FeatureCards(Record):
    """The cards of a run, the latents in most lists first."""

    SCHEMA_VERSION: ClassVar[int] = 1

    cards: tuple[FeatureCard, ...]
    n_prompts: int
    provenance: Provenance


def top_contexts(
    model: LensModel,
    sae: SparseAutoencoder,
    prompts: PromptSet,
    latents: Sequence[int],
    *,
    most: int = 4,
    progress: Progress = NO_PROGRESS,
) -> dict[int, tuple[Context, ...]]:
    """Per latent the tokens of the prompts on which it fires most, at most one of each prompt.

    Every token behind the template's opening is looked at.

    >>> contexts = top_contexts(model, sae, prompts, [0, 1], most=2)
    >>> [len(contexts[latent]) <= 2 for latent in (0, 1)]
    [True, True]
    """
    best: dict[int, list[tuple[float, int, int]]] = {latent: [] for latent in latents}
    feed = model.feed(prompts)
    chosen = torch.tensor(list(latents), dtype=torch.int64)
    with torch.inference_mode():
        for row, resid in own_residuals(feed, sae.site):
            values, places = sae.encode(resid)[:, chosen].max(0)
            for latent, value, place in zip(latents, values.tolist(), places.tolist(), strict=True):
                if value > 0:
                    heapq.heappush(best[latent], (value, -row, place))
                if len(best[latent]) > most:
                    heapq.heappop(best[latent])
            progress(1)
    shared = len(feed.prefix.ids)

    def context(value: float, row: int, place: int) -> Context:
        tokens, prompt = feed.ids[row][shared:], prompts.prompts[row]
        words = model.chat.tokenizer.decode
        return Context(
            prompt.id,
            prompt.category,
            prompt.label,
            str(words([*tokens[max(0, place - AROUND) : place]])),
            str(words([tokens[place]])),
            str(words([*tokens[place + 1 : place + 1 + AROUND]])),
            value,
        )

    return {
        latent: tuple(context(value, -row, place) for value, row, place in sorted(rows)[::-1])
        for latent, rows in best.items()
    }
