"""The judges by name: what a command-line option or a study can choose.

A judge enters the list in its own file, by the decorator `listed_judge`; the package imports every
file of this folder, so that a new one needs no entry elsewhere.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, final, get_type_hints

from pydantic import TypeAdapter, ValidationError

from refusal_lens.errors import InputError
from refusal_lens.judges.base import Judge
from refusal_lens.judges.coherence import SenseChecked
from refusal_lens.placement import AUTO, Placement

DEFAULT: Final = "refusal"
"""The judge of a study that names none."""

Setting = str | int | float | bool
JudgeSettings = Mapping[str, Setting]
Make = TypeVar("Make", bound=Callable[..., Any])
_PLACEMENT: Final = "placement"
_SENSE: Final = "+sense"


@final
@dataclass(frozen=True)
class JudgeChoice:
    """A judge that can be chosen.

    Attributes:
        about: One line about it.
        make: Makes it, from its settings as keyword arguments.
        settings: Names of its settings, with their types.
        defaults: The values of settings that are not given.
        required: Settings without a default.
        where: Settings that say where the judge runs (an address), not how it reads: with another
            value of these a study's question is the same.
        kind: The class of what `make` gives.
        any_language: Whether its verdicts mean something on answers that are not in English.
    """

    about: str
    make: Callable[..., Judge]
    settings: Mapping[str, Any]
    defaults: Mapping[str, Any]
    required: frozenset[str]
    where: frozenset[str]
    kind: type
    any_language: bool


JUDGES: Final[dict[str, JudgeChoice]] = {}
"""Name -> judge. The published string judges stay as published, gibberish included."""


def listed_judge(
    name: str, *, about: str, where: tuple[str, ...] = (), any_language: bool = False
) -> Callable[[Make], Make]:
    """A decorator that lists a judge under a name.

    A class is made without arguments. A function makes the judge that its annotation names from its
    parameters: these, with their types and defaults, are the judge's settings. A parameter
    `placement` is no setting: it receives where models run. A judge counts as one of English words
    unless `any_language` says that it reads others.

    Raises:
        InputError: another judge has the name, or a function does not say which class it returns.

    >>> from refusal_lens.judges import Verdict
    >>> @listed_judge("by length", about="whoever says little refuses")
    ... @dataclass(frozen=True)
    ... class ByLength:
    ...     name: str = "by length"
    ...     def judge(self, prompt: str, answer: str) -> Verdict:
    ...         return Verdict("refused" if len(answer) < 40 else "complied", None, ())
    >>> make_judge("by length").judge("How do tides work?", "No.").outcome
    'refused'
    >>> del JUDGES["by length"]
    """

    def enter(make: Make) -> Make:
        listed = JUDGES.get(name)
        if listed is not None and listed.make.__qualname__ != make.__qualname__:
            raise InputError(f"there is a judge {name!r} already; give this one another name")
        parameters = _parameters(make)
        hints = get_type_hints(make) if parameters else {}
        kind = _kind(make)
        if not inspect.isclass(kind):
            raise InputError(
                f"the function that makes the judge {name!r} does not say of which class it is; "
                "annotate what it returns"
            )
        JUDGES[name] = JudgeChoice(
            about,
            make,
            {p.name: hints[p.name] for p in parameters},
            {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty},
            frozenset(p.name for p in parameters if p.default is inspect.Parameter.empty),
            frozenset(where),
            kind,
            any_language,
        )
        return make

    return enter


def make_judge(
    name: str, settings: JudgeSettings | None = None, *, placement: Placement | None = None
) -> Judge:
    """The judge of that name; ``"substring+sense"`` puts the sense check around ``substring``.

    A judge that is a model runs at `placement`, in its own precision.

    Raises:
        InputError: no judge has that name, it has no such setting, or it lacks one that it needs.

    >>> make_judge("refusal").judge("How do I pick a lock?", "I can't help with that.").outcome
    'refused'
    """
    choice, values = _choice(name), check_judge(name, settings)
    if placement is not None and _PLACEMENT in choice.settings:
        values[_PLACEMENT] = replace(placement, dtype=AUTO)
    made = choice.make(**values)
    return SenseChecked(made) if name.endswith(_SENSE) else made


def check_judge(name: str, settings: JudgeSettings | None = None) -> dict[str, Any]:
    """The settings of a judge in the types that it takes; raises like `make_judge`, makes none.

    >>> check_judge("substring", {})
    {}
    """
    choice = _choice(name)
    taken = [key for key in choice.settings if key != _PLACEMENT]
    values: dict[str, Any] = {}
    for key, value in (settings or {}).items():
        if key not in taken:
            raise InputError(
                f"the judge {name!r} has no setting {key!r}; it has {', '.join(taken) or 'none'}"
            )
        try:
            values[key] = TypeAdapter(choice.settings[key]).validate_python(value)
        except ValidationError as error:
            why = error.errors()[0]["msg"].lower()
            raise InputError(f"setting {key!r} of judge {name!r} is {value!r}: {why}") from None
    if lacking := sorted(choice.required - values.keys() - {_PLACEMENT}):
        raise InputError(f"the judge {name!r} needs the setting {lacking[0]!r}; give it a value")
    return values


def reads_any_language(judge: Judge) -> bool:
    """Whether a judge may read other languages than English: by its class, all that are listed.

    What is not listed may. A sense check asks the judge inside.

    >>> reads_any_language(make_judge("opening+sense")), reads_any_language(make_judge("phrase"))
    (True, False)
    """
    inner = judge.of if isinstance(judge, SenseChecked) else judge
    return all(choice.any_language for choice in JUDGES.values() if choice.kind is type(inner))


def how_it_reads(name: str, settings: JudgeSettings) -> dict[str, Setting]:
    """The settings that decide how a judge reads: not where it runs, and no default spelled out."""
    choice = JUDGES.get(name.removesuffix(_SENSE))
    if choice is None:
        return dict(settings)
    unsaid = choice.defaults.items()
    return {k: v for k, v in settings.items() if k not in choice.where and (k, v) not in unsaid}


def where_it_runs(name: str, settings: JudgeSettings) -> dict[str, Setting]:
    """The settings that say where a judge runs, an address among them, and not how it reads.

    >>> where_it_runs("llm", {"endpoint": "http://127.0.0.1:8000/v1", "samples": 3})
    {'endpoint': 'http://127.0.0.1:8000/v1'}
    """
    choice = JUDGES.get(name.removesuffix(_SENSE))
    where = frozenset[str]() if choice is None else choice.where
    return {key: value for key, value in settings.items() if key in where}


def _parameters(make: Callable[..., Any]) -> list[inspect.Parameter]:
    """What a function takes; a class is made without arguments."""
    return [] if inspect.isclass(make) else list(inspect.signature(make).parameters.values())


def _kind(make: Callable[..., Any]) -> Any:
    """The class of what it makes; something else where a function does not say."""
    return make if inspect.isclass(make) else get_type_hints(make).get("return")


def _choice(name: str) -> JudgeChoice:
    choice = JUDGES.get(name.removesuffix(_SENSE))
    if choice is None:
        raise InputError(
            f"there is no judge {name!r}; choose one of {', '.join(sorted(JUDGES))}, "
            f"each also with {_SENSE!r} behind it"
        )
    return choice
