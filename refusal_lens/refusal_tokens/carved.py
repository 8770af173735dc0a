"""Which directions training with refusal tokens carves into the residual stream.

The same pairs, harmful minus benign, at four places:

    base, before      the base model, at the last token of the template
    before            the model with tokens, at the same place: it has decided, and said nothing
    own token         at the token, each side behind its own: its category's, or respond
    one token         at the token, both sides behind respond

At the own token the two sides differ in the token that is read, and their directions hold its
identity besides what the model made of the prompt (2603.13359 reads there). "Before" is the control
on the preceding position, "one token" the control for identity. Cosines between categories are
corrected for reliability, so that a smaller one is no matter of noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float
from scipy.stats import false_discovery_control
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry import Geometry, fit_geometry, matrix_correlation
from refusal_lens.geometry.matrix_correlation import correlated
from refusal_lens.geometry.mean import mean_cosine, mean_cosine_difference
from refusal_lens.model import LensModel
from refusal_lens.model.forward import residuals
from refusal_lens.model.places import sites_of
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.refusal_tokens.after import feed_after, unembedding_of
from refusal_lens.refusal_tokens.names import RefusalTokens
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

BEFORE: Final = "before"
OWN_TOKEN: Final = "own token"
ONE: Final = "one token"


@final
@dataclass(frozen=True)
class MatrixSimilarity:
    """How alike a place's cosine matrix is to another matrix at a layer; q: over all of them."""

    place: str
    against: str
    layer: int
    correlation: Estimate
    p: float
    q: float


@final
@dataclass(frozen=True, eq=False)
class Carved(Record):
    """Cosines between the categories' directions by place and layer.

    `mean[k, layer]` is the mean corrected cosine over pairs of categories with its interval (value,
    low, high); `change[k, layer]` is that of place k minus that "before". NaN is undefined.
    `aligned[k, layer, category]` is the cosine of a category's direction with its token's row of
    the unembedding minus respond's. `token_rows` are the cosines between these differences.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    places: tuple[str, ...]
    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    n: tuple[int, ...]
    d_model: int
    corrected: Float[Tensor, "place site category category"]
    reliability: Float[Tensor, "place site category"]
    mean: Float[Tensor, "place site 3"]
    change: Float[Tensor, "place site 3"]
    aligned: Float[Tensor, "place site category"]
    token_rows: Float[Tensor, "category category"]
    agreements: tuple[MatrixSimilarity, ...]
    provenance: tuple[Provenance, ...]


def measure_carved(
    model: LensModel,
    prompts: PromptSet,
    tokens: RefusalTokens,
    others: Mapping[str, LensModel],
    progress: Progress = NO_PROGRESS,
) -> Carved:
    """The directions at each place; `others` are models without tokens, read "before", by name.

    Only categories with a token are read; each needs at least three pairs.

    >>> tokens = rl.refusal_tokens.RefusalTokens(
    ...     7, prompts.categories, (9, 10, 11), ("[r]", "[a]", "[h]", "[u]"))
    >>> carved = rl.refusal_tokens.measure_carved(model, prompts, tokens, {})
    >>> carved.places, carved.mean.shape
    (('before', 'own token', 'one token'), torch.Size([3, 3, 3]))

    Raises:
        InputError: no two categories with a token, or another model of another size.
    """
    for name, other in others.items():
        ours, theirs = ((m.n_layers, m.d_model) for m in (model, other))
        if ours != theirs:
            raise InputError(
                f"{name!r} has {theirs[0]} layers of width {theirs[1]}, the model with tokens "
                f"{ours[0]} of {ours[1]}; name the model that it was trained from"
            )
    used = [c for c in prompts.categories if c in tokens.categories]
    if len(used) < 2:
        raise InputError(
            f"categories {list(prompts.categories)}: two or more need a token; those with one are "
            f"{list(tokens.categories)}"
        )
    pairs = prompts.only(category=used)
    read = {
        f"{name}, before": other.residuals(pairs, progress=progress)
        for name, other in others.items()
    }
    read[BEFORE] = model.residuals(pairs, progress=progress)
    first_tokens = [tokens.of(p.category) if p.label == "refuse" else tokens.respond for p in pairs]
    read[OWN_TOKEN] = _after(model, pairs, first_tokens, progress)
    read[ONE] = _after(model, pairs, [tokens.respond] * len(pairs), progress)
    geometries = {name: fit_geometry(r) for name, r in read.items()}
    rows = _token_rows(model, geometries[BEFORE].categories, tokens)
    return _record(read, geometries, rows)


def _after(
    model: LensModel, prompts: PromptSet, tokens: Sequence[int], progress: Progress
) -> Residuals:
    """Residuals at the token that was put behind each templated prompt."""
    sites = sites_of(model.backend, model.name, None)
    with torch.inference_mode():
        feed = feed_after(model, prompts, tokens, progress)
        tensor = residuals(feed, sites=sites, offsets=(-1,))
    made = model.provenance()
    return Residuals.of(tensor, prompts, sites=sites, offsets=(-1,), provenance=made)


def _token_rows(
    model: LensModel, categories: Sequence[str], tokens: RefusalTokens
) -> Float[Tensor, "category d_model"]:
    """What raises each token's logit over respond's, as a unit vector of the residual stream.

    The difference of their rows of the unembedding, times the final norm's weights.
    """
    unembedding = unembedding_of(model)
    rows = torch.stack(
        [unembedding[tokens.of(c)] - unembedding[tokens.respond] for c in categories]
    )
    # Of mean 0 and mean square 1: a norm, of whichever kind, multiplies it by its weights alone.
    signs = torch.ones(model.d_model)
    signs[::2] = -1.0
    weights = signs * (model.final_norm(signs) - model.final_norm(-signs)) / 2
    return torch.nn.functional.normalize((rows * weights).double(), dim=-1).float()


def _record(
    read: Mapping[str, Residuals],
    geometries: Mapping[str, Geometry],
    rows: Float[Tensor, "category d_model"],
) -> Carved:
    first = geometries[BEFORE]
    layers = [site.layer for site in first.sites]

    def triples(of: Geometry, minus: Geometry | None) -> Float[Tensor, "site 3"]:
        numbers = [
            mean_cosine(of, layer) if minus is None else mean_cosine_difference(of, minus, layer)
            for layer in layers
        ]
        return torch.tensor([[_nan(e.value), _nan(e.low), _nan(e.high)] for e in numbers])

    token_rows = (rows @ rows.T).clamp(-1, 1)
    matrices = {name: g.corrected for name, g in geometries.items()}
    return Carved(
        places=tuple(geometries),
        categories=first.categories,
        sites=first.sites,
        n=first.n,
        d_model=rows.shape[1],
        corrected=torch.stack([*matrices.values()]),
        reliability=torch.stack([g.reliability for g in geometries.values()]),
        mean=torch.stack([triples(g, None) for g in geometries.values()]),
        change=torch.stack([triples(g, first) for g in geometries.values()]),
        aligned=torch.stack([_aligned(read[name], rows) for name in geometries]),
        token_rows=token_rows,
        agreements=_agreements(matrices, token_rows, layers),
        provenance=tuple(g.provenance for g in geometries.values()),
    )


def _aligned(
    residuals: Residuals, rows: Float[Tensor, "category d_model"]
) -> Float[Tensor, "site category"]:
    """Cosine of each category's mean difference with its token's row; NaN without a length."""
    of: list[Tensor] = []
    for category, row in zip(residuals.labelled.categories, rows, strict=True):
        sides = [
            residuals.only(category=category, label=label).tensor[:, 0].double().mean(0)
            for label in ("refuse", "comply")
        ]
        difference = sides[0] - sides[1]  # site d_model
        of.append(difference @ row.double() / difference.norm(dim=-1))
    return torch.stack(of, -1).float()


def _agreements(
    matrices: Mapping[str, Float[Tensor, "site category category"]],
    token_rows: Float[Tensor, "category category"],
    layers: Sequence[int],
) -> tuple[MatrixSimilarity, ...]:
    """Each place against the token rows, and against the first place, at quarters of the depth."""
    if len(token_rows) < 4:
        return ()
    first = next(iter(matrices))
    quarters = sorted({round(len(layers) * k / 4) - (k == 4) for k in (1, 2, 3, 4)})
    rows: list[tuple[str, str, int, Estimate, float]] = []
    for name, matrix in matrices.items():
        for s in quarters:
            others = {"token rows": token_rows}
            if name != first:
                others[first] = matrices[first][s]
            for against, other in others.items():
                if correlated(matrix[s], other):
                    m = matrix_correlation(matrix[s], other)
                    rows.append((name, against, layers[s], m.correlation, m.p))
    if not rows:
        return ()
    q = false_discovery_control([row[4] for row in rows])
    return tuple(MatrixSimilarity(*row, float(x)) for row, x in zip(rows, q, strict=True))


def _nan(value: float | None) -> float:
    return torch.nan if value is None else value
