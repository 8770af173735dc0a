"""An explorer that runs: its server in a thread, on the loopback interface alone."""

import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from threading import Thread
from typing import Final, final

import uvicorn

from refusal_lens.errors import InputError, reason_of
from refusal_lens.explorer.app import make_app
from refusal_lens.explorer.question_queue import QuestionQueue

ADDRESS: Final = "127.0.0.1"
_STARTS_WITHIN_S: Final = 30.0
_ENDS_WITHIN_S: Final = 3


@final
class Explorer:
    """The page of a model, open until `stop`, or until its `with` block ends.

    A notebook shows it in a frame; in a browser it is at `url`. While a question is being answered
    the model is in use: work with it in a cell within `paused`.
    """

    def __init__(
        self,
        queue: QuestionQueue,
        *,
        port: int = 0,
        report: Path | None = None,
        run: str | None = None,
    ) -> None:
        self._queue = queue
        self._socket = _bound(port)
        self.url = f"http://{ADDRESS}:{self._socket.getsockname()[1]}/"
        config = uvicorn.Config(
            make_app(queue, report=report, run=run),
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_ENDS_WITHIN_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name="explorer-server",
            daemon=True,
        )
        self._thread.start()
        until = time.monotonic() + _STARTS_WITHIN_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.02)

    def stop(self) -> None:
        """End every question and the server; the model stays."""
        self._queue.close()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def wait(self) -> None:
        """Return when the server has ended, or raise KeyboardInterrupt."""
        while self._thread.is_alive():
            self._thread.join(1.0)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Within this context the page waits, and the model is the notebook's alone."""
        with self._queue.paused():
            yield

    def __enter__(self) -> "Explorer":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Explorer({self._queue.model.name}, {self.url})"

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        name = escape(self._queue.model.name)
        return (
            f'<p><a href="{self.url}" target="_blank" rel="noopener">Open in a tab of its own</a>'
            f'</p><iframe src="{self.url}" title="Explore {name}" width="100%" height="900" '
            'style="border:1px solid #d8dee4"></iframe>'
        )


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((ADDRESS, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise InputError(
            f"port {port} of {ADDRESS} can't be used ({reason_of(error)}); give another, or 0 for "
            "any that is free"
        ) from None
    return made
