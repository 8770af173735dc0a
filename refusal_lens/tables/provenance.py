"""Where the numbers of a run come from."""

from collections.abc import Mapping
from typing import Any

from refusal_lens.plots.text import number
from refusal_lens.tables.table import Table, plain_table


def provenance_table(manifest: Mapping[str, Any]) -> Table:
    """The manifest without the question, the rendered prefix and the tokens, which have places
    of their own."""
    elsewhere = ("question", "rendered_prefix", "post_tokens")
    return plain_table(
        "From manifest.json",
        ("name", "value"),
        {k.replace("_", " "): v for k, v in manifest.items() if k not in elsewhere},
    )


def offsets_table(manifest: Mapping[str, Any]) -> Table:
    """The template's tokens after the prompt, with the offsets that name them."""
    strings: list[str] = list(manifest.get("post_tokens") or ())
    n = len(strings)
    return plain_table(
        "Read-out offsets and their tokens (␣ space, ↵ newline)",
        ("offset", "token"),
        {number(i - n, 0): t.replace(" ", "␣") or "∅" for i, t in enumerate(strings)},
    )
