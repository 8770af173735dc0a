"""The page's server: what is asked goes to the queue, what it tells comes back line by line.

For this machine alone: other names of the host are refused, so that no page of another site can
reach it under one, and questions must come as JSON, which another site's page can't send.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.responses import StreamingResponse as Streaming
from starlette.routing import Route

from refusal_lens.errors import InputError
from refusal_lens.explorer.question import read_question
from refusal_lens.explorer.question_queue import QuestionQueue, Ticket
from refusal_lens.explorer.views import TEMPLATES, page_html
from refusal_lens.plots.titles import names_of

HOSTS: Final = ("127.0.0.1", "localhost")
MOST_BYTES: Final = 65_536
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:* vscode-webview:",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_LAST: Final = ("done", "error")


def make_app(
    queue: QuestionQueue, *, report: Path | None = None, run: str | None = None
) -> Starlette:
    """The page over a queue; `report` is a run's report, served beside it once it is there."""
    pages = _Pages(queue, report, run)
    routes = [
        Route("/", pages.page),
        Route("/page.css", pages.file("page.css", "text/css")),
        Route("/page.js", pages.file("page.js", "text/javascript")),
        Route("/report", pages.report),
        Route("/ask", pages.ask, methods=["POST"]),
        Route("/stop/{ticket}", pages.stop, methods=["POST"]),
    ]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[*HOSTS], www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts])


@final
class _Pages:
    """The answers to each kind of request."""

    def __init__(self, queue: QuestionQueue, report: Path | None, run: str | None) -> None:
        self._queue = queue
        self._report = report
        self._run = run
        self._tickets: dict[str, Ticket] = {}

    async def page(self, request: Request) -> Response:
        """The page itself."""
        del request
        queue = self._queue
        name, _ = names_of(None, queue.model.provenance(), None)
        there = self._report is not None and self._report.is_file()
        html = page_html(name, queue.choices, queue.layer, report=there, run=self._run)
        return HTMLResponse(html, headers=_HEADERS)

    def file(self, name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
        """A file that the page needs."""

        async def give(request: Request) -> Response:
            del request
            return FileResponse(TEMPLATES / name, media_type=kind, headers=_HEADERS)

        return give

    async def report(self, request: Request) -> Response:
        """The report of the run; it carries a content security policy of its own."""
        del request
        if self._report is None or not self._report.is_file():
            return _refused("there is no report of this run", 404)
        return FileResponse(self._report, media_type="text/html")

    async def ask(self, request: Request) -> Response:
        """Take a question; its events as lines of JSON."""
        if not _is_json(request):
            return _refused("a question must come as application/json", 415)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                return _refused(f"the question is longer than {MOST_BYTES:,} bytes", 413)
        events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(event: Mapping[str, Any]) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        try:
            ticket = self._queue.submit(read_question(bytes(body)), tell)
        except InputError as error:
            return _refused(str(error), 422)
        key = secrets.token_hex(8)
        self._tickets[key] = ticket
        lines = self._lines(key, ticket, events)
        return Streaming(lines, media_type="application/x-ndjson", headers=_HEADERS)

    async def _lines(
        self, key: str, ticket: Ticket, events: asyncio.Queue[Mapping[str, Any]]
    ) -> AsyncIterator[bytes]:
        """Events until the last; a page that is closed stops its question."""
        try:
            yield _line({"kind": "ticket", "id": key})
            while True:
                event = await events.get()
                yield _line(event)
                if event["kind"] in _LAST:
                    return
        finally:
            ticket.stop()
            self._tickets.pop(key, None)

    async def stop(self, request: Request) -> Response:
        """Stop a question."""
        if not _is_json(request):
            return _refused("a stop must come as application/json", 415)
        ticket = self._tickets.get(request.path_params["ticket"])
        if ticket is not None:
            ticket.stop()
        return JSONResponse({"stopped": ticket is not None}, headers=_HEADERS)


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip() == "application/json"


def _refused(message: str, status: int) -> Response:
    return JSONResponse({"message": message}, status_code=status, headers=_HEADERS)


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"
