"""Direct attribution: the projection on a direction as an exact sum of direct contributions.

As direct logit attribution (Elhage et al. 2021; Wang et al. 2023), onto the direction in place of
an unembedding vector. The stream is a sum: r . x[l] = r . embedding + sum over blocks below l of
(sum over heads of r . head + r . attention bias + r . MLP + r . MLP bias). No norm is
approximated: what a norm divides by is read from the run (see `components`). Sums are streamed by
category and label, so that memory does not grow with the number of prompts.
"""

from collections.abc import Sequence
from math import nan
from typing import Final

import torch
from torch import Tensor

from refusal_lens.attribution.base import Attribution, Decomposition, Target
from refusal_lens.attribution.checks import NO_SUM, check_directions
from refusal_lens.attribution.components import Anatomy
from refusal_lens.attribution.projections import Projections
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.model import Batch, Feed, HookReader, LensModel, check_unedited
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import REFUSE, Prompt, PromptSet
from refusal_lens.sums import SideSums

# The model adds some 2 x n_layers writes in its own precision, contributions are added in float64:
# they differ by that rounding. Seen: 2e-7 of the stream's length in float32, 2e-3 in bfloat16.
_TOLERANCE: Final = {torch.float32: 1e-5, torch.float64: 1e-12}
_HALF_TOLERANCE: Final = 2e-2


def decompose(
    model: LensModel,
    prompts: PromptSet,
    directions: Sequence[Direction],
    *,
    progress: Progress = NO_PROGRESS,
) -> Decomposition:
    """Decompose the projection on every direction, over every category's prompts, in one pass.

    Contributions are in residual-stream units; positive is towards refusal. Progress counts
    prompts.

    Raises:
        InputError: no direction; one outside the stream; an offset before the prompts' own
            tokens; an edit that is on; a model whose components don't sum to its stream.

    >>> decomposition = decompose(model, prompts.only(split="train"), [direction])
    >>> difference = decomposition.attribution("advice")  # should-refuse minus benign
    >>> bool(abs(difference.scores.sum() - direction.scale) < 1e-4)
    True
    """
    directions = check_directions(model, directions)
    if not directions:
        raise InputError("no direction was given; expected at least one")
    check_unedited(model, NO_SUM)
    projections = Projections(Anatomy(model.backend), directions)
    with torch.inference_mode():
        sums, worst = _stream(model.feed(prompts, progress), prompts, projections)
    written = projections.written[:, None, None]
    mean = sums.mean().permute(2, 0, 1, 3)
    error = sums.difference_error().permute(1, 0, 2)
    return Decomposition(
        targets=tuple(Target(d.category, d.site, d.offset, d.scale) for d in directions),
        categories=prompts.categories,
        components=projections.components,
        mean=mean[..., :-1].where(written, nan),
        error=error[..., :-1].where(written[:, 0], nan),
        total=mean[..., -1].clone(),
        count=sums.count,
        n_pairs=sums.n_pairs.where(sums.paired, 0),
        worst=worst,
        provenance=model.provenance(prompts),
    )


def decompose_prompt(model: LensModel, prompt: Prompt | str, direction: Direction) -> Attribution:
    """One prompt's attribution; raises like `decompose`.

    >>> attribution = decompose_prompt(model, "Should I sue?", direction)
    >>> bool(abs(attribution.total - attribution.scores.sum()) < 1e-4), attribution.n
    (True, 1)
    """
    text, before = (prompt, ()) if isinstance(prompt, str) else (prompt.text, prompt.before)
    row = ("prompt", text, direction.category, "refuse", "one", "given by the user")
    one = Prompt(*row, before=before)
    decomposition = decompose(model, PromptSet((one,)), [direction])
    scores = decomposition.mean[0, 0, REFUSE]
    return Attribution(
        target=decomposition.targets[0],
        category=direction.category,
        of=f"the prompt {text!r}",
        components=decomposition.components,
        scores=scores,
        low=torch.full_like(scores, nan),
        high=torch.full_like(scores, nan),
        total=float(decomposition.total[0, 0, REFUSE]),
        residual=float(decomposition.residual[0, 0, REFUSE]),
        n=1,
        provenance=decomposition.provenance,
    )


def _stream(feed: Feed, prompts: PromptSet, projections: Projections) -> tuple[SideSums, float]:
    """Sums of every component's contribution, the total behind them; and the largest residual."""
    shape = (len(projections.directions), len(projections.components) + 1)
    sums, worst = SideSums(len(prompts.categories), shape), 0.0

    def read(batch: Batch) -> HookReader:
        return feed.read(batch, projections.names, projections.offsets)

    for reader, sides in feed.paired_batches(prompts, read):
        parts = projections.parts(reader)
        total, length = projections.total(reader)
        worst = max(worst, _checked(feed, total - parts.sum(-1), length, projections))
        sums.update(torch.cat([parts, total[..., None]], dim=-1), sides)
    return sums, worst


def _checked(feed: Feed, residual: Tensor, length: Tensor, projections: Projections) -> float:
    """The largest residual relative to the stream's length, which must be rounding."""
    relative = (residual.abs() / length).amax(0)
    k = int(relative.argmax())
    if not float(relative[k]) <= _TOLERANCE.get(feed.backend.dtype, _HALF_TOLERANCE):
        d = projections.directions[k]
        raise InputError(
            f"the components don't sum to the stream of {feed.backend.name} at {d.site}, offset "
            f"{d.offset} (relative gap {float(relative[k]):.2g}): this architecture writes in a "
            "way that is not known here, so it can't be attributed by head"
        )
    return float(relative[k])
