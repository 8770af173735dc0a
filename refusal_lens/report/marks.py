"""What stands between two marks of a page, so that figures are never copied by hand."""

from refusal_lens.errors import InputError


def between_marks(page: str, marks: tuple[str, str], text: str, name: str = "the page") -> str:
    """The page with the text between its two marks, in place of what stands there.

    Errors call the page `name`. An editor's ends of lines stay, on the whole page alike.

    Raises:
        InputError: the marks are not there, or not in this order.

    >>> between_marks("Measured: <a> old <b> of it.", ("<a>", "<b>"), "new")
    'Measured: <a>\\n\\nnew\\n\\n<b> of it.'
    """
    head, begin, rest = page.partition(marks[0])
    _, end, tail = rest.partition(marks[1])
    if not begin or not end:
        raise InputError(f"{name} has no lines {marks[0]} and {marks[1]} to write between")
    between = f"\n\n{text}\n\n"
    if "\r\n" in page:
        between = between.replace("\n", "\r\n")
    return f"{head}{begin}{between}{end}{tail}"
