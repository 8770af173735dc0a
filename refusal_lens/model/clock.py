"""A clock that stands still for chat templates which print the date.

Templates call `strftime_now(format)`, which transformers answers with the time of rendering, and it
hands no function of ours to a template. So a macro of that name is put in front of the template;
what every format code means at the chosen moment comes with the other values.
"""

from datetime import datetime
from typing import Final

CALLED: Final = "strftime_now"
VALUES: Final = "time_by_format_code"

_PLAIN: Final = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ"
_NO_PADDING: Final = "dmHIMSjyeklU"
_MACRO: Final = f"""\
{{%- macro {CALLED}(format) -%}}
{{%- set ns = namespace(text=format) -%}}
{{%- for code, value in {VALUES}.items() -%}}
{{%- set ns.text = ns.text | replace(code, value) -%}}
{{%- endfor -%}}
{{{{- ns.text -}}}}
{{%- endmacro %}}
"""  # the template's blocks are trimmed: the last line break is not printed


def stopped(template: str) -> str:
    """The template with its clock replaced; one that asks no clock is returned as it is.

    >>> stopped("no clock")
    'no clock'
    """
    return _MACRO + template if CALLED in template else template


def time_by_format_code(now: datetime) -> dict[str, str]:
    """What each format code prints at a moment, in the order in which they are to be replaced.

    >>> time_by_format_code(datetime(2026, 3, 4))["%Y"]
    '2026'
    """
    codes = [f"%-{c}" for c in _NO_PADDING] + [f"%{c}" for c in _PLAIN]
    # A doubled % is set aside, lest it makes a code with what follows it.
    return {"%%": "\0"} | {code: now.strftime(code) for code in codes} | {"\0": "%"}
