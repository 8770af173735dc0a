"""The end of one prompt, run in many rows behind the keys and values of its beginning."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.score import OpeningScore, Score
from refusal_lens.model.backend import Backend, Hooks
from refusal_lens.model.batch import Ids


@final
class Endings:
    """Runs a prompt from any offset on; what comes before is computed once.

    A beginning is made from the longest one that is there already: a row that is patched at the
    last token costs one token. A recurrent model's state can't be taken up for several tokens at
    once: there the whole prompt is run.
    """

    def __init__(self, backend: Backend, ids: Ids) -> None:
        self.backend = backend
        self.ids = torch.tensor([ids], device=backend.device)
        self._caches: dict[int, Any] = {}

    def start_of(self, offset: int) -> int:
        """The offset to run from, for what is to be changed at `offset`."""
        return -self.ids.shape[1] if self.backend.recurrent else offset

    def scores(self, score: Score, start: int, n_rows: int, hooks: Hooks) -> Float[Tensor, " row"]:
        """Scores of `n_rows` copies, run from offset `start` with hooks on."""
        if isinstance(score, OpeningScore):
            return score.of([self._log_p(o, start, n_rows, hooks) for o in score.openings])
        return score(self._logits((), start, n_rows, hooks)[:, 0]).float().cpu()

    def _log_p(self, opening: Ids, start: int, n_rows: int, hooks: Hooks) -> Float[Tensor, " row"]:
        """Log-probability of the opening behind each row."""
        log_p = self._logits(opening, start, n_rows, hooks).double().log_softmax(-1).cpu()
        return log_p[:, torch.arange(len(opening)), torch.tensor(opening)].sum(1)

    def _logits(
        self, answer: Ids, start: int, n_rows: int, hooks: Hooks
    ) -> Float[Tensor, "row pos d_vocab"]:
        """Logits that predict each token of the answer; without one, at the last token."""
        more = torch.tensor(answer, dtype=torch.int64, device=self.ids.device)[None]
        ids = torch.cat([self.ids[:, start:], more], dim=1).expand(n_rows, -1)
        mask = torch.ones(n_rows, self.ids.shape[1] + len(answer)).to(self.ids)
        keep = range(-start - 1, -start - 1 + max(len(answer), 1))
        cache = self._beginning(start)
        wide = None if cache is None else self.backend.select_cache(cache, [0] * n_rows)
        with self.backend.hooks(hooks):
            return self.backend.forward(ids, mask, keep=keep, cache=wide).logits

    def _beginning(self, end: int) -> Any:
        """Keys and values of all tokens before offset `end`; None if there is no token."""
        n = self.ids.shape[1] + end
        if n == 0:
            return None
        if end not in self._caches:
            before = max((k for k in self._caches if k < end), default=None)
            known = None if before is None else self.backend.select_cache(self._caches[before], [0])
            ids = self.ids[:, before:end]
            mask = torch.ones_like(self.ids[:, :n])
            step = self.backend.forward(ids, mask, cache=known, use_cache=True)
            self._caches[end] = step.cache
        return self._caches[end]
