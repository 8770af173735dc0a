"""The logit lens: what the model would answer if each layer's stream were its last.

The stream at the last token goes through the final norm and the unembedding (nostalgebraist 2020);
read as a refusal score by layer, and, for a direction itself, as the tokens that it promotes.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast, final

import torch
from jaxtyping import Float, Int64
from scipy import stats
from torch import Tensor

from refusal_lens.attribution.pairs import Metric
from refusal_lens.attribution.passes import silent
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import LEVEL
from refusal_lens.memory import in_batches
from refusal_lens.model import LensModel
from refusal_lens.model.forward import Progress
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

    The last entry of the layer axis is the model's own score, after the last block. `low` and
    `high` bound 95% t intervals over `count` prompts. The benign side is the control.
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

    `raised_by` and `lowered_by` are logits in standard deviations over the vocabulary. Among
    `n_random` random directions the mean largest one is `control`.
    """

    raised: tuple[str, ...]
    raised_by: tuple[float, ...]
    lowered: tuple[str, ...]
    lowered_by: tuple[float, ...]
    control: float
    n_random: int


@torch.inference_mode()
def read_out(model: LensModel, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
    """Logits of stream vectors as if they stood before the final norm."""
    backend = model.backend
    lens: Any = cast(Any, backend).model
    rows = resid.to(backend.device, backend.dtype)[None]
    logits = lens.unembed(lens.ln_final(rows))[0].float().cpu()
    cap = getattr(lens.cfg, "output_logits_soft_cap", None) or 0.0
    return cap * torch.tanh(logits / cap) if cap > 0 else logits


def logit_lens(
    model: LensModel, prompts: PromptSet, metric: Metric, *, progress: Progress = silent
) -> LensProfile:
    """The refusal score by layer.

    Raises:
        InputError: a model whose last layer, read out, is not its own answer.
    """
    last = Site(model.n_layers - 1, "resid_post")
    sites = (*block_inputs(model.n_layers), last)
    _check(model, prompts.prompts[0].text, last)
    scores = torch.full((len(prompts), len(sites)), torch.nan)

    def score(chunk: list[int]) -> Float[Tensor, "prompt site"]:
        own = PromptSet(tuple(prompts.prompts[i] for i in chunk))
        resid = model.residuals(own, sites=sites).tensor[:, 0]
        found = [metric(read_out(model, resid[:, s])).float() for s in range(len(sites))]
        return torch.stack(found, dim=1)

    for chunk, found in in_batches([[i] for i in range(len(prompts))], model.rows, score):
        scores[chunk] = found
        progress(len(chunk))
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
                t = float(stats.t.ppf((1 + LEVEL) / 2, int(n) - 1))
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
    """The tokens that a direction itself raises and lowers, beside random directions."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(_RANDOM, model.d_model, generator=generator)
    vectors = torch.cat([direction.vector[None], random / random.norm(dim=1, keepdim=True)])
    # A norm divides by the vector's length: the direction at the stream's own length reads alike.
    logits = read_out(model, vectors * model.d_model**0.5)
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


def _check(model: LensModel, text: str, last: Site) -> None:
    """Reading out the last layer must be what the model itself does."""
    resid = model.residuals([text], sites=[last]).tensor[0, 0]
    ours = read_out(model, resid).log_softmax(-1)
    gap = float((ours - model.logits([text]).log_softmax(-1)).abs().max())
    exact = model.backend.dtype in (torch.float32, torch.float64)
    if not gap <= (_TOLERANCE if exact else _HALF_TOLERANCE):
        raise InputError(
            f"the last layer of {model.name}, read through its final norm and unembedding, is not "
            f"its answer (log-probabilities differ by {gap:.2g}): the logit lens does not fit it"
        )
