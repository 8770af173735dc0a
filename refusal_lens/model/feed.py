"""Prompts on their way through the model: batches, and what is read from or written into them.

All prompts of a model begin with the template's own tokens: their keys and values are computed
once and reused (under an edit, once for that edit). A causal model needs no left padding to be
read at prompt positions: prompts of similar length share a batch, padded on the right, and each
row is read at its own last tokens. Padding can't be read: positions come from each row's length.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.memory import BatchSize, enough_for, in_batches, ran_out, until_empty
from refusal_lens.model.backend import Backend, Hooks, Step
from refusal_lens.model.batch import Batch, Ids, padded
from refusal_lens.model.pairing import Pairing
from refusal_lens.model.prefix import SharedPrefix
from refusal_lens.model.prompt_ends import PromptEnds
from refusal_lens.model.reading import HookReader
from refusal_lens.model.streams import Sweep
from refusal_lens.processes import ALONE, Processes
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.sums import Sides

T = TypeVar("T")
Prompts = PromptSet | Sequence[str | Prompt]


@final
@dataclass(frozen=True, eq=False)
class Feed:
    """Prompts on their way through a model, with the edits that are on. Made by `model.feed`.

    `ids` are the token ids of each row and `names` what an error calls it. `at_most` holds the
    batches of this feed under the size that the model's own would allow, and `share` leaves out
    the rows that other processes run (`share_of`); `ends` keeps what passes read at the end of
    unedited prompts. A feed is good for as long as the edits are those under which it was made.

    >>> import torch
    >>> feed = model.feed(["Why?", "How do tides end?"])
    >>> with torch.inference_mode():
    ...     for batch, logits in feed.batches(feed.last_logits):
    ...         print(batch.rows, len(logits))
    (0, 1) 2
    """

    prefix: SharedPrefix
    ids: Sequence[Ids]
    names: Sequence[str]
    size: BatchSize
    progress: Progress = NO_PROGRESS
    at_most: int | None = None
    share: Processes = ALONE
    ends: PromptEnds | None = None

    @property
    def backend(self) -> Backend:
        """The model that they go through."""
        return self.prefix.backend

    def anew(self) -> "Feed":
        """The same rows behind a prefix that is computed again: one that no other pass has made.

        >>> feed = model.feed(["Why?"])
        >>> feed.anew().prefix is feed.prefix
        False
        """
        return replace(self, prefix=self.prefix.anew(), ends=None)

    def batch(self, rows: Sequence[int]) -> Batch:
        """These rows as one batch, without the shared prefix, their conditions decided."""
        n_prefix = len(self.prefix.ids)
        return self.prefix.prepare(padded(tuple(rows), [self.ids[row][n_prefix:] for row in rows]))

    def batches(
        self, work: Callable[[Batch], T], units: Sequence[Sequence[int]] | None = None
    ) -> Iterator[tuple[Batch, T]]:
        """Batches, rows of similar length together, and what `work` makes of each.

        `units` are rows that must share a batch, for example pairs; by default each row is one.
        The shared prefix is there before `work` begins (reading hooks know only the batch's own
        positions). Where memory runs out `work` is called again with fewer rows: it must change
        nothing before it has succeeded.

        Raises:
            InputError: memory ran out with a single unit.
        """
        units = [[row] for row in range(len(self.ids))] if units is None else units
        order = sorted(units, key=lambda unit: max(len(self.ids[row]) for row in unit))
        order = self.share.part(order)

        def run(rows: list[int]) -> tuple[Batch, T]:
            with self._forgetting():
                batch = self.batch(rows)
                return batch, work(batch)

        with enough_for(f"one prompt at a time on {self.backend.device}"):
            for _, done in in_batches(order, self.size, run, cap=self.at_most):
                yield done

    def in_line(self, rows: Sequence[int], work: Callable[[deque[int], int], object]) -> None:
        """Let `work` take rows off a line, short prompts first, until none of them is left.

        It is told how many may run at a time. See `until_empty` for what it must do where memory
        runs out.

        Raises:
            InputError: memory ran out with a single row.

        >>> model.feed(["How do tides end?", "Why?"]).in_line(
        ...     [0, 1], lambda waiting, most: print(waiting.popleft())
        ... )
        1
        0
        """
        waiting = deque(self.share.part(sorted(rows, key=lambda row: len(self.ids[row]))))

        def run(most: int) -> None:
            with self._forgetting():
                work(waiting, most)

        with enough_for(f"one prompt at a time on {self.backend.device}"):
            until_empty(waiting, self.size, run, cap=self.at_most)

    @contextmanager
    def _forgetting(self) -> Generator[None]:
        """Forget the prefix where memory runs out: what other batches left there takes some."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if ran_out(error):
                self.prefix.forget()
            raise

    def paired_batches(
        self, prompts: PromptSet, work: Callable[[Batch], T]
    ) -> Iterator[tuple[T, Sides]]:
        """What `work` makes of each batch, and which sides of which pairs its rows are.

        Both sides of a pair share a batch. `prompts` are those of the feed. Each batch's size is
        reported as progress after it has been taken up.
        """
        pairing = Pairing(prompts)
        for batch, done in self.batches(work, pairing.units):
            yield done, pairing.sides(batch.rows)
            self.progress(len(batch.rows))

    def hooks(self, hooks: Hooks) -> AbstractContextManager[Any]:
        """Put functions onto hook points, after the edits that are on, until the context ends.

        A function sees [batch, pos, ...] of the batch's own tokens, the prefix left out.
        """
        return self.prefix.over_edits(hooks)

    def run(self, batch: Batch, *, keep: Sequence[int] = (0,)) -> Step:
        """One forward pass; logits come back at the positions `keep` of the batch's own tokens."""
        return self.prefix.run(batch, keep=keep)

    def last_logits(self, batch: Batch) -> Float[Tensor, "batch d_vocab"]:
        """Logits at each row's own last token, on the model's device and in its precision."""
        sweep = self.prefix.sweep(batch)  # before the function that keeps ends is on a hook point
        with self.keeping_ends(batch):
            return last_token_logits(self.prefix, batch, sweep=sweep)[0]

    def keeping_ends(self, batch: Batch) -> AbstractContextManager[None]:
        """Where `ends` are kept: keep those of the batch from the pass over its prompts within."""
        return nullcontext() if self.ends is None else self.ends.kept(batch)

    def positions(self, batch: Batch, offsets: Sequence[int]) -> Int64[Tensor, "batch offset"]:
        """Where offsets, counted from each row's end (-1 is its last token), are in the batch.

        Raises:
            InputError: an offset before a row's own tokens.
        """
        positions = batch.length[:, None] + torch.tensor(list(offsets))[None]
        if bool((positions < 0).any()):
            shortest = int(batch.length.argmin())
            n = len(self.prefix.ids) + int(batch.length[shortest])
            raise InputError(
                f"offset {min(offsets)} reaches before the prompt's own tokens: the shortest, "
                f"{self.names[batch.rows[shortest]]}, has {n} with its template; read nearer to "
                "the end"
            )
        return positions

    def read(self, batch: Batch, names: Sequence[str], offsets: Sequence[int]) -> HookReader:
        """Hook points at each row's offsets, read in one pass.

        Raises:
            InputError: an offset before a row's own tokens.

        >>> import torch
        >>> feed = model.feed(["Why?"])
        >>> with torch.inference_mode():
        ...     seen = feed.read(feed.batch([0]), ["blocks.1.attn.hook_z"], [-2, -1])
        >>> seen.values["blocks.1.attn.hook_z"].shape[:2]  # row, offset, head, d_head
        torch.Size([1, 2])
        """
        reader = HookReader(names, self.positions(batch, offsets))
        with self.keeping_ends(batch), self.hooks(reader.hooks()):
            self.run(batch)
        return reader


def last_token_logits(
    prefix: SharedPrefix, batch: Batch, *, use_cache: bool = False, sweep: Sweep | None = None
) -> tuple[Float[Tensor, "batch d_vocab"], Any]:
    """Logits at each row's own last token, and the cache of the pass.

    >>> import torch
    >>> feed = model.feed(["Why?"])
    >>> with torch.inference_mode():
    ...     logits, cache = last_token_logits(feed.prefix, feed.batch([0]))
    >>> logits.shape
    torch.Size([1, 300])
    """
    # Only the few distinct last positions of a batch go through the unembedding.
    keep = sorted(set((batch.length - 1).tolist()))
    step = prefix.run(batch, keep=keep, use_cache=use_cache, sweep=sweep)
    at = torch.tensor([keep.index(n - 1) for n in batch.length.tolist()])
    return step.logits[torch.arange(len(at)), at], step.cache
