"""Whether a model folder is still the one that was checked, without reading gigabytes each time.

The digest of a folder's tensors is computed when the folder is made. Beside the files then lies a
manifest with their sizes and times; only files whose size or time is another are read again.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import torch
from safetensors import safe_open

from refusal_lens.files import file_sha256

WEIGHTS: Final = "model.safetensors"
MANIFEST: Final = "checked.json"
_VERSION: Final = 1


class _Entry(NamedTuple):
    """A file as the manifest has it: size and time of change, and its digest."""

    stamp: tuple[int, int]
    sha256: str


def tensors_sha256(path: Path) -> str:
    """SHA-256 over the tensors of a safetensors file: sorted names, float32 little-endian bytes.

    Only names and values count; neither the file's layout nor its metadata does.
    """
    digest = hashlib.sha256()
    with safe_open(path, framework="pt") as tensors:
        for name in sorted(tensors.keys()):
            digest.update(name.encode())
            values = tensors.get_tensor(name).to(torch.float32).contiguous()
            digest.update(memoryview(values.numpy()).cast("B"))
    return digest.hexdigest()


def folder_tensors_digest(folder: Path) -> str | None:
    """Digest of a folder's tensors; None where there is no readable weight file."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        return None
    try:
        return tensors_sha256(weights)
    except Exception as error:  # safetensors raises its own types for a damaged file
        if isinstance(error, MemoryError):
            raise
        return None


def is_intact(folder: Path, expected: str) -> bool:
    """Whether the folder holds the tensors with this digest, and its other files as checked.

    A folder without a manifest is read through, and gets one if its tensors are right.
    """
    if not (folder / WEIGHTS).is_file():
        return False
    known = _read(folder, expected)
    stamps = _stamps(folder)
    changed = {name for name, entry in known.items() if stamps.get(name) != entry.stamp}
    if WEIGHTS in known and not changed:
        return True
    if any(not _same(folder / name, known[name].sha256) for name in changed - {WEIGHTS}):
        return False
    if (WEIGHTS in changed or WEIGHTS not in known) and folder_tensors_digest(folder) != expected:
        return False
    with suppress(OSError):  # a cache that may not be written to is read through each time
        write_manifest(folder, expected)
    return True


def write_manifest(folder: Path, tensors: str) -> None:
    """Note the folder's files as they are; the caller has checked its tensors."""
    files = {
        name: (*stamp, tensors if name == WEIGHTS else file_sha256(folder / name))
        for name, stamp in _stamps(folder).items()
    }
    text = json.dumps({"version": _VERSION, "tensors_sha256": tensors, "files": files}, indent=1)
    descriptor, name = tempfile.mkstemp(prefix=".checked-", dir=folder)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    Path(name).replace(folder / MANIFEST)


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file that belongs to the model."""
    stats = {path.name: path.stat() for path in folder.iterdir() if path.is_file()}
    return {
        name: (stat.st_size, stat.st_mtime_ns)
        for name, stat in sorted(stats.items())
        if name != MANIFEST and not name.startswith(".")
    }


def _read(folder: Path, expected: str) -> dict[str, _Entry]:
    """The manifest's lines by file name; none where no manifest speaks of these tensors."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if (manifest["version"], manifest["tensors_sha256"]) != (_VERSION, expected):
            return {}
        files = manifest["files"].items()
        return {name: _Entry((int(size), int(time)), str(sha)) for name, (size, time, sha) in files}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _same(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest
