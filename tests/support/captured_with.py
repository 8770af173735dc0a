"""The body of a `with` taken from its source instead of being run, as nnsight does it."""

import ast
import sys
from types import CodeType, FrameType
from typing import Any


class Skipped(BaseException):
    """Raised at the first line of a body that is not to run here."""


def body_of(frame: FrameType) -> tuple[ast.With, CodeType]:
    """The `with` that a frame is entering, and the code of its body."""
    with open(frame.f_code.co_filename, encoding="utf-8") as file:  # noqa: PTH123
        tree = ast.parse(file.read())
    withs = (n for n in ast.walk(tree) if isinstance(n, ast.With) and n.lineno == frame.f_lineno)
    node = next(withs)
    module = ast.fix_missing_locations(ast.Module(body=node.body, type_ignores=[]))
    return node, compile(module, frame.f_code.co_filename, "exec")


def names_in(node: ast.With) -> set[str]:
    """The names that the body reads."""
    names = (n for part in node.body for n in ast.walk(part) if isinstance(n, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Load)}


def skip_body(frame: FrameType, node: ast.With) -> None:
    """Let the frame raise `Skipped` when it comes to the body."""
    before = sys.gettrace()

    def skip(here: FrameType, event: str, argument: Any) -> Any:
        if here.f_lineno < node.body[0].lineno:
            return skip
        sys.settrace(before)
        raise Skipped

    sys.settrace(lambda *event: None)
    frame.f_trace = skip
