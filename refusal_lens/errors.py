"""The one exception that means "the user's input is wrong, and here is what to do"."""


class InputError(ValueError):
    """Wrong input, in one line: the value found, where, what was expected, what to do next.

    The command line prints the line and exits with 2; a fault of the program is never this class.

    >>> rl.Site(-1)
    Traceback (most recent call last):
    refusal_lens.errors.InputError: layer -1 is negative; layers count from 0
    """


def printable(text: str) -> str:
    """Text for one line of a terminal: a blank for each character that can't be printed.

    Nothing in it can end the line, start an escape sequence or turn the direction of writing.

    >>> printable("no \\x1b[31mfile\\n '\u8981\u6c42'")
    "no  [31mfile  '\u8981\u6c42'"
    """
    return "".join(c if c.isprintable() else " " for c in text)


def reason_of(error: Exception) -> str:
    """What another library says is wrong, in one line of at most 160 characters."""
    return " ".join(printable(str(error)).split())[:160] or type(error).__name__
