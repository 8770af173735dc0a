"""Sets of directions on the hub, against a stand-in that speaks the hub's HTTP API."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest
import torch

from refusal_lens.directions import DirectionSet, fit_mean_difference
from refusal_lens.directions.hub import card_of
from refusal_lens.errors import InputError

TOKEN = "hf_stand_in"
NOBODY = "http://127.0.0.1:9"


class Hub(BaseHTTPRequestHandler):
    """Repositories as lists of commits; a commit is all files by name."""

    repos: dict[str, list[dict[str, bytes]]]
    writers: set[str]
    asked: list[str]

    def log_message(self, *args):
        pass

    def answer(self, status, value=None, headers=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send(status, body, {"Content-Type": "application/json"} | (headers or {}))

    def send(self, status, body, headers):
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def do_POST(self):
        body = self.body()
        self.asked.append(f"POST {self.path}")
        if not self.token():
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"warnings": [], "errors": []})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if self.token() not in self.writers:
                return self.answer(403, {"error": "no right to write"})
            known = name in self.repos
            self.repos.setdefault(name, [{}])
            return self.answer(
                409 if known else 200, {"url": f"http://{self.headers['Host']}/{name}"}
            )
        if match := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            commits = self.repos[match[1]]
            files = dict(commits[-1])
            for line in body.splitlines():
                row = json.loads(line)
                if row["key"] == "file":
                    assert row["value"]["encoding"] == "base64"
                    files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            commits.append(files)
            n = f"{len(commits) - 1:040x}"
            url = f"http://{self.headers['Host']}/{match[1]}/commit/{n}"
            return self.answer(200, {"commitUrl": url, "commitOid": n})
        return self.answer(404, {"error": self.path})

    def do_GET(self):
        self.asked.append(f"{self.command} {self.path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.*)?", self.path):
            if match[1] not in self.repos:
                return self.missing("RepoNotFound", 401)
            n = len(self.repos[match[1]]) - 1
            return self.answer(200, {"id": match[1], "sha": f"{n:040x}", "siblings": []})
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            name, revision, file = match.groups()
            if name not in self.repos:
                return self.missing("RepoNotFound", 401)
            commits = self.repos[name]
            n = len(commits) - 1 if revision == "main" else int(revision, 16)
            if n >= len(commits):
                return self.missing("RevisionNotFound", 404)
            if file not in commits[n]:
                return self.missing("EntryNotFound", 404, {"X-Repo-Commit": f"{n:040x}"})
            content = commits[n][file]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            return self.send(200, content, {"X-Repo-Commit": f"{n:040x}", "ETag": etag})
        return self.answer(404, {"error": self.path})

    do_HEAD = do_GET

    def missing(self, code, status, headers=None):
        self.answer(status, {"error": code}, {"X-Error-Code": code} | (headers or {}))


def at(monkeypatch, address):
    """What HF_ENDPOINT sets when the library is imported."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's retries


@pytest.fixture
def hub(monkeypatch, tmp_path):
    handler = type("Handler", (Hub,), {"repos": {}, "writers": {TOKEN}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    at(monkeypatch, address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def directions(tiny_llama, three_categories):
    return fit_mean_difference(tiny_llama.residual_stats(three_categories))


def test_what_is_pushed_comes_back(hub, directions):
    address = directions.push_to_hub("me/set", token=TOKEN)
    assert address.endswith(f"/me/set/commit/{1:040x}")
    assert set(hub.repos["me/set"][1]) == {
        "README.md",
        "directions.json",
        "directions.safetensors",
    }
    pulled = DirectionSet.from_hub("me/set")
    assert torch.equal(pulled.vectors.nan_to_num(), directions.vectors.nan_to_num())
    assert pulled.provenance == directions.provenance and pulled.sites == directions.sites
    assert hub.repos["me/set"][1]["README.md"].decode() == card_of(directions, "me/set")


def test_an_earlier_revision_comes_back(hub, directions, tiny_llama, three_categories):
    directions.push_to_hub("me/set", token=TOKEN)
    few = fit_mean_difference(tiny_llama.residual_stats(three_categories.only(category="red")))
    few.push_to_hub("me/set", token=TOKEN)
    assert DirectionSet.from_hub("me/set").categories == ("red",)
    old = DirectionSet.from_hub("me/set", revision=f"{1:040x}")
    assert old.categories == directions.categories


def test_the_card_says_what_it_is(directions):
    card, p = card_of(directions, "me/set"), directions.provenance
    for words in (p.model, p.model_digest[:12], p.prompts_digest[:12], "research", "me/set"):
        assert words in card
    for category in directions.categories:
        assert f"| `{category}` | 5 | 5 |" in card
    assert str(directions.sites[-1]) in card and directions.method in card


@pytest.mark.parametrize(
    ("token", "name", "message"),
    [
        (None, "me/set", "the hub wants a token for 'me/set'; log in with `hf auth login`"),
        ("hf_reader", "me/set", "this token may not write to 'me/set'"),
        (TOKEN, "me/set/more", "'me/set/more' is no hub id"),
    ],
)
def test_what_can_not_be_pushed_is_one_line(hub, directions, token, name, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        directions.push_to_hub(name, token=token)
    assert "\n" not in str(caught.value) and not hub.repos


def test_what_can_not_be_pulled_is_one_line(hub, directions):
    directions.push_to_hub("me/set", token=TOKEN)
    hub.repos["me/other"] = [{"README.md": b"a model"}]
    for name, revision, message in (
        ("me/nothing", None, "'me/nothing' is not on the hub, or is private"),
        ("me/set", f"{9:040x}", f"'me/set' has no revision '{9:040x}'"),
        ("me/other", None, "'me/other' holds no set of directions; expected ['directions.json'"),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            DirectionSet.from_hub(name, revision=revision)
        assert "\n" not in str(caught.value)


def test_without_a_connection_it_says_so(hub, directions, monkeypatch):
    at(monkeypatch, NOBODY)
    with pytest.raises(InputError, match="the hub can't be reached for 'me/set'"):
        DirectionSet.from_hub("me/set")
    with pytest.raises(InputError, match="the hub can't be reached for 'me/set'"):
        directions.push_to_hub("me/set", token=TOKEN)


def test_a_set_in_the_cache_needs_no_connection(hub, directions, monkeypatch):
    directions.push_to_hub("me/set", token=TOKEN)
    DirectionSet.from_hub("me/set")
    at(monkeypatch, NOBODY)
    assert DirectionSet.from_hub("me/set").categories == directions.categories


def test_a_damaged_set_is_refused(hub, directions):
    directions.push_to_hub("me/set", token=TOKEN)
    hub.repos["me/set"][1]["directions.safetensors"] += b"\0"
    with pytest.raises(InputError, match="does not match the digest"):
        DirectionSet.from_hub("me/set")
