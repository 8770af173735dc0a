"""What a text says in numbers and names, whatever the words between them are."""

import re

_NUMBER = re.compile(r"[−-]?\d+(?:\.\d+)?")


def numbers(text: str) -> list[str]:
    """The numbers of a text in their order, those under 0 with a true minus sign."""
    return [n.replace("-", "−") for n in _NUMBER.findall(text)]


def says(text: str, *expected: str | int) -> bool:
    """Whether a text holds these in this order; a number is not a part of a longer one."""
    at = 0
    for one in map(str, expected):
        before = r"(?<![\d.])" if one[:1].isdigit() else ""
        after = r"(?!\.?\d)" if one[-1:].isdigit() else ""
        if (match := re.compile(before + re.escape(one) + after).search(text, at)) is None:
            return False
        at = match.end()
    return True
