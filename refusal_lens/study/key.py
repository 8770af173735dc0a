"""Where a record of a run is kept, as a typed name that the stage which writes it declares."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar, final

from refusal_lens.records import Record

R = TypeVar("R", bound=Record)
_DECLARED: Final[set[tuple[str, str, str]]] = set()  # of every stage that was imported


@final
@dataclass(frozen=True)
class Key(Generic[R]):
    """The stage that writes a record, the record's name there, and its kind.

    A key is declared once, in the file of its stage, among what the stage `writes`; a run gives
    its record by it, and type checkers know which kind that is:

        COSTS = Key("costs", "costs", Costs)
        results.get(COSTS)  # a Costs

    `at` is one of several records of a kind, `of` the same record of another stage of the family:
    of one category, or of the whole maps.
    """

    stage: str
    name: str
    kind: type[R]
    declared: tuple[str, str] | None = None

    def at(self, i: int) -> "Key[R]":
        """The record with this number."""
        return replace(self, name=f"{self.name}_{i}", declared=self._origin)

    def of(self, stage: str) -> "Key[R]":
        """The record of this name in another stage of the same family."""
        return replace(self, stage=stage, declared=self._origin)

    @property
    def _origin(self) -> tuple[str, str]:
        return self.declared or (self.stage, self.name)

    @property
    def identity(self) -> tuple[str, str, str]:
        """Stage, name and kind as they were declared."""
        return (*self._origin, self.kind.__name__)

    def check_declared(self) -> None:
        """Reject a key that no stage declares: nothing would ever be kept there.

        Raises:
            ValueError: no stage writes it.
        """
        if self.identity not in _DECLARED:
            raise ValueError(
                f"no stage declares the record {self.name!r} of {self.stage!r} as a "
                f"{self.kind.__name__}; add its key to what the stage `writes`"
            )


def declare(keys: Iterable[Key[Any]]) -> None:
    """Note that a stage writes these records."""
    _DECLARED.update(key.identity for key in keys)
