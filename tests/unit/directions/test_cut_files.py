"""Files of vectors that are cut, or can't be written: one line, and nothing half-written."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import save_file

from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.formats import FORMATS, export_directions, import_directions
from refusal_lens.directions.formats.base import Vectors
from refusal_lens.directions.formats.saelens import sae_directions
from refusal_lens.errors import InputError
from refusal_lens.model.checkpoint import load_checkpoint
from refusal_lens.placement import Placement
from refusal_lens.sites import Site

WRITTEN = [form.suffix for form in FORMATS.values() if form.write is not None]


@pytest.fixture
def fitted() -> DirectionSet:
    places = {(-1, Site(k)): torch.arange(1.0, 9.0) * k for k in (1, 2, 3)}
    return Vectors(places, "tiny").directions("advice", "test")


def one_line(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_gguf_file_cut_anywhere(fitted: DirectionSet, tmp_path: Path) -> None:
    whole = tmp_path / "v.gguf"
    export_directions(fitted, whole, "advice")
    content, cut = whole.read_bytes(), tmp_path / "cut.gguf"
    for n in (0, 4, 24, 40, 100, len(content) // 2, len(content) - 1):
        cut.write_bytes(content[:n])
        assert "cut.gguf is no GGUF file" in one_line(lambda: import_directions(cut))
        line = one_line(lambda: load_checkpoint(str(cut), None, Placement(device="cpu")))
        assert "cut.gguf' is no GGUF file" in line


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_file_of_vectors_is_written_whole_or_not_at_all(
    suffix: str, fitted: DirectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"v{suffix}"
    export_directions(fitted, path, "advice")
    before = path.read_bytes()

    def denied(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("refusal_lens.files.tempfile.mkstemp", denied)
    line = one_line(lambda: export_directions(fitted, path, "advice"))
    assert f"v{suffix}' can't be written (Permission denied); give another place" in line
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("config", ["[]", "3", '{"metadata": [1]}'])
def test_a_configuration_of_an_autoencoder_that_is_no_object(config: str, tmp_path: Path) -> None:
    save_file({"W_dec": torch.ones(3, 4)}, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(config)
    assert "not of SAELens' form" in one_line(lambda: sae_directions(tmp_path, [0]))


def test_decoder_rows_need_a_matrix(tmp_path: Path) -> None:
    save_file({"W_dec": torch.ones(3)}, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps({"hook_name": "blocks.1.hook_resid_pre"}))
    assert "it has shape [3]" in one_line(lambda: sae_directions(tmp_path, [0]))
