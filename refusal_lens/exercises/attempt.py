"""One call of a learner's function: on copies of the inputs, with its errors as one line."""

import copy
import dis
import linecache
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from refusal_lens.exercises.compare import mismatch

_EMPTY_BODY = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


@final
@dataclass(frozen=True)
class Attempt:
    """What a function returned, or the line about its error; the inputs as it left them."""

    value: Any
    error: str | None
    args: tuple[Any, ...]
    changed_input: bool


def attempt(function: Callable[..., Any], args: tuple[Any, ...]) -> Attempt:
    """Call a function on copies of the arguments; an error becomes a line, and no traceback."""
    given = copy.deepcopy(args)
    value, error = None, None
    try:
        value = function(*given)
    except (Exception, SystemExit) as raised:  # `exit()` would end the notebook's kernel
        error = _line_about(raised)
    changed = any(_is_data(x) and mismatch(y, x) for x, y in zip(args, given, strict=True))
    return Attempt(value, error, given, changed)


def is_stub(function: Callable[..., Any]) -> bool:
    """Whether nothing has been written yet: the body is `...`, `pass` or `return None`."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = list(dis.get_instructions(code))
    returned = [s.argval for s in steps if s.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {s.opname for s in steps} <= _EMPTY_BODY and returned in ([None], [...])


def _line_about(raised: BaseException) -> str:
    """`IndexError: index 7 is out of bounds, at "resid[7]"`, with the line of the function."""
    line = ""
    for frame in traceback.extract_tb(raised.__traceback__)[1:2]:
        code = frame.line or linecache.getline(frame.filename, frame.lineno or 0)
        line = f", in its line `{code.strip()}`" if code.strip() else ""
    words = " ".join(str(raised).split())
    return (
        f"{type(raised).__name__}: {words[:200]}{line}" if words else type(raised).__name__ + line
    )


def _is_data(value: object) -> bool:
    """Whether a value can be compared with its copy; models and tokenizers can't."""
    return type(value).__module__ in ("builtins", "torch")
