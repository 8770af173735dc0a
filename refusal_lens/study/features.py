"""What the stages on sparse features share: the autoencoder, prompts with verdicts, latents."""

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.sites import Site
from refusal_lens.sparse import Pool, SparseAutoencoder, check_fits
from refusal_lens.sparse.firing import LEAST
from refusal_lens.sparse.reading import own_residuals
from refusal_lens.sparse.shipped import shipped_sae
from refusal_lens.study.fitted import POOLED, Gap, pooled_set
from refusal_lens.study.sizes import StageSizes, size
from refusal_lens.study.stage import Bench

OFFSET: Final = -1
"""Where latents are read: the prompt's last token, as directions are."""
_SAE: Final = "sparse autoencoder"


@final
@dataclass(frozen=True)
class FeatureSizes(StageSizes):
    """Fewest refused, and answered, prompts of a category whose latents are tested; latents that
    are edited together, further ones that get a card, draws of control latents and of permuted
    verdicts; test pairs whose answers are read, and their tokens."""

    feature_least: int = size(LEAST, quick=8)
    feature_latents: int = size(10)
    feature_tail_cards: int = size(6, quick=2)
    feature_controls: int = size(8, quick=2)
    feature_permutations: int = size(200, quick=20)
    feature_pairs: int = size(48, full=297, quick=6)
    feature_tokens: int = size(16, full=48, quick=8)


@final
@dataclass(frozen=True, eq=False)
class Read:
    """Prompts with verdicts: their residuals at the autoencoder's site, and which latents fire."""

    prompts: PromptSet
    resid: Float[Tensor, "prompt d_model"]
    pool: Pool


def use_sae(bench: Bench, sae: SparseAutoencoder) -> None:
    """Let the stages of this bench work with an autoencoder.

    Raises:
        InputError: it is of another size than the model, or not of the stream between blocks.
    """
    check_fits(sae, bench.model.n_layers, bench.model.d_model, bench.model.name)
    if sae.site.point not in ("resid_pre", "resid_post"):
        raise InputError(
            f"{sae.name} is not of the stream between blocks, where directions are; take one at "
            "resid_pre or resid_post"
        )
    bench.once(_SAE, lambda: sae)


def sae_of(bench: Bench) -> SparseAutoencoder:
    """The autoencoder that was asked for, else the one that comes for the model."""
    return bench.once(_SAE, lambda: shipped_sae(bench.study.source))


def read_prompts(bench: Bench, answers: Answers, tick: Progress) -> Read:
    """The prompts of read answers that were clearly refused or answered."""
    sae, refused = sae_of(bench), answers.refused()
    prompts = bench.prompts.only(ids=set(refused))
    feed, resid = bench.model.feed(prompts), torch.zeros(len(prompts), sae.d_model)
    with torch.inference_mode():
        for row, streams in own_residuals(feed, sae.site):  # stops there: later blocks are not run
            resid[row] = streams[OFFSET]
            tick(1)
    sides = torch.tensor([refused[p.id] for p in prompts])
    return Read(
        prompts, resid, Pool(sae.encode(resid) > 0, sides, tuple(p.category for p in prompts))
    )


def pooled_at(bench: Bench, site: Site) -> Direction | None:
    """The pooled direction at a site of the stream; None where the run has none there."""
    layer, _ = site.vector_of_stream
    try:
        direction = pooled_set(bench.results).at(POOLED, layer)
    except (InputError, Gap):
        return None
    return direction
