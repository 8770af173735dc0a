"""Requests on their way to an engine and back; a request that fails is one prompt's failure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, final

from refusal_lens.engines.failures import EngineError
from refusal_lens.engines.interface import Answer, Engine, Request, RequestFailed
from refusal_lens.errors import reason_of
from refusal_lens.model.batch import Ids

T = TypeVar("T")


@final
class Call:
    """The prompts of one call, sent in portions; what fails is kept and raised at the end."""

    def __init__(self, engine: Engine, names: Sequence[str], ids: Sequence[Ids]) -> None:
        self._engine, self._names, self._ids = engine, names, ids
        self.failed: dict[int, str] = {}

    def send(self, requests: Mapping[int, Request], take: Callable[[Answer], T]) -> dict[int, T]:
        """What `take` makes of the engine's answers, by the prompts' places; without the failed."""
        rows = list(requests)
        try:
            answers = self._engine.run([self._ids[row] for row in rows], [*requests.values()])
        except Exception as error:  # whatever ends an engine, or one request in it
            if len(rows) == 1:
                self.failed[rows[0]] = f"the engine stopped ({reason_of(error)})"
                return {}
            each = [self.send({row: requests[row]}, take) for row in rows]
            return {row: result for one in each for row, result in one.items()}
        taken: dict[int, T] = {}
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, RequestFailed):
                self.failed[row] = str(answer)
            else:
                taken[row] = take(answer)
        return taken

    def finish(self, finished: Mapping[int, Any]) -> None:
        """Raise if a prompt failed.

        Raises:
            EngineError: with the reason for each of them, and the results of the others.
        """
        if self.failed:
            failed = {self._names[row]: why for row, why in sorted(self.failed.items())}
            raise EngineError(failed, finished, of=len(self._ids))
