"""Where the numbers of a run come from."""

from collections.abc import Mapping
from typing import Any, Final, cast

from refusal_lens.folders import written_name
from refusal_lens.plots.text import number
from refusal_lens.tables.table import Table, plain_table

_APART: Final = ("question", "rendered_prefix", "post_tokens")
_TO_GO_ON: Final = ("sae_folder",)
"""Where this machine keeps what the run goes on with, which no reader of the page can use."""
_PATHS: Final = frozenset(
    {"model", "source", "control", "prompts", "refuse", "comply", "language_folder"}
)
_SETTINGS: Final = "judge_settings"
"""In the question: values that any of a judge's own may be the path of something."""


def provenance_table(manifest: Mapping[str, Any]) -> Table:
    """The manifest without what has a place of its own and what only this machine can use."""
    left_out = (*_APART, *_TO_GO_ON)
    rows = {k: v for k, v in _written(manifest).items() if k not in left_out}
    named = {k.replace("_", " "): v for k, v in rows.items()}
    return plain_table("From manifest.json", ("name", "value"), named)


def question_table(question: Mapping[str, Any]) -> Table:
    """The question of a run; of paths the last part, as `written_name` has it."""
    return plain_table("The question", ("parameter", "value"), _written(question))


def _written(values: Mapping[str, Any], *, settings: bool = False) -> dict[str, Any]:
    """Values by name, paths among them without the folders of this machine."""
    written: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = cast(Mapping[str, Any], value)
            written[name] = _written(inner, settings=name == _SETTINGS)
        elif isinstance(value, str) and (settings or name in _PATHS):
            written[name] = written_name(value)
        else:
            written[name] = value
    return written


def offsets_table(manifest: Mapping[str, Any]) -> Table:
    """The template's tokens after the prompt, with the offsets that name them."""
    strings: list[str] = list(manifest.get("post_tokens") or ())
    n = len(strings)
    return plain_table(
        "Read-out offsets and their tokens (␣ space, ↵ newline)",
        ("offset", "token"),
        {number(i - n, 0): t.replace(" ", "␣") or "∅" for i, t in enumerate(strings)},
    )
