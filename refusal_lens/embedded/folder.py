"""An embedded model as an ordinary Hugging Face folder in the cache, made once from its GGUF file.

The folder appears whole or not at all, whichever process is first and wherever one is killed.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from refusal_lens.embedded.disk import alone, cache_root, check_room, telling_disk_errors
from refusal_lens.embedded.gguf_file import FileProgress, quiet
from refusal_lens.embedded.manifest import folder_tensors_digest, is_intact, write_manifest
from refusal_lens.embedded.weights import PinnedWeights
from refusal_lens.errors import InputError
from refusal_lens.folders import flush

Dequantise = Callable[[Path, Path], None]

_STALE_SECONDS: Final = 3600.0


def dequantise_apart(source: Path, folder: Path) -> None:
    """Write a GGUF file as an ordinary float32 model folder, in a process of its own.

    What the conversion takes of memory goes back when that process ends; within this one, part of
    it would stay for as long as a study runs.

    Raises:
        RuntimeError: it failed; the message is the process's last line.
    """
    command = [sys.executable, "-m", "refusal_lens.embedded.dequantise", str(source), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{source.name} can't be dequantised: {lines[-1]}")


def ready_folder(weights: PinnedWeights, root: Path | None = None) -> Path | None:
    """The model's folder if it is in the cache and intact; nothing is fetched or converted."""
    folder = (cache_root() if root is None else root) / weights.folder_name
    return folder if is_intact(folder, weights.tensors_sha256) else None


def embedded_folder(
    weights: PinnedWeights,
    root: Path | None = None,
    *,
    progress: FileProgress = quiet,
    convert: Dequantise = dequantise_apart,
) -> Path:
    """The model's folder (float32 safetensors, tokenizer, chat template), made on the first call.

    Args:
        weights: Which model.
        root: The cache folder, by default :func:`refusal_lens.embedded.disk.cache_root`.
        progress: Called during downloads and the conversion.
        convert: Writes a model folder from a GGUF file.

    Raises:
        InputError: the file cannot be got, its bytes or tensors are not the pinned ones, or the
            disk has no room.
    """
    root = cache_root() if root is None else root
    if (ready := ready_folder(weights, root)) is not None:
        return ready
    what = f"preparing {weights.title}"
    present = weights.source.present(weights.gguf, root)
    fetched = 0 if present is not None else weights.source.bytes_needed(weights.gguf, root)
    needed = fetched + weights.tensors_bytes
    with telling_disk_errors(root, needed, what), alone(root, weights.folder_name, progress):
        if (ready := ready_folder(weights, root)) is not None:  # made while this one waited
            return ready
        check_room(root, needed, what)
        source = weights.source.get(weights.gguf, root, progress)
        return _made(weights, source, root, progress, convert)


def _made(
    weights: PinnedWeights, source: Path, root: Path, progress: FileProgress, convert: Dequantise
) -> Path:
    """The folder, converted beside its place, checked, flushed and renamed."""
    folder = root / weights.folder_name
    _remove_stale(root)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=root))
    try:
        progress(f"dequantising {source.name}", 0, weights.tensors_bytes)
        convert(source, building)
        digest = folder_tensors_digest(building)
        if digest != weights.tensors_sha256:
            raise InputError(
                f"the tensors made from {source.name} have SHA-256 {digest}, expected "
                f"{weights.tensors_sha256}: install the transformers and gguf versions of the "
                "lock file"
            )
        write_manifest(building, weights.tensors_sha256)
        flush(*building.iterdir(), building)
        _publish(building, folder, weights.tensors_sha256)
        progress(f"dequantising {source.name}", weights.tensors_bytes, weights.tensors_bytes)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _publish(building: Path, folder: Path, digest: str) -> None:
    """Rename a finished folder into place; a valid one put there meanwhile is kept."""
    building.chmod(0o755)
    try:
        building.rename(folder)
        return
    except OSError:
        if is_intact(folder, digest):
            return
    damaged = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent)) / "damaged"
    folder.rename(damaged)
    building.rename(folder)
    shutil.rmtree(damaged.parent, ignore_errors=True)


def _remove_stale(root: Path) -> None:
    """Remove what killed conversions left behind more than an hour ago."""
    for path in root.glob(".building-*"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
