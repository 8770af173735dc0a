"""The end of one prompt, run in many rows behind the keys and values of its beginning."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from refusal_lens.model.backend import Hooks, Step
from refusal_lens.model.batch import Ids
from refusal_lens.model.feed import Feed
from refusal_lens.model.hooks import Tokens


@final
class Rerun:
    """Runs one prompt from any offset on, in many rows; what comes before is computed once.

    A beginning is made from the longest one that is there already: a row that is changed at the
    last token costs one token. A recurrent model's state can't be continued by several tokens at
    once: there the whole prompt is run. The edits that are on act as on the prompt by itself;
    their conditions are decided on it before anything in it is changed.

    >>> import torch
    >>> feed = model.feed(["How do tides end?"])
    >>> with torch.inference_mode():
    ...     logits = Rerun(feed, 0).run(-2, 3).logits[:, -1]  # three rows of the last two tokens
    >>> bool((logits - model.logits(["How do tides end?"])).abs().max() < 1e-4)
    True
    """

    def __init__(self, feed: Feed, row: int) -> None:
        self._feed, self._row = feed, row
        self._backend = feed.backend
        self._ids = torch.tensor([feed.ids[row]], device=feed.backend.device)
        decided = feed.batch([row]).decided
        assert decided is not None
        self._decided = decided
        self._caches: dict[int, Any] = {}

    @property
    def continues(self) -> bool:
        """Whether several tokens at once can follow what a run has kept."""
        return not self._backend.recurrent

    def start_of(self, offset: int) -> int:
        """The offset to run from, for what is to be changed at `offset`."""
        return -self._ids.shape[1] if self._backend.recurrent else offset

    def run(
        self,
        start: int,
        n_rows: int,
        *,
        hooks: Hooks = (),
        answer: Ids = (),
        keep: Sequence[int] = (-1,),
        use_cache: bool = False,
    ) -> Step:
        """`n_rows` copies from offset `start` to the prompt's end, and an answer's tokens.

        `hooks` see only these tokens, after the edits that are on. Logits come back at the
        positions `keep` of them.
        """
        more = torch.tensor(answer, dtype=torch.int64, device=self._ids.device)[None]
        ids = torch.cat([self._ids[:, start:], more], dim=1).expand(n_rows, -1)
        mask = torch.ones(n_rows, self._ids.shape[1] + len(answer)).to(self._ids)
        cache = self._beginning(start)
        wide = None if cache is None else self._backend.select_cache(cache, [0] * n_rows)
        with self._feed.hooks(hooks), self._seeing(range(start, len(answer)), n_rows):
            return self._backend.forward(ids, mask, keep=keep, cache=wide, use_cache=use_cache)

    def follow(self, cache: Any, n_rows: int, answers: Sequence[Ids]) -> Step:
        """Answers of equal length, each behind each of the `n_rows` of a run that kept its cache.

        The first answer's rows come first. Logits come back at every token of the answers.
        """
        ids = torch.tensor(answers, device=self._ids.device).repeat_interleave(n_rows, 0)
        n, new = ids.shape
        mask = torch.ones(n, self._ids.shape[1] + new).to(self._ids)
        wide = self._backend.select_cache(cache, [*range(n_rows)] * len(answers))
        with self._seeing(range(new), n):
            return self._backend.forward(ids, mask, keep=range(new), cache=wide)

    def _beginning(self, end: int) -> Any:
        """Keys and values of all tokens before offset `end`; None if there is no token."""
        n = self._ids.shape[1] + end
        if n == 0:
            return None
        if end not in self._caches:
            before = max((k for k in self._caches if k < end), default=None)
            known = (
                None if before is None else self._backend.select_cache(self._caches[before], [0])
            )
            first = -self._ids.shape[1] if before is None else before
            mask = torch.ones_like(self._ids[:, :n])
            with self._seeing(range(first, end), 1):
                step = self._backend.forward(
                    self._ids[:, first:end], mask, cache=known, use_cache=True
                )
            self._caches[end] = step.cache
        return self._caches[end]

    def _seeing(self, places: range, n_rows: int) -> Any:
        """Announce the tokens of a pass to the edits, by their places from the prompt's end."""
        place: Tensor = torch.tensor([*places]).expand(n_rows, -1)
        tokens = Tokens((self._row,) * n_rows, place, self._decided.expand(n_rows, -1))
        return self._feed.prefix.edits.seeing(tokens)
