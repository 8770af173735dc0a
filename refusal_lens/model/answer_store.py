"""Answers that were generated before, in a file: no two stages of a study generate one twice.

The file holds JSON lines: a head with the version of its schema, then an answer a line, with a
checksum. An answer stands under a key, the digest of all that it depends on: the model's weights,
precision and implementation, versions of packages, the templated prompt's token ids, the edits that
act on it, the decoding, and, where tokens are drawn, the seed and the prompt's place.
"""

import json
import warnings
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import torch

from refusal_lens.files import append_flushed, read_file, write_atomic
from refusal_lens.interventions.content import part_digest
from refusal_lens.model.batch import Ids
from refusal_lens.model.feed import Feed
from refusal_lens.model.generate import Decoding, generate, row_seed
from refusal_lens.model.keeping import KEY_LENGTH, made_by, newest_within
from refusal_lens.processes import this_process
from refusal_lens.records import digest_of

if TYPE_CHECKING:
    from refusal_lens.model.lens import LensModel

SCHEMA_VERSION: Final = 1
MOST_BYTES: Final = 64 << 20
"""Size of the file from which on the oldest answers go, until half of it is left."""

_HEAD: Final = {"kept": "answers", "schema_version": SCHEMA_VERSION}


class AnswerStoreWarning(UserWarning):
    """Kept answers can't be read; they are generated again."""


def first_tokens(ids: Sequence[int], asked: int, n: int) -> Ids | None:
    """The answer of at most `n` tokens, from one of at most `asked`; None where that was cut short.

    A longer answer begins with the shorter one, token by token, whether these are drawn or not; and
    one of fewer tokens than were asked for has ended by itself.

    >>> first_tokens([5, 6, 7], 3, 2), first_tokens([5, 6, 7], 3, 4), first_tokens([5, 6, 7], 4, 9)
    ((5, 6), None, (5, 6, 7))
    """
    return tuple(ids[:n]) if n <= asked or len(ids) < asked else None


@final
class AnswerStore:
    """Answers by their keys, in one file of at most `most_bytes`: beyond, the oldest go.

    Of several processes of one run the first reads and writes the file, and the others hold
    nothing. What is damaged, or was written by another version, is left out, and one
    `AnswerStoreWarning` says so.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     AnswerStore(Path(folder, "answers.jsonl")).add({"a key": (5, 6)}, asked=2)
    ...     AnswerStore(Path(folder, "answers.jsonl")).find("a key", 1)
    (5,)
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most = path, most_bytes
        self._writes = this_process().is_main
        self._lines: dict[str, bytes] = {}  # by key, in the order of age
        if self._writes and path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._lines)

    def find(self, key: str, n: int) -> Ids | None:
        """The answer of at most `n` tokens under a key; None where it has to be generated."""
        if (line := self._lines.get(key)) is None:
            return None
        _, asked, ids, _ = json.loads(line)
        return first_tokens(ids, asked, n)

    def add(self, answers: Mapping[str, Ids], asked: int) -> None:
        """Keep answers that were asked for with at most `asked` tokens, and write them."""
        if not self._writes or not answers:
            return
        new = {key: _line(key, asked, ids) for key, ids in answers.items()}
        self._put(new)
        if self._path.exists():
            append_flushed(self._path, b"".join(new.values()))
        else:
            self._rewrite()
        if self._path.stat().st_size > self._most:
            self._forget_oldest()

    def _put(self, lines: Mapping[str, bytes]) -> None:
        for key, line in lines.items():
            self._lines.pop(key, None)  # the newest stands last
            self._lines[key] = line

    def _read(self) -> None:
        head, *lines = read_file(self._path).splitlines(keepends=True) or [b""]
        if _parsed(head) != _HEAD:
            self._say("is damaged or of another version")
            self._path.unlink()
            return
        keys = [_key(line) for line in lines]
        self._put({key: line for key, line in zip(keys, lines, strict=True) if key is not None})
        if n_damaged := keys.count(None):
            self._say(f"is damaged in {n_damaged} of {len(lines)} answers")
            self._rewrite()

    def _say(self, what: str) -> None:
        line = f"{self._path} {what}; what can't be read is generated again"
        warnings.warn(line, AnswerStoreWarning, stacklevel=1)

    def _rewrite(self) -> None:
        write_atomic(self._path, _compact(_HEAD) + b"\n" + b"".join(self._lines.values()))

    def _forget_oldest(self) -> None:
        sizes = {key: len(line) for key, line in self._lines.items()}
        self._lines = {key: self._lines[key] for key in newest_within(sizes, self._most // 2)}
        self._rewrite()


@contextmanager
def answers_unkept(model: "LensModel") -> Generator[None]:
    """Keep no answer meanwhile, and hand none on: for what is read and must not be stored.

    >>> with rl.model.answers_unkept(model):
    ...     answers = model.generate(["Why?"], rl.Decoding(3))
    """
    store, model.answer_store = model.answer_store, None
    try:
        yield
    finally:
        model.answer_store = store


def generate_kept(
    feed: Feed, stops: frozenset[int], decoding: Decoding, store: AnswerStore, digest: str
) -> list[Ids]:
    """The answers of `generate`, those that the store has handed on, the others generated and kept.

    `digest` is the model's. Rows under edits that can't be told by their numbers are generated and
    not kept, and so are all while other functions than edits are on hook points. Numbers of a
    batch differ by rounding with what else is in it: an answer is the one of the batch in which it
    was first generated.

    Raises:
        InputError: as `generate`.
    """
    keys, n = row_keys(feed, stops, decoding, digest), decoding.max_new_tokens
    stored = {row: store.find(key, n) for row, key in keys.items()}
    known = _agreed({row: ids for row, ids in stored.items() if ids is not None}, feed, n)
    answers = generate(feed, stops, decoding, known=known)
    store.add({key: answers[row] for row, key in keys.items() if row not in known}, n)
    return answers


def row_keys(feed: Feed, stops: frozenset[int], decoding: Decoding, digest: str) -> dict[int, str]:
    """The key of each row's answer, however long; rows whose answer can't be kept have none.

    >>> feed = model.feed(["Why?", "Who?", "Why?"])
    >>> keys = row_keys(feed, model.stops, rl.Decoding(4), model.digest)
    >>> keys[0] == keys[2], keys[0] == keys[1]
    (True, False)
    """
    edits, backend = feed.prefix.edits, feed.backend
    if not edits.alone:
        return {}
    how = (decoding.temperature, decoding.top_p, decoding.use_cache)
    common = digest_of([*made_by(digest, backend), sorted(stops), how])
    acting: list[list[str | None]] = [[] for _ in feed.ids]
    for part in edits.parts:
        content = part_digest(part, backend.n_layers)
        for row in range(len(feed.ids)) if part.rows is None else part.rows:
            acting[row].append(content)
    return {
        row: digest_of([common, ids, on, row_seed(decoding, row)])[:KEY_LENGTH]
        for row, (ids, on) in enumerate(zip(feed.ids, acting, strict=True))
        if None not in on
    }


def _agreed(known: Mapping[int, Ids], feed: Feed, n: int) -> Mapping[int, Ids]:
    """What the process that reads the store found there, in each process alike."""
    here = this_process()
    if here.count == 1:
        return known
    table = torch.zeros(len(feed.ids), 2 + n, dtype=torch.int64)  # known, length, tokens
    for row, ids in known.items():
        table[row, : 2 + len(ids)] = torch.tensor((1, len(ids), *ids))
    here.add_up(f"kept answers of {len(feed.ids)} prompts", table)
    rows = enumerate(table.tolist())
    return {row: tuple(of_row[2 : 2 + of_row[1]]) for row, of_row in rows if of_row[0]}


def _line(key: str, asked: int, ids: Sequence[int]) -> bytes:
    content = [key, asked, list(ids)]
    return _compact([*content, zlib.crc32(_compact(content))]) + b"\n"


def _key(line: bytes) -> str | None:
    """The key of a line; None where it is damaged."""
    value = _parsed(line)
    if not isinstance(value, list) or not value or not line.endswith(b"\n"):
        return None
    *content, checksum = value
    return content[0] if zlib.crc32(_compact(content)) == checksum else None


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
