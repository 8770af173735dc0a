"""The modules of a package that holds a file for each thing of a kind, found and not listed."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


@cache
def modules_of(package: str) -> tuple[ModuleType, ...]:
    """The modules directly in a package, by name, imported.

    Example:
        >>> from refusal_lens.discovery import modules_of
        >>> names = [m.__name__ for m in modules_of("refusal_lens.study.stages")]
        >>> "refusal_lens.study.stages.costs" in names
        True
    """
    path = import_module(package).__path__
    names = sorted(m.name for m in iter_modules(path))
    return tuple(import_module(f"{package}.{name}") for name in names)
