"""Chat messages: the turns of a conversation up to what is asked in the last one."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from refusal_lens.arguments import check_whole
from refusal_lens.errors import InputError

Turn = tuple[str, str]
"""Role and content."""

_WRITE: Final = '[{"role": "user", "content": "..."}]'
_NEXT: Final = {"": ("system", "user"), "system": ("user",), "user": ("assistant",)}


def read_messages(messages: object, where: str) -> tuple[tuple[Turn, ...], str]:
    """The turns before the last one, and the text of the last one, which is the user's.

    A system turn may come first; user and assistant take turns. A content that is a list of parts
    (`{"type": "text", "text": ...}`) is joined.

    Raises:
        InputError: no turn, a turn of another kind or in another order, or one that is no text.

    >>> read_messages([{"role": "user", "content": "Pick a lock?"}], "prompt 1")
    ((), 'Pick a lock?')
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise InputError(f"{where}: messages are {str(messages)[:60]!r}; expected {_WRITE}")
    listed: Sequence[Any] = messages
    turns = [_turn(m, f"{where}, message {i}") for i, m in enumerate(listed, 1)]
    check_turns([role for role, _ in turns], where)
    return tuple(turns[:-1]), turns[-1][1]


def check_turns(roles: Sequence[str], where: str) -> None:
    """Reject a conversation that can't be: see `read_messages`."""
    before = ""
    for i, role in enumerate(roles, 1):
        allowed = _NEXT.get(before, ("user",))
        if role not in allowed:
            raise InputError(
                f"{where}, message {i} is of role {role!r}; expected {' or '.join(allowed)} there "
                "(a system turn first if there is one, then user and assistant in turns)"
            )
        before = role
    if before != "user":
        raise InputError(
            f"{where} ends with a turn of {before!r}; the last one must be the user's, which the "
            "model answers"
        )


def messages_of(before: Sequence[Turn], text: str) -> list[dict[str, str]]:
    """The turns as chat templates take them."""
    return [{"role": role, "content": content} for role, content in (*before, ("user", text))]


def _turn(message: Any, where: str) -> Turn:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise InputError(f"{where} is {str(message)[:60]!r}; expected {_WRITE[1:-1]}")
    extra = sorted(k for k, v in message.items() if k not in {"role", "content"} and v)
    if extra:
        raise InputError(f"{where} has {extra[0]!r}, which no prompt here can hold; leave it out")
    content: Any = message["content"]
    if isinstance(content, list):
        parts: list[Any] = content
        texts: list[Any] = [p.get("text") if isinstance(p, Mapping) else None for p in parts]
        content = "".join(texts) if all(isinstance(t, str) for t in texts) else None
    if not isinstance(content, str) or not content.strip():
        raise InputError(f"{where} has no text; images, tools and empty turns are no prompt here")
    check_whole(content, where)
    return str(message["role"]), content
