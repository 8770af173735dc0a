"""A file of the Hugging Face hub, streamed so that an interrupted download goes on."""

import os
import queue
import re
import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import httpx
from huggingface_hub import try_to_load_from_cache

from refusal_lens.embedded.gguf_file import FileProgress, GgufFile, WayFailedError

_SILENCE: Final = httpx.Timeout(5.0, read=20.0)
_MENDS: Final = 4


@final
@dataclass(frozen=True)
class Hub:
    """A repository of the hub at one commit.

    Attributes:
        repository: `owner/name`.
        revision: Commit hash.
        endpoint: Address of the hub; by default ``$HF_ENDPOINT`` or huggingface.co.
        patience: Seconds from the look-up of the hub's name to the head of its answer; a later
            answer counts as none.
    """

    repository: str
    revision: str
    endpoint: str | None = None
    patience: float = 5.0

    @property
    def title(self) -> str:
        """The way's name in messages."""
        return f"the hub's {self.repository}"

    def fetch(self, file: GgufFile, partial: Path, progress: FileProgress) -> Path:
        """The checked file below `partial`; what an earlier try left there is continued.

        A copy in Hugging Face's own cache is taken first, also offline.

        Raises:
            WayFailedError: offline, out of reach, broken off, or not the pinned bytes.
        """
        place = partial / "hub.gguf"
        if (known := self._known(file)) is not None:
            shutil.copyfile(known, place)
            return place
        kept = _size(place)
        if kept > file.n_bytes:
            place.unlink()
        self._complete(file, place, progress)
        wrong = file.wrong(place)
        if wrong is not None and kept:  # perhaps only what an earlier try left was wrong
            place.unlink()
            self._complete(file, place, progress)
            wrong = file.wrong(place)
        if wrong is not None:
            place.unlink()
            raise WayFailedError(f"it sent {wrong}")
        return place

    def _known(self, file: GgufFile) -> Path | None:
        """The pinned file in Hugging Face's cache, if it is there."""
        for revision in (self.revision, "main"):
            cached = try_to_load_from_cache(self.repository, file.name, revision=revision)
            if isinstance(cached, str) and file.wrong(Path(cached)) is None:
                return Path(cached)
        return None

    def _complete(self, file: GgufFile, place: Path, progress: FileProgress) -> None:
        """Stream until `place` has all bytes; a connection that breaks is mended a few times."""
        for mends_left in reversed(range(_MENDS)):
            before = _size(place)
            if before == file.n_bytes:
                return
            try:
                self._stream(file, place, progress)
                reason = "it ended too early"
            except httpx.HTTPError as error:
                reason = _reason(error)
            after = _size(place)
            if after < file.n_bytes and (after <= before or not mends_left):
                raise WayFailedError(
                    f"broke off, {after:,} of {file.n_bytes:,} bytes kept: {reason}"
                )

    def _stream(self, file: GgufFile, place: Path, progress: FileProgress) -> None:
        """Append what the hub sends from the end of `place` on, or write it anew."""
        if _offline():
            raise WayFailedError("HF_HUB_OFFLINE is set")
        begin = _size(place)
        address = self.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        url = f"{address.rstrip('/')}/{self.repository}/resolve/{self.revision}/{file.name}"
        with _answer(url, begin, self.patience) as answer:
            done = _checked_begin(answer, begin, file)
            with place.open("ab" if done else "wb") as out:
                for chunk in answer.iter_raw():  # as it comes, so that a break loses nothing
                    done += len(chunk)
                    if done > file.n_bytes:
                        break
                    out.write(chunk)
                    progress(f"{file.name} from the hub", done, file.n_bytes)
        if done > file.n_bytes:
            place.unlink()
            raise WayFailedError(f"it sent more than the expected {file.n_bytes:,} bytes")


def _offline() -> bool:
    """Whether the user forbids calls to the hub, as huggingface_hub reads its variables."""
    named = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return named.upper() in {"1", "ON", "YES", "TRUE"}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def _answer(url: str, begin: int, patience: float) -> Generator[httpx.Response]:
    """The hub's answer from byte `begin` on, its body unread.

    The request runs in a thread: no timeout of httpx bounds the look-up of a name, which takes
    minutes where packets are dropped without a word.
    """
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begin}-"} if begin else {})
    box: queue.Queue[httpx.Response | Exception] = queue.Queue()
    try:
        client = httpx.Client(timeout=_SILENCE, follow_redirects=True)
        request = client.build_request("GET", url, headers=headers)
    except Exception as error:  # a proxy or an address that cannot be read
        raise WayFailedError(_reason(error)) from error

    def ask() -> None:
        try:
            box.put(client.send(request, stream=True))
        except Exception as error:
            box.put(error)

    with client:
        threading.Thread(target=ask, daemon=True, name="refusal_lens hub").start()
        try:
            got = box.get(timeout=patience)
        except queue.Empty:
            raise WayFailedError(f"no answer within {patience:.3g} s") from None
        if isinstance(got, Exception):
            raise WayFailedError(_reason(got)) from got
        try:
            yield got
        finally:
            got.close()


def _checked_begin(answer: httpx.Response, begin: int, file: GgufFile) -> int:
    """The byte at which the answer's body begins; the whole must have the pinned size."""
    if answer.status_code == 206:
        content_range = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", "")
        )
        if content_range is None or int(content_range[1]) != begin:
            raise WayFailedError("it answered another range than was asked for")
        total = int(content_range[2])
    elif answer.status_code == 200:
        begin = 0
        total = int(answer.headers.get("Content-Length", file.n_bytes))
    else:
        raise WayFailedError(f"HTTP {answer.status_code} from {answer.url.host}")
    if total != file.n_bytes:
        raise WayFailedError(f"its file has {total:,} bytes, expected {file.n_bytes:,}")
    return begin
