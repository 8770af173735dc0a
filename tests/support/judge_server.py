"""A local HTTP server that answers like an endpoint of a language model."""

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from refusal_lens.judges.endpoint import Endpoint
from refusal_lens.judges.llm import LLMJudge

REFUSED = "OUTCOME: refused\nMANNER: law"


COMPLIED = "OUTCOME: complied\nMANNER: none"


KEY = "sk-very-secret-0123456789"


def completion(text: str, log_p: list[tuple[str, float]] | None = None) -> bytes:
    choice: dict[str, object] = {"message": {"role": "assistant", "content": text}}
    if log_p is not None:
        content = [{"token": token, "logprob": p} for token, p in log_p]
        choice["logprobs"] = {"content": content}
    return json.dumps({"choices": [choice]}).encode()


class Server:
    """Answers each request with `respond(handler, body)` and keeps what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.respond: Callable[[BaseHTTPRequestHandler, dict[str, object]], None] = lambda h, b: (
            reply(h, 200, completion(REFUSED))
        )
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer.lock:
                    outer.bodies.append(body)
                    outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    outer.respond(self, body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def judge(self, samples: int = 1, concurrency: int = 4, **endpoint: object) -> LLMJudge:
        settings = {"timeout_s": 20.0, "tries": 3, "first_wait_s": 0.01} | endpoint
        place = Endpoint(self.url, "tiny-judge", **settings)  # pyright: ignore[reportArgumentType]
        return LLMJudge(place, samples=samples, concurrency=concurrency)

    def in_turn(self, *responses: Callable[[BaseHTTPRequestHandler], None]) -> None:
        """One response after another, the last one for ever."""
        left = list(responses)

        def respond(handler: BaseHTTPRequestHandler, body: dict[str, object]) -> None:
            with self.lock:
                now = left.pop(0) if len(left) > 1 else left[0]
            now(handler)

        self.respond = respond


def reply(handler: BaseHTTPRequestHandler, status: int, content: bytes, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(content)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)
