"""Activations of a pair's two prompts at the patched offsets, and the random values beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.pairs import CLEAN, CORRUPT
from refusal_lens.attribution.patch_sites import PatchSite, value_at
from refusal_lens.attribution.score import Score, read_scores
from refusal_lens.model import Batch, Feed, HookReader


def read_and_score(
    feed: Feed, names: Sequence[str], offsets: Sequence[int], score: Score, batch: Batch
) -> tuple[dict[str, Tensor], Float[Tensor, " batch"]]:
    """Hook points ([batch, offset, ...] by name) and refusal score (nats) of each row.

    >>> import torch
    >>> feed = model.feed(["Why?"])
    >>> with torch.inference_mode():
    ...     values, scores = read_and_score(
    ...         feed, ["blocks.1.hook_mlp_out"], [-2, -1], lambda logits: logits[:, 7],
    ...         feed.batch([0]),
    ...     )
    >>> values["blocks.1.hook_mlp_out"].shape == (1, 2, model.d_model), scores.shape
    (True, torch.Size([1]))
    """
    reader = HookReader(names, feed.positions(batch, offsets))
    with feed.hooks(reader.hooks()):
        scores = read_scores(score, feed, batch)
    return reader.values, scores


@final
@dataclass(frozen=True, eq=False)
class PairActivations:
    """Activations of one pair by hook point, and its scores (nats); rows are (clean, corrupt)."""

    values: dict[str, Tensor]
    scores: Float[Tensor, " 2"]

    @classmethod
    def read(
        cls, feed: Feed, pair: int, names: Sequence[str], offsets: Sequence[int], score: Score
    ) -> "PairActivations":
        """Run both prompts of pair number `pair` of a pairs' feed and read the hook points."""
        by_row: dict[int, dict[str, Tensor]] = {}
        scores = torch.zeros(2)

        def read(batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
            return read_and_score(feed, names, offsets, score, batch)

        unit = [2 * pair + CLEAN, 2 * pair + CORRUPT]
        for batch, (values, row_scores) in feed.batches(read, [unit]):
            for i, row in enumerate(batch.rows):
                by_row[row % 2] = {name: x[i] for name, x in values.items()}
                scores[row % 2] = row_scores[i]
        both = {name: torch.stack([by_row[CLEAN][name], by_row[CORRUPT][name]]) for name in names}
        return cls(both, scores)


def random_value(
    site: PatchSite, values: dict[str, Tensor], offsets: Sequence[int], generator: torch.Generator
) -> Float[Tensor, "offset ..."]:
    """The corrupt activation plus a random vector as long as the real difference at each offset.

    >>> import torch
    >>> site = PatchSite("mlp_out", 1, -1)
    >>> values = {site.hook_name: torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]])}  # clean, corrupt
    >>> random = random_value(site, values, [-1], torch.Generator().manual_seed(0))
    >>> round(float(random.norm()), 4)
    5.0
    """
    clean, corrupt = (value_at(site, values, row, offsets) for row in (CLEAN, CORRUPT))
    noise = torch.randn(corrupt.shape, generator=generator)
    flat = [len(noise), *[1] * (noise.ndim - 1)]
    length = (clean - corrupt).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return corrupt + noise * length.reshape(flat)
