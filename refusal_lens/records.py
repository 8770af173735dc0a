"""Provenance, Estimate, and the one place that saves and loads records.

A record is a frozen dataclass. `record.save("runs/a/directions")` writes its tensors to
`directions.safetensors` and everything else to `directions.json`, with the record's name, its
schema version and the SHA-256 of the tensor file. Both are written to a temporary name, flushed
to disk and renamed, the JSON last: a record that can be read is whole.
"""

import hashlib
import json
import platform
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast, final, get_type_hints

import numpy as np
import safetensors.torch
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from torch import Tensor

from refusal_lens.arguments import check_whole
from refusal_lens.errors import InputError, reason_of
from refusal_lens.files import read_file, write_atomic
from refusal_lens.folders import written_name

# Each takes part in numbers: passes, token ids, tests and fits, maps and erasers, judged languages.
_VERSIONED: Final = (
    "refusal_lens",
    "transformer_lens",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "scipy",
    "scikit-learn",
    "minisom",
    "concept-erasure",
    "py3langid",
)

R = TypeVar("R")

_SHORT: Final = 60
"""Characters up to which a value is shown whole in the `repr` of what holds it."""


class Brief:
    """A dataclass that prints a few lines: numbers with their intervals, of what is long the size.

    A class may have a `__repr__` of its own.

    >>> @dataclass(frozen=True)
    ... class Rates(Brief):
    ...     judge: str
    ...     each: tuple[float, ...]
    >>> Rates("refusal", (0.25,) * 100)
    Rates(judge='refusal', each=[100 float])
    """

    def __init_subclass__(cls) -> None:
        # Before `@dataclass` sees the class, which writes one of all fields where there is none.
        if "__repr__" not in vars(cls):
            cls.__repr__ = Brief.__repr__

    def __repr__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in fields(cast(Any, self))}
        shown = [f"{name}={_shortened(value)}" for name, value in values.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


class Record(Brief):
    """What can be saved: a frozen dataclass of tensors and plain values."""

    SCHEMA_VERSION: ClassVar[int]

    def save(self, stem: Path | str, /) -> None:
        """Write `<stem>.json`, and `<stem>.safetensors` if the record holds tensors.

        >>> import tempfile
        >>> @dataclass(frozen=True)
        ... class Count(Record):
        ...     SCHEMA_VERSION: ClassVar[int] = 1
        ...     n: int
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Count(3).save(f"{folder}/count")
        ...     Count.load(f"{folder}/count").n
        3
        """
        save_record(self, stem)

    @classmethod
    def load(cls: type[R], stem: Path | str, /) -> R:
        """Read what `save` wrote.

        Raises:
            InputError: a missing or damaged file, another record, or another schema version.
        """
        return load_record(cls, stem)


@final
@dataclass(frozen=True)
class Estimate:
    """A number with what is needed to judge it.

    `value`, `low`, `high` are None where the number is undefined; `low` and `high` bound a 95%
    interval made by `method`; `n` counts the units resampled or observed; `control` is the same
    number where the effect is absent (named in `method`); `missing` counts what could
    not be read and is in neither `value` nor `n`.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    control: float | None = None
    missing: int = 0

    def __str__(self) -> str:
        n = f"n={self.n}, {self.missing} left out" if self.missing else f"n={self.n}"
        if self.value is None:
            return f"undefined ({n})"
        if self.low is None or self.high is None:
            return f"{self.value:.3f} ({n})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({n})"


@final
@dataclass(frozen=True)
class Provenance:
    """What is needed to make a number again.

    Of a model in a folder, `model` keeps the last part (`written_name`): records are handed on, and
    weights are told apart by `model_digest`.
    """

    model: str
    model_digest: str
    template_digest: str
    rendered_prefix: str
    prompts_digest: str
    dtype: str
    device: str
    seed: int | None = None
    edits: str = "none"
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", written_name(self.model))


def _shortened(value: Any) -> str:
    """A value whole if that is short, else its kind and size."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"[{' x '.join(map(str, value.shape))} {type(value).__name__}]"
    if isinstance(value, Estimate):
        return str(value)
    if isinstance(value, Provenance):
        return value.model
    if len(text := repr(value)) <= _SHORT:
        return text
    if isinstance(value, tuple | list | dict):
        several = cast("tuple[Any, ...] | list[Any] | dict[Any, Any]", value)
        first = next(iter(several.values() if isinstance(several, dict) else several))
        return f"[{len(several)} {type(first).__name__}]"
    return f"{text[:_SHORT]}..." if isinstance(value, str) else type(value).__name__


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {n: _installed_version(n) for n in _VERSIONED}


@cache  # a process keeps what it has imported, and every provenance and key asks
def _installed_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN) atomically."""
    write_atomic(path, _json_bytes(value))


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file straight from memory: for tensors of which a copy would be too much.

    Raises:
        InputError: it can't be written.

    >>> import torch
    >>> write_tensors(Path("x.safetensors"), {"a": torch.ones(2)})
    >>> Path("x.safetensors").is_file()
    True
    """
    try:
        safetensors.torch.save_file(tensors, path)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(
            f"{str(path)!r} can't be written ({reason_of(error)}); make room there, or give "
            "another place"
        ) from None


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def save_record(record: Record, stem: Path | str) -> None:
    """Write `<stem>.json`, and `<stem>.safetensors` if the record holds tensors."""
    stem = Path(stem)
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for key, hint in _hints(type(record)).items():
        value = getattr(record, key)
        if isinstance(value, Tensor):
            tensors[key] = value.detach().cpu().contiguous().clone()
        else:
            plain[key] = TypeAdapter(hint).dump_python(value, mode="json")
    header: dict[str, Any] = {
        "record": type(record).__name__,
        "schema_version": record.SCHEMA_VERSION,
        "tensors_sha256": None,
    }
    content = safetensors.torch.save(tensors) if tensors else None
    if content is not None:
        header["tensors_sha256"] = hashlib.sha256(content).hexdigest()
    text = _json_bytes(header | {"fields": plain})  # may fail (NaN): before anything is replaced
    if content is not None:
        write_atomic(_beside(stem, ".safetensors"), content)
    write_atomic(_beside(stem, ".json"), text)


def load_record(cls: type[R], stem: Path | str) -> R:
    """Read what `save_record` wrote.

    Raises:
        InputError: a missing or damaged file, another record, or another schema version.
    """
    stem = Path(stem)
    path = _beside(stem, ".json")
    content = _read_json(path)
    header = (content.get("record"), content.get("schema_version"))
    version: int = cast(Any, cls).SCHEMA_VERSION
    if header != (cls.__name__, version):
        raise InputError(
            f"{path} holds {header[0]} of schema version {header[1]}; expected {cls.__name__} of "
            f"version {version}; make it again with this version of refusal_lens"
        )
    values: dict[str, Any] = {}
    if content.get("tensors_sha256"):
        values.update(_read_tensors(_beside(stem, ".safetensors"), content["tensors_sha256"]))
    try:
        later = _defaults(cls)  # fields that older files of the same schema do not have
        for key, hint in _hints(cls).items():
            if key not in values and not (key in later and key not in content["fields"]):
                values[key] = TypeAdapter(hint).validate_python(content["fields"][key])
    except (KeyError, TypeError, PydanticSchemaGenerationError, ValidationError) as error:
        message = str(error).splitlines()[0]
        raise InputError(f"{path} is not a whole {cls.__name__}: {message}") from None
    return cls(**values)


def _json_bytes(value: Any) -> bytes:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    check_whole(text, "what is to be written")
    return (text + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(read_file(path).decode())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a saved record") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); make it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold a record; expected a JSON object")
    return cast(dict[str, Any], content)


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        content = read_file(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing beside its .json; make the record again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path} does not match the digest in its .json; make the record again")
    return safetensors.torch.load(content)


def _beside(stem: Path, suffix: str) -> Path:
    """A file of a record, whose name may have been given with the suffix of either of its files."""
    name = stem.name
    if name in ("", ".."):
        raise InputError(f"{str(stem)!r} is a folder; give the name of a file inside it")
    for ending in (".json", ".safetensors"):
        name = name.removesuffix(ending)
    return stem.with_name(name + suffix)


def _defaults(cls: type[Any]) -> set[str]:
    return {f.name for f in fields(cls) if f.default is not MISSING}


def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}
