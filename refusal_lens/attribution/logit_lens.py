"""The logit lens: each layer's stream read out as if it were the last.

The stream at the last token goes through the final norm and the unembedding (nostalgebraist 2020):
as a refusal score by layer, and, for a direction itself, as the tokens that it promotes.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.attribution.checks import check_directions
from refusal_lens.attribution.pairs import Metric
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import t_quantile
from refusal_lens.model import Batch, HookReader, LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import LABELS, PromptSet
from refusal_lens.records import Provenance, Record
from refusal_lens.residuals import index_axes
from refusal_lens.sites import Site, block_inputs

# Log-probabilities by two routes through one norm and one matrix product.
_TOLERANCE: Final = 1e-3
_HALF_TOLERANCE: Final = 0.5
_RANDOM: Final = 32  # random directions that the promoted tokens are compared with


@final
@dataclass(frozen=True, eq=False)
class LensProfile(Record):
    """Mean refusal score (nats) of the stream at the last token, by layer, category and label.

    Positive is towards refusal. The last entry of the layer axis is the model's own score, after
    the last block. `low` and `high` bound 95% t intervals over `count` prompts. The benign prompts
    are the control.

    >>> readout = logit_lens(model, prompts, lambda logits: logits[:, 7])
    >>> readout.mean.shape == (model.n_layers + 1, 3, 2)
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    layers: tuple[int, ...]
    categories: tuple[str, ...]
    mean: Float[Tensor, "layer category label"]
    low: Float[Tensor, "layer category label"]
    high: Float[Tensor, "layer category label"]
    count: Int64[Tensor, "category label"]
    provenance: Provenance


@final
@dataclass(frozen=True)
class PromotedTokens:
    """Tokens that a direction, read through the final norm and unembedding, raises and lowers.

    `raised_by` and `lowered_by` are logits in standard deviations over the vocabulary. `control`
    is the mean of the largest one over `n_random` random directions.

    >>> promoted = promoted_tokens(model, direction, most=3)
    >>> len(promoted.raised), promoted.raised_by[0] > promoted.raised_by[1]
    (3, True)
    """

    raised: tuple[str, ...]
    raised_by: tuple[float, ...]
    lowered: tuple[str, ...]
    lowered_by: tuple[float, ...]
    control: float
    n_random: int


@torch.inference_mode()
def stream_logits(
    model: LensModel, resid: Float[Tensor, "row d_model"]
) -> Float[Tensor, "row d_vocab"]:
    """Logits of stream vectors, taken as the input of the final norm; float32 on the CPU.

    >>> import torch
    >>> stream_logits(model, torch.ones(2, model.d_model)).shape
    torch.Size([2, 300])
    """
    backend = model.backend
    return backend.read_out(resid.to(backend.device, backend.dtype)).float().cpu()


def logit_lens(
    model: LensModel, prompts: PromptSet, metric: Metric, *, progress: Progress = NO_PROGRESS
) -> LensProfile:
    """The refusal score by layer, under the edits that are on. Progress counts prompts.

    Raises:
        InputError: a model whose last layer, read out, is not its own answer.

    >>> readout = logit_lens(model, prompts, lambda logits: logits[:, 7])
    >>> readout.layers, readout.count[0].tolist()
    ((0, 1, 2, 3), [6, 6])
    """
    sites = (*block_inputs(model.n_layers), Site(model.n_layers - 1, "resid_post"))
    scores = torch.full((len(prompts), len(sites)), torch.nan)
    feed = model.feed(prompts)

    def score(batch: Batch) -> Float[Tensor, "prompt site"]:
        reader = HookReader([site.hook_name for site in sites], feed.positions(batch, [-1]))
        with feed.hooks(reader.hooks()):
            answer = feed.last_logits(batch)[0].float().cpu()
        resid = reader.residuals(sites, model.d_model)[:, 0]
        _check(model, resid[:1, -1], answer)
        by_site = [metric(stream_logits(model, resid[:, s])).float() for s in range(len(sites))]
        return torch.stack(by_site, dim=1)

    with torch.inference_mode():
        for batch, by_site in feed.batches(score):
            scores[list(batch.rows)] = by_site
            progress(len(batch.rows))
    category, label = index_axes(prompts)
    shape = (len(sites), len(prompts.categories), len(LABELS))
    mean, half = torch.full(shape, torch.nan), torch.full(shape, torch.nan)
    count = torch.zeros(shape[1:], dtype=torch.int64)
    for c in range(shape[1]):
        for side in range(shape[2]):
            values = scores[(category == c) & (label == side)]
            n = count[c, side] = len(values)
            if n > 1:
                mean[:, c, side] = values.mean(0)
                t = float(t_quantile(n - 1))
                half[:, c, side] = t * values.std(0) / float(n) ** 0.5
    return LensProfile(
        layers=tuple(range(model.n_layers + 1)),
        categories=prompts.categories,
        mean=mean,
        low=mean - half,
        high=mean + half,
        count=count,
        provenance=model.provenance(prompts),
    )


def promoted_tokens(
    model: LensModel, direction: Direction, *, most: int = 10, seed: int = 0
) -> PromotedTokens:
    """The `most` tokens that a direction itself raises and lowers; random directions as control.

    The direction goes through the final norm and the unembedding; a token's value is its logit in
    standard deviations of all logits from their mean. `control` is the largest such value, on
    average over random directions.

    Raises:
        InputError: a direction of another width than the model's stream, or `most` that is not from
            1 to the size of the vocabulary.

    >>> promoted_tokens(model, direction, most=2).n_random
    32
    """
    check_directions(model, [direction])
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(_RANDOM, model.d_model, generator=generator)
    vectors = torch.cat([direction.vector[None], random / random.norm(dim=1, keepdim=True)])
    # A norm divides by the vector's length: the direction at the stream's own length reads alike.
    logits = stream_logits(model, vectors * model.d_model**0.5)
    if not 1 <= most <= logits.shape[1]:
        raise InputError(
            f"most={most} tokens; expected from 1 to {logits.shape[1]}, the vocabulary of "
            f"{model.name}"
        )
    z = (logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True)
    up, down = z[0].topk(most), (-z[0]).topk(most)
    return PromotedTokens(
        raised=tuple(model.chat.strings(up.indices.tolist())),
        raised_by=tuple(up.values.tolist()),
        lowered=tuple(model.chat.strings(down.indices.tolist())),
        lowered_by=tuple((-down.values).tolist()),
        control=float(z[1:].amax(1).mean()),
        n_random=_RANDOM,
    )


def _check(
    model: LensModel, last: Float[Tensor, "1 d_model"], answer: Float[Tensor, " d_vocab"]
) -> None:
    """Reading out the last layer of a prompt must be what the model itself does."""
    ours = stream_logits(model, last)[0].log_softmax(-1)
    gap = float((ours - answer.log_softmax(-1)).abs().max())
    exact = model.backend.dtype in (torch.float32, torch.float64)
    if not gap <= (_TOLERANCE if exact else _HALF_TOLERANCE):
        raise InputError(
            f"the last layer of {model.name}, read through its final norm and unembedding, is not "
            f"its answer (log-probabilities differ by {gap:.2g}): the logit lens does not fit it"
        )
