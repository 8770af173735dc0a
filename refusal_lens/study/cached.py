"""Residuals of the last token, kept on disk while they are needed, and their sums."""

from collections.abc import Generator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from jaxtyping import Float
from torch import Tensor

from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import ResidualCache, ResidualStats, stats_of
from refusal_lens.sites import Site, block_inputs


@contextmanager
def cached(
    model: LensModel,
    prompts: PromptSet,
    resid: Float[Tensor, "prompt offset site d_model"],
    sites: tuple[Site, ...] | None = None,
) -> Generator[ResidualCache]:
    """Residuals of the last token, by default at every block's input, while they are needed."""
    with TemporaryDirectory() as folder:
        yield ResidualCache.write(
            folder,
            resid,
            ids=prompts.ids,
            sites=block_inputs(model.n_layers) if sites is None else sites,
            offsets=(-1,),
            provenance=model.provenance(prompts),
        )


def last_token_stats(
    model: LensModel, prompts: PromptSet, resid: Float[Tensor, "prompt offset site d_model"]
) -> ResidualStats:
    return stats_of(
        resid,
        prompts,
        sites=block_inputs(model.n_layers),
        offsets=(-1,),
        provenance=model.provenance(prompts),
    )
