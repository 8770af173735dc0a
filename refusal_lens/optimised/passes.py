"""Forward passes under edits whose vectors are learned: gradients flow through the edits alone.

The edits are those of `interventions/`, put on as everywhere else; their directions carry the
gradient, and no weight of the model takes one. The template's prefix, which the edits change too,
is computed once per pass for the rows that share a vector. Below the layer of an addition nothing
depends on the vector: the streams there are computed once, and passes begin at that layer.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.interventions import Edit, PerRow
from refusal_lens.memory import enough_for
from refusal_lens.model import Batch, Feed, Ids, LensModel, check_unedited
from refusal_lens.model.streams import KeptStreams, Sweep
from refusal_lens.optimised.rows import TargetRow

LearnedVectors = Sequence[Float[Tensor, " d_model"]]
MakeEdit = Callable[[Direction], Edit]
_STREAM_BYTES: Final = 2**30


@final
class LearningPasses:
    """Runs rows of tokens under edits made from vectors.

    `start` lends the vectors its name and site.

    >>> import torch
    >>> passes, row = LearningPasses(model, direction), TargetRow("one", (5, 6, 7), (8, 9))
    >>> r = direction.vector.clone().requires_grad_()
    >>> logits, = passes.logits([row], passes.edit([r], rl.Ablate))
    >>> logits.shape, torch.autograd.grad(logits.sum(), r)[0].shape
    (torch.Size([2, 300]), torch.Size([32]))
    """

    def __init__(self, model: LensModel, start: Direction) -> None:
        self.model, self.start = model, start
        self._streams = KeptStreams(_STREAM_BYTES)
        model.backend.try_starts()

    def edit(self, vectors: LearnedVectors, make: MakeEdit) -> Edit:
        """The edit of each row by its vector; rows of one tensor share one edit."""
        distinct = {id(v): make(replace(self.start, vector=v)) for v in vectors}
        each = tuple(distinct[id(v)] for v in vectors)
        return each[0] if len(distinct) == 1 else PerRow(each)

    def logits(
        self, rows: Sequence[TargetRow], edit: Edit | None = None
    ) -> list[Float[Tensor, "pos d_vocab"]]:
        """The logits that predict each row's target, float32, differentiable in the vectors."""
        with self.running([row.ids for row in rows], rows, edit) as (feed, batch):
            n = len(feed.prefix.ids)
            first = min(row.positions.start for row in rows) - n
            last = max(row.positions.stop for row in rows) - n
            keep = range(first, last)
            logits = feed.prefix.run(batch, keep=keep, sweep=self._sweep(feed, batch)).logits
        places = [range(r.positions.start - n - first, r.positions.stop - n - first) for r in rows]
        return [logits[i, at.start : at.stop].float() for i, at in enumerate(places)]

    @contextmanager
    def running(
        self, ids: Sequence[Ids], rows: Sequence[TargetRow], edit: Edit | None
    ) -> Generator[tuple[Feed, Batch]]:
        """The rows as one batch, with the edit on, until the context ends."""
        edits = () if edit is None else (edit,)
        with (
            enough_for(f"{len(rows)} rows at a time on {self.model.backend.device}"),
            self.model.editing(*edits, transfer=True),
        ):
            feed = self.model.feed_ids(ids, [row.name for row in rows])
            yield feed, feed.batch(range(len(rows)))

    def keep_streams(self, rows: Sequence[TargetRow], edit: Edit, n_at_once: int) -> None:
        """Compute the streams below the edit's layer once, in a fixed order."""
        for i in range(0, len(rows), n_at_once):
            part = rows[i : i + n_at_once]
            with torch.no_grad(), self.running([row.ids for row in part], part, edit) as (feed, b):
                sweep = self._sweep(feed, b)
                if sweep is None:
                    return
                feed.prefix.run(b, keep=(0,), sweep=replace(sweep, start=False))

    def _sweep(self, feed: Feed, batch: Batch) -> Sweep | None:
        backend = self.model.backend
        layer = backend.first_hooked()
        if layer in (0, backend.n_layers):
            return None
        keys = batch.keys(feed.prefix.ids)
        return Sweep(self._streams, (layer,), start=self._streams.has(layer, keys))


@contextmanager
def learning(model: LensModel) -> Generator[None]:
    """Gradients on, and inference mode off, for vectors of a model without edits.

    No weight asks for a gradient meanwhile: graphs would keep what it needs.

    >>> import torch
    >>> with torch.inference_mode(), learning(model):
    ...     torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    (True, False)

    Raises:
        InputError: an edit is on.
    """
    check_unedited(model, "directions are learned on the unedited model")
    asking = [w for w in cast(Any, model.backend).model.parameters() if w.requires_grad]
    try:
        for weight in asking:
            weight.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for weight in asking:
            weight.requires_grad_(True)
