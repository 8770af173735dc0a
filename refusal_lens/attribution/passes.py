"""Forward passes that read, or write, any hook point at chosen positions of each row."""

from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from jaxtyping import Int64
from torch import Tensor

from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.model import LensModel
from refusal_lens.model.active import ActiveEdits
from refusal_lens.model.backend import HookFunction, Hooks
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.forward import Feed, Progress, SharedPrefix
from refusal_lens.model.transfer import warn_of_transfer
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import pair_rows


def silent(n: int) -> None:
    """No progress is shown."""
    del n


def check_unedited(model: LensModel) -> None:
    """Attribution asks what the model's own parts write.

    Raises:
        InputError: an edit is on, so that the stream is no longer the sum of its writers.
    """
    if model.edits_text != "none":
        raise InputError(
            f"{model.edits_text} is on: an edited stream is not the sum of what its parts write; "
            "attribute outside `with model.editing(...)`"
        )


def check_directions(model: LensModel, directions: Iterable[Direction]) -> tuple[Direction, ...]:
    """Directions to attribute; one that was fitted on another model brings a warning.

    Raises:
        InputError: a lone direction, or something else.
    """
    chosen = several_directions(directions)
    warn_of_transfer(chosen, model.provenance(), "if that is meant, use allow_transfer()")
    return chosen


def feed_of(model: LensModel, ids: Sequence[Ids], progress: Progress = silent) -> Feed:
    """The rows on their way through the model, behind the prefix that all of them share."""
    shared = model.chat.prefix_ids
    n = len(shared)
    if not all(row[:n] == shared and len(row) > n for row in ids):
        shared = ()
    return Feed(SharedPrefix(ActiveEdits(model.backend), shared), ids, model.rows, progress)


def pair_units(prompts: PromptSet) -> list[list[int]]:
    """Rows that must share a batch: both sides of a pair, or one prompt by itself."""
    both: list[list[int]] = pair_rows(prompts).tolist()
    paired = {row for pair in both for row in pair}
    return both + [[row] for row in range(len(prompts)) if row not in paired]


def positions_of(
    batch: Batch, offsets: Sequence[int], n_prefix: int
) -> Int64[Tensor, "batch offset"]:
    """Where the offsets, counted from each row's end, stand within the batch's own tokens.

    Raises:
        InputError: an offset before a row's own tokens.
    """
    positions = batch.length[:, None] + torch.tensor(list(offsets))[None]
    if bool((positions < 0).any()):
        raise InputError(
            f"offset {min(offsets)} reaches before the prompt's own tokens (the shortest has "
            f"{n_prefix + int(batch.length.min())} with its template); read nearer to the end"
        )
    return positions


@final
class Tap:
    """Reads hook points at given positions of each row; `seen[name]` is [batch, offset, ...].

    With `live`, what is read stays in the graph (all positions), so that gradients reach it.
    """

    def __init__(
        self, names: Sequence[str], positions: Int64[Tensor, "batch offset"], live: bool = False
    ) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.positions = positions
        self.live = live
        self.seen: dict[str, Tensor] = {}

    def hooks(self) -> Hooks:
        """One hook function a hook point."""
        return [(name, self._function(name)) for name in self.names]

    def at_positions(self, x: Tensor) -> Tensor:
        """The rows' chosen positions of a [batch, pos, ...] tensor, float32 on the CPU."""
        rows = torch.arange(len(self.positions), device=x.device)[:, None]
        return x.detach()[rows, self.positions.to(x.device)].float().cpu()

    def _function(self, name: str) -> HookFunction:
        def function(x: Tensor, hook: Any) -> Tensor | None:
            del hook
            self.seen[name] = x if self.live else self.at_positions(x)
            # The bridge shows some hook points (hook_z) as a reshaped copy beside the path that
            # the pass takes; only a tensor that is returned takes its place on that path.
            return x if self.live else None

        return function


def tapped(feed: Feed, names: Sequence[str], offsets: Sequence[int], batch: Batch) -> Tap:
    """Hook points at the rows' offsets, read in one pass of a batch whose prefix is prepared."""
    tap = Tap(names, positions_of(batch, offsets, len(feed.prefix.ids)))
    with feed.backend.hooks(tap.hooks()):
        feed.prefix.run(batch, keep=(0,))
    return tap
