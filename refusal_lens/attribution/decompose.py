"""Direct attribution: the projection on a direction as an exact sum over what writes to it.

The stream is a sum: r . x[l] = r . embedding + sum over blocks below l of (sum over heads of
r . head + r . attention bias + r . MLP + r . MLP bias). No LayerNorm is approximated: what a norm
divides by is read from the run (see `anatomy`). Sums are streamed by category and label, so that
memory does not grow with the number of prompts.
"""

from collections.abc import Sequence
from functools import partial
from math import nan
from typing import Final, final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from refusal_lens.attribution.base import Attribution, Decomposition, Target
from refusal_lens.attribution.components import Anatomy
from refusal_lens.attribution.passes import (
    check_directions,
    check_unedited,
    feed_of,
    pair_units,
    silent,
    tapped,
)
from refusal_lens.attribution.projections import Projections
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.model import LensModel
from refusal_lens.model.forward import Feed, Progress
from refusal_lens.prompts import LABELS, Prompt, PromptSet
from refusal_lens.residuals import COMPLY, REFUSE, index_axes, pair_rows

# The model adds some 2 x n_layers writes in its own precision, the parts are added in float64:
# they differ by that rounding. Seen: 2e-7 of the stream's length in float32, 2e-3 in bfloat16.
_TOLERANCE: Final = {torch.float32: 1e-5, torch.float64: 1e-12}
_HALF_TOLERANCE: Final = 2e-2


@final
class _Sums:
    """Streamed sums of the parts and their squares, by category and label."""

    def __init__(self, n_categories: int, n_targets: int, n_components: int) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64)

        sides = (n_categories, len(LABELS))
        self.count = torch.zeros(*sides, dtype=torch.int64)
        self.n_pairs = torch.zeros(n_categories, dtype=torch.int64)
        self.total = zeros(*sides, n_targets, n_components)
        self.square = zeros(*sides, n_targets, n_components)
        self.pair_square = zeros(n_categories, n_targets, n_components)
        self.whole = zeros(*sides, n_targets)
        self.worst = 0.0

    def add(
        self,
        parts: Float64[Tensor, "batch target component"],
        whole: Float64[Tensor, "batch target"],
        where: tuple[Int64[Tensor, " batch"], Int64[Tensor, " batch"]],
        pairs: Int64[Tensor, "pair 2"],
    ) -> None:
        """Add a batch; `pairs` holds the rows of (refuse, comply) twins that are both in it."""
        self.count.index_put_(where, torch.ones_like(where[0]), accumulate=True)
        self.total.index_put_(where, parts, accumulate=True)
        self.square.index_put_(where, parts.square(), accumulate=True)
        self.whole.index_put_(where, whole, accumulate=True)
        if len(pairs):
            own = where[0][pairs[:, 0]]
            d_square = (parts[pairs[:, 0]] - parts[pairs[:, 1]]).square()
            self.n_pairs.index_put_((own,), torch.ones_like(own), accumulate=True)
            self.pair_square.index_put_((own,), d_square, accumulate=True)

    def mean(self) -> Float64[Tensor, "category label target component"]:
        """Means; NaN where a side has no prompt."""
        return self.total / self._n()[:, :, None, None]

    def error(self) -> Float64[Tensor, "category target component"]:
        """Standard error of refuse minus comply."""
        mean = self.mean()
        n = self._n()[:, :, None, None]
        variance = (self.square - n * mean.square()).clamp(min=0) / (n - 1)
        independent = (variance / n).sum(1).sqrt()
        m = self.n_pairs.double()[:, None, None]
        d = mean[:, REFUSE] - mean[:, COMPLY]
        paired = ((self.pair_square - m * d.square()).clamp(min=0) / (m - 1) / m).sqrt()
        whole = (self.count == self.n_pairs[:, None]).all(1) & (self.n_pairs > 0)
        return torch.where(whole[:, None, None], paired, independent)

    def _n(self) -> Float64[Tensor, "category label"]:
        n = self.count.double()
        return torch.where(n > 0, n, nan)


def decompose(
    model: LensModel,
    prompts: PromptSet,
    directions: Sequence[Direction],
    *,
    progress: Progress = silent,
) -> Decomposition:
    """Decompose the projection on every direction, over every category's prompts, in one pass.

    Raises:
        InputError: no direction; one outside the stream; an offset before the prompts' own
            tokens; an edit that is on; a model whose parts don't sum to its stream.
    """
    directions = check_directions(model, directions)
    if not directions:
        raise InputError("no direction was given; expected at least one")
    check_unedited(model)
    projections = Projections(Anatomy(model.backend), directions)
    feed = feed_of(model, model.ids(prompts), progress)
    with torch.inference_mode():
        sums = _stream(feed, prompts, projections)
    written = projections.written[:, None, None]
    error = sums.error().permute(1, 0, 2)
    paired = (sums.count == sums.n_pairs[:, None]).all(1)
    return Decomposition(
        targets=tuple(Target(d.category, d.site, d.offset, d.scale) for d in directions),
        categories=prompts.categories,
        components=projections.components,
        mean=sums.mean().permute(2, 0, 1, 3).where(written, nan),
        error=error.where(written[:, 0], nan),
        whole=(sums.whole / sums.count.double()[..., None]).permute(2, 0, 1),
        count=sums.count,
        n_pairs=sums.n_pairs.where(paired, 0),
        worst=sums.worst,
        provenance=model.provenance(prompts),
    )


def decompose_prompt(model: LensModel, prompt: Prompt | str, direction: Direction) -> Attribution:
    """One prompt's attribution; raises like `decompose`."""
    text, before = (prompt, ()) if isinstance(prompt, str) else (prompt.text, prompt.before)
    row = ("prompt", text, direction.category, "refuse", "one", "given by the user")
    one = Prompt(*row, before=before)
    found = decompose(model, PromptSet((one,)), [direction])
    scores = found.mean[0, 0, REFUSE]
    return Attribution(
        target=found.targets[0],
        category=direction.category,
        of=f"the prompt {text!r}",
        components=found.components,
        scores=scores,
        low=torch.full_like(scores, nan),
        high=torch.full_like(scores, nan),
        whole=float(found.whole[0, 0, REFUSE]),
        remainder=float(found.remainder[0, 0, REFUSE]),
        n=1,
        provenance=found.provenance,
    )


def _stream(feed: Feed, prompts: PromptSet, projections: Projections) -> _Sums:
    category, label = index_axes(prompts)
    twin_of: dict[int, int] = dict(pair_rows(prompts).tolist())
    n_targets, n_components = len(projections.directions), len(projections.components)
    sums = _Sums(len(prompts.categories), n_targets, n_components)
    read = partial(tapped, feed, projections.names, projections.offsets)
    for batch, tap in feed.batches(read, pair_units(prompts)):
        parts = projections.parts(tap)
        whole, length = projections.whole(tap)
        sums.worst = max(sums.worst, _checked(feed, whole - parts.sum(-1), length, projections))
        rows = torch.tensor(batch.rows)
        place = {row: i for i, row in enumerate(batch.rows)}
        pairs = [(place[r], place[twin_of[r]]) for r in batch.rows if r in twin_of]
        sums.add(
            parts, whole, (category[rows], label[rows]), torch.tensor(pairs).long().reshape(-1, 2)
        )
        feed.progress(len(batch.rows))
    return sums


def _checked(feed: Feed, remainder: Tensor, length: Tensor, projections: Projections) -> float:
    """The largest remainder relative to the stream's length, which must be rounding."""
    relative = (remainder.abs() / length).amax(0)
    k = int(relative.argmax())
    if not float(relative[k]) <= _TOLERANCE.get(feed.backend.dtype, _HALF_TOLERANCE):
        d = projections.directions[k]
        raise InputError(
            f"the parts don't sum to the stream of {feed.backend.name} at {d.site}, offset "
            f"{d.offset} (relative gap {float(relative[k]):.2g}): this architecture writes in a "
            "way that is not known here, so it can't be attributed by head"
        )
    return float(relative[k])
