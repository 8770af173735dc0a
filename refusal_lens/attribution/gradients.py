"""Gradients of the refusal score with respect to activations, in batches of bounded memory.

A graph keeps every intermediate activation of its rows until its backward pass. What one row's
graph keeps is measured on the longest prompt, and batches hold as many rows as fit into
`GRAPH_BYTES`; each opening of a score has a graph of its own, one after another.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from refusal_lens.attribution.score import OpeningScore, Score, opening_log_p
from refusal_lens.memory import enough_for
from refusal_lens.model import Batch, Feed, HookReader
from refusal_lens.sites import Site

GRAPH_BYTES: Final = 2**30
"""What the graph of a batch may keep. With gradients and what a backward pass needs besides, the
peak of a run was seen to rise by about twice as much."""


def score_gradient(
    feed: Feed, names: Sequence[str], offsets: Sequence[int], score: Score, batch: Batch
) -> tuple[dict[str, Tensor], dict[str, Tensor], Float[Tensor, " batch"]]:
    """Activations, d score / d activation (nats per unit), and the score (nats) of each row.

    Both by hook point, [batch, offset, ...], float32 on the CPU. Gradients are on inside this
    function only, and no weight gets one.

    >>> import torch
    >>> with torch.no_grad():
    ...     feed = model.feed(["Why?"]).anew()  # a prefix made in inference mode takes no gradient
    ...     x, gradient, score = score_gradient(
    ...         feed, ["blocks.2.hook_mlp_out"], [-1], lambda logits: logits[:, 7], feed.batch([0])
    ...     )
    >>> gradient["blocks.2.hook_mlp_out"].shape == (1, 1, model.d_model)
    True
    """
    if not isinstance(score, OpeningScore):
        values, gradients, scores = _graph(
            feed, names, offsets, batch, lambda: score(feed.last_logits(batch))
        )
        return values, gradients, scores.float().cpu()
    # One opening after another. The prompt's activations are the same in each: the chain rule
    # weighs the openings' gradients row by row, and they add up.
    passes = [
        _graph(feed, names, offsets, batch, partial(opening_log_p, feed, batch, opening))
        for opening in score.openings
    ]
    with torch.enable_grad():
        leaves = [log_p.detach().requires_grad_(True) for _, _, log_p in passes]
        scores = score.of(leaves)
        weights = torch.autograd.grad(scores.sum(), leaves)
    total = {
        name: sum(
            _by_row(w, g[name]) * g[name] for w, (_, g, _) in zip(weights, passes, strict=True)
        )
        for name in names
    }
    return passes[0][0], {n: torch.as_tensor(x) for n, x in total.items()}, scores.detach().cpu()


def rows_that_fit(
    feed: Feed, names: Sequence[str], score: Score, rows: Sequence[int], budget: int | None = None
) -> int:
    """How many of these rows' graphs fit into `budget` bytes (default `GRAPH_BYTES`), at least 1.

    >>> import torch
    >>> with torch.no_grad():
    ...     feed = model.feed(["Why?"]).anew()
    ...     rows_that_fit(feed, ["blocks.0.hook_mlp_out"], lambda logits: logits[:, 7], [0], 1)
    1
    """
    longest = max(rows, key=lambda row: len(feed.ids[row]))
    opening = (
        max(score.openings, key=len) if isinstance(score, OpeningScore) and score.openings else None
    )
    with enough_for(f"two prompts at a time on {feed.backend.device}"):
        batch = feed.batch([longest])
        # The difference of two rows and one: the weights, which a graph keeps too, cancel.
        one, two = (_bytes_kept(feed, names, score, opening, batch.chosen([0] * n)) for n in (1, 2))
    return max(1, (GRAPH_BYTES if budget is None else budget) // max(1, two - one))


def _graph(
    feed: Feed,
    names: Sequence[str],
    offsets: Sequence[int],
    batch: Batch,
    run: Callable[[], Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """One pass with gradients: values and gradients at the offsets, and what `run` gave."""
    reader = HookReader(names, feed.positions(batch, offsets), live=True)
    with torch.enable_grad():
        with feed.hooks([_leaf(), *reader.hooks()]):
            output = run()
        live = [reader.values[name] for name in names]
        gradients = torch.autograd.grad(output.sum(), live)
    values = {name: reader.at_positions(x) for name, x in zip(names, live, strict=True)}
    at = {name: reader.at_positions(g) for name, g in zip(names, gradients, strict=True)}
    return values, at, output.detach()


def _bytes_kept(feed: Feed, names: Sequence[str], score: Score, opening: Any, batch: Batch) -> int:
    """Bytes that the graph of one pass keeps for its backward pass, weights included."""
    kept: dict[int, Any] = {}

    def keep(x: Tensor) -> int:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage  # referenced, so that its memory is not used again
        return 0

    def never(x: int) -> Tensor:
        raise AssertionError("nothing is computed backwards here")

    reader = HookReader(names, feed.positions(batch, [-1]), live=True)
    with (
        torch.enable_grad(),
        saved_tensors_hooks(keep, never),
        feed.hooks([_leaf(), *reader.hooks()]),
    ):
        if isinstance(score, OpeningScore):
            opening_log_p(feed, batch, opening)
        else:
            score(feed.last_logits(batch))
    return sum(storage.nbytes() for storage in kept.values())


def _leaf() -> tuple[str, Any]:
    """Gradients begin at what enters block 0: no weight needs one."""

    def function(resid: Tensor, hook: Any) -> Tensor:
        del hook
        return resid.detach().requires_grad_(True)

    return Site(0).hook_name, function


def _by_row(weights: Float[Tensor, " batch"], like: Tensor) -> Tensor:
    return weights.to(like).reshape(-1, *[1] * (like.ndim - 1))
