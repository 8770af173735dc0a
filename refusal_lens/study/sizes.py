"""How much of everything a study uses: each stage declares its own sizes, and a study holds all."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, Final, Literal, TypeVar, cast, final

from pydantic import TypeAdapter, ValidationError

from refusal_lens.discovery import modules_of
from refusal_lens.embedded.registry import find_embedded
from refusal_lens.errors import InputError

ALL: Final = 1_000_000
STAGES: Final = "refusal_lens.study.stages"
Level = Literal["default", "full", "quick"]


def size(default: Any, *, full: Any = None, quick: Any = None) -> Any:
    """A size with its values in a default, a full and a quick study; the default where unsaid."""
    levels = {
        "full": default if full is None else full,
        "quick": default if quick is None else quick,
    }
    return field(default=default, metadata=levels)


@dataclass(frozen=True)
class StageSizes:
    """The sizes of a stage, or those that several share: a frozen dataclass of `size` fields.

    Names of fields are unique over all stages, so that one can be changed by its name alone.
    """


S = TypeVar("S", bound=StageSizes)


@final
@dataclass(frozen=True)
class Sizes:
    """The sizes of all stages, an object for each file that declares some.

    Example:
        >>> from refusal_lens.study import Sizes
        >>> Sizes.default(cost_prompts=5).plain()["costs"]["cost_prompts"]
        5
    """

    parts: tuple[StageSizes, ...]

    @classmethod
    def default(cls, **changes: Any) -> "Sizes":
        """What a study uses if nothing else is asked for, but for `changes` by name.

        Raises:
            InputError: no stage has such a size, or not of this type.
        """
        return cls._at("default").changed(**changes)

    @classmethod
    def full(cls) -> "Sizes":
        """The whole grid: every prompt, layer and offset."""
        return cls._at("full")

    @classmethod
    def quick(cls) -> "Sizes":
        """Every stage on few prompts: enough to see that it runs, not to say what it found."""
        return cls._at("quick")

    @classmethod
    def fitting(cls, source: str) -> "Sizes":
        """The default sizes for a model: an embedded one may bring its own."""
        entry = find_embedded(source)
        return cls.default() if entry is None else cls.default(**entry.sizes)

    @classmethod
    def of_plain(cls, plain: Any) -> "Sizes":
        """Sizes as a manifest has them: by the file that declares them, or, as in runs of earlier
        versions, all in one. What it does not name is at its default.

        Raises:
            InputError: a size that no stage has, or of another type.
        """
        if not isinstance(plain, Mapping):
            raise InputError(f"sizes are {type(plain).__name__}; expected names with values")
        return cls.default(**flat_sizes(cast(Mapping[str, Any], plain)))

    def of(self, kind: type[S]) -> S:
        """The sizes of one kind."""
        return next(part for part in self.parts if isinstance(part, kind))

    def plain(self) -> dict[str, dict[str, Any]]:
        """JSON values by the file that declares them."""
        values: dict[str, dict[str, Any]] = {}
        for kind in map(type, self.parts):
            values[name_of(kind)] = values.get(name_of(kind), {}) | self.plain_of(kind)
        return values

    def plain_of(self, kind: type[StageSizes]) -> dict[str, Any]:
        """JSON values of the sizes of one kind."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self.of(kind)).items()
        }

    @classmethod
    def _at(cls, level: Level) -> "Sizes":
        return cls(
            tuple(
                kind(**{f.name: f.metadata.get(level, f.default) for f in fields(kind)})
                for kind in size_kinds()
            )
        )

    def changed(self, **changes: Any) -> "Sizes":
        """These sizes but for `changes` by name; raises like `default`."""
        known = {name for part in self.parts for name in _names(type(part))}
        if unknown := sorted(changes.keys() - known):
            raise InputError(
                f"no stage has sizes called {unknown}; the sizes of a study are {sorted(known)}"
            )
        return Sizes(tuple(_with(part, changes) for part in self.parts))


@cache
def size_kinds() -> tuple[type[StageSizes], ...]:
    """Every kind of sizes that some stage uses, by name.

    Raises:
        ValueError: two kinds have a size of one name.
    """
    kinds = {
        kind
        for module in modules_of(STAGES)
        for stage in declared_in(module)
        for kind in stage.uses
    }
    ordered = tuple(sorted(kinds, key=lambda kind: (name_of(kind), kind.__name__)))
    names = [name for kind in ordered for name in _names(kind)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"sizes declared twice: {twice}")
    return ordered


def declared_in(module: Any) -> tuple[Any, ...]:
    """The stages that a module of `study/stages` declares, as `STAGE` or `STAGES`."""
    return module.STAGES if hasattr(module, "STAGES") else (module.STAGE,)


def flat_sizes(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name of the size, whether or not they are sorted by the file that declares them."""
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        flat |= cast(dict[str, Any], value) if isinstance(value, Mapping) else {name: value}
    return flat


def name_of(kind: type[StageSizes]) -> str:
    """The name of the file that declares a kind of sizes."""
    return kind.__module__.rpartition(".")[2]


def _names(kind: type[StageSizes]) -> list[str]:
    return [f.name for f in fields(kind)]


def _with(part: StageSizes, changes: Mapping[str, Any]) -> StageSizes:
    applicable = {name: value for name, value in changes.items() if name in _names(type(part))}
    if not applicable:
        return part
    try:
        return TypeAdapter(type(part)).validate_python(asdict(part) | applicable)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"size {'.'.join(map(str, first['loc']))} of {name_of(type(part))!r}: {first['msg']}"
        ) from None
