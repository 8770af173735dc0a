"""Values of `cfg.json` that JSON allows and no autoencoder has: one line each."""

import json
from pathlib import Path
from typing import Any

import pytest

from refusal_lens.errors import InputError
from refusal_lens.sparse.saelens_config import config_of

PLAIN: dict[str, Any] = {
    "architecture": "standard",
    "d_in": 6,
    "d_sae": 10,
    "hook_name": "blocks.3.hook_resid_pre",
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"d_in": float("nan")}, "d_in is nan; expected a whole number above 0"),
        ({"d_sae": float("inf")}, "d_sae is inf; expected a whole number above 0"),
        ({"d_in": 2.5}, "d_in is 2.5"),
        ({"architecture": ["standard"]}, r"architecture \['standard'\] is not read"),
        ({"architecture": {"a": 1}}, "architecture .* is not read"),
    ],
)
def test_an_odd_value_is_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(PLAIN))
    assert config_of(path).d_in == 6
    path.write_text(json.dumps(PLAIN | changes))
    with pytest.raises(InputError, match=words) as caught:
        config_of(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="byte 0 is not UTF-8"):
        config_of(tmp_path / "cfg.json")
    with pytest.raises(InputError, match="Is a directory"):
        config_of(tmp_path)
