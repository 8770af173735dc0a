"""The one exception that means "the user's input is wrong, and here is what to do"."""


class InputError(ValueError):
    """Wrong input, in one line: the value found, where, what was expected, what to do next.

    The command line prints the line and exits with 2; a fault of the program is never this class.

    >>> rl.Site(-1)
    Traceback (most recent call last):
    refusal_lens.errors.InputError: layer -1 is negative; layers count from 0
    """


def reason_of(error: Exception) -> str:
    """What another library says is wrong, in one line of at most 160 characters."""
    return " ".join(str(error).split())[:160] or type(error).__name__
