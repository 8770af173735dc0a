"""What stands between two marks of a page, so that figures are never copied by hand."""

from refusal_lens.errors import InputError


def between_marks(page: str, marks: tuple[str, str], text: str) -> str:
    """The page with the text between its two marks, in place of what stands there.

    Raises:
        InputError: the marks are not there, or not in this order.

    >>> between_marks("Measured: <a> old <b> of it.", ("<a>", "<b>"), "new")
    'Measured: <a>\\n\\nnew\\n\\n<b> of it.'
    """
    head, begin, rest = page.partition(marks[0])
    _, end, tail = rest.partition(marks[1])
    if not begin or not end:
        raise InputError(f"the page has no lines {marks[0]!r} and {marks[1]!r} to write between")
    return f"{head}{begin}\n\n{text}\n\n{end}{tail}"
