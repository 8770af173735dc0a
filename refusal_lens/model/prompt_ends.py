"""Logits of unedited prompts from what earlier passes have read at their last token.

Statistics, residuals, answers and logits all run prompts to their end. Where a model has a
`stream_store`, passes over unedited prompts leave the last token's stream there, and `model.logits`
runs only prompts that no pass has read yet. Numbers differ from a whole pass by rounding, as they
do with the other prompts of a batch: float32 alone is kept, and a model whose logits are more than
its final norm and unembedding make of the stream is seen at the first prompt, and left out.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.model.backend import Backend
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.keeping import KEY_LENGTH, made_by
from refusal_lens.model.prefix import SharedPrefix
from refusal_lens.model.reading import HookReader
from refusal_lens.model.stream_store import StreamStore
from refusal_lens.processes import this_process
from refusal_lens.records import digest_of
from refusal_lens.sites import Site

_TOLERANCE: Final = 1e-4  # in log-probability: what rounding may move
_ROWS: Final = 64  # read out at a time


@final
class PromptEnds:
    """The ends of a feed's rows: what a store holds of them, and what passes add to it.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.stream_store = StreamStore(Path(folder, "streams.safetensors"))
    ...     stats = model.residual_stats(prompts)  # runs them all
    ...     logits = model.logits(prompts)  # runs one, to see that logits follow from streams
    >>> len(model.stream_store) == len(prompts)
    True
    >>> model.stream_store = None
    """

    def __init__(
        self, store: StreamStore, prefix: SharedPrefix, digest: str, keys: Sequence[str]
    ) -> None:
        self._store, self._prefix = store, prefix
        self._digest, self._keys = digest, keys

    @contextmanager
    def kept(self, batch: Batch) -> Generator[None]:
        """Keep the ends of a batch from the pass over its prompts within.

        Nothing is kept while other functions are on hook points, which might change the stream.
        """
        if not self._prefix.edits.alone:
            yield
            return
        name = last_site(self._prefix.backend).hook_name
        reader = HookReader([name], batch.length[:, None] - 1)
        with self._prefix.over_edits(reader.hooks()):
            yield
        streams = reader.values[name][:, 0]
        keys = [self._keys[row] for row in batch.rows]
        self._store.add({key: x.clone() for key, x in zip(keys, streams, strict=True)})

    def logits(
        self, run: Callable[[int], Float[Tensor, "1 d_vocab"]]
    ) -> Iterator[tuple[list[int], Float[Tensor, "row d_vocab"]]]:
        """Rows whose ends are there, with their logits; none where these would not follow.

        `run` gives the logits of a row by a pass of its own.
        """
        stored = {row: self._store.find(key) for row, key in enumerate(self._keys)}
        known = {row: x for row, x in stored.items() if x is not None}
        # In a sweep the whole pass leaves what the next ones begin with.
        whole = self._prefix.streams is not None or not self._prefix.edits.alone
        if not known or whole or not self._sound(known, run):
            return
        rows = [*known]
        for first in range(0, len(rows), _ROWS):
            some = rows[first : first + _ROWS]
            yield some, self._read_out(torch.stack([known[row] for row in some]))

    def _sound(
        self, known: Mapping[int, Tensor], run: Callable[[int], Float[Tensor, "1 d_vocab"]]
    ) -> bool:
        if self._digest not in self._store.sound:
            row, stream = next(iter(known.items()))
            both = torch.cat([self._read_out(stream[None]), run(row)]).log_softmax(-1)
            gap = (both[0] - both[1]).abs().max()
            self._store.sound[self._digest] = bool(gap <= _TOLERANCE)
        return self._store.sound[self._digest]

    def _read_out(self, streams: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
        backend = self._prefix.backend
        return backend.read_out(streams.to(backend.device)).float().cpu()


def last_site(backend: Backend) -> Site:
    """The stream behind the last block.

    >>> print(last_site(model.backend))
    resid_post[2]
    """
    return Site(backend.n_layers - 1, "resid_post")


def ends_of(
    store: StreamStore | None, prefix: SharedPrefix, digest: str, rows: Sequence[Ids]
) -> PromptEnds | None:
    """Those of a feed, where a store holds them; `digest` is the model's.

    None under an edit, in another precision than float32, of several processes (which would have
    to agree on what is there), and in a model that does not show the stream behind its last block.

    >>> ends_of(None, model.feed(["Why?"]).prefix, model.digest, model.ids(["Why?"])) is None
    True
    """
    backend = prefix.backend
    if store is None or prefix.edits.parts or backend.dtype != torch.float32:
        return None
    if this_process().count > 1 or last_site(backend).hook_name not in backend.hook_names():
        return None
    common = digest_of(made_by(digest, backend))
    keys = [digest_of([common, ids])[:KEY_LENGTH] for ids in rows]
    return PromptEnds(store, prefix, digest, keys)
