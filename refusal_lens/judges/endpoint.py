"""Asking an OpenAI-compatible chat endpoint: timeouts, retries, and what its replies hold."""

import json
import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, final

import httpx

from refusal_lens.errors import InputError, printable

LONGEST_WAIT_S: Final = 120.0
MOST_FAILURES: Final = 20
_MOST_BYTES: Final = 4_000_000
_Response = tuple[int, Mapping[str, str], bytes]
_RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_OF_THIS_ROW: Final = frozenset({400, 413, 422})
_OPTIONAL: Final = ("logprobs", "seed", "top_p", "temperature", "max_tokens")
_REASONING: Final = "</think>"
_LIMITS: Final = httpx.Limits(max_connections=None)


class EndpointFailure(Exception):
    """No usable reply to one request after all tries; the text says why."""


@final
@dataclass(frozen=True)
class Endpoint:
    """Where a judge model answers: vLLM, llama.cpp's server or a service.

    Attributes:
        url: Base address up to and including ``/v1``.
        model: Name of the model there.
        key_variable: Environment variable with the key; without a value no key is sent. The key
            itself is never stored, shown or recorded.
        timeout_s: Seconds for one whole reply, not only between two of its bytes.
        tries: How often a request is sent before it counts as failed.
        first_wait_s: Seconds before the second try; doubled each time, at most two minutes, and
            overruled by the server's ``Retry-After``.
    """

    url: str
    model: str
    key_variable: str = "REFUSAL_LENS_JUDGE_KEY"
    timeout_s: float = 120.0
    tries: int = 4
    first_wait_s: float = 1.0

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            raise InputError("the judge's address is no URL; give http://HOST:PORT/v1") from None
        if url.userinfo:
            raise InputError(
                "the judge's address holds a user name or password, which would be recorded; put "
                f"the key into the environment variable {self.key_variable} instead"
            )
        if url.scheme not in ("http", "https") or not url.host:
            raise InputError(f"the judge's address is {self.url!r}; expected http://HOST:PORT/v1")
        if not self.model:
            raise InputError("the judge's model has no name; give the name the server lists it by")
        if self.timeout_s <= 0 or self.tries < 1 or self.first_wait_s < 0:
            raise InputError(
                f"timeout_s {self.timeout_s}, tries {self.tries}, first_wait_s "
                f"{self.first_wait_s}: expected above 0, at least 1, and at least 0"
            )


@final
@dataclass(frozen=True)
class Sample:
    """One reply: its text and the mean log-probability (nats) of its tokens behind any reasoning.

    `mean_log_p` is None where the server gives none.
    """

    text: str
    mean_log_p: float | None


@final
@dataclass
class ChatClient:
    """Sends chat requests to one endpoint; may be used by several threads at once.

    `not_accepted` are the optional request fields this server turned out not to accept. After
    `MOST_FAILURES` requests failed one after another, no further one is sent.
    """

    endpoint: Endpoint
    not_accepted: set[str] = field(default_factory=set[str])
    _stopped: threading.Event = field(default_factory=threading.Event)
    _failed_in_a_row: int = 0

    def __post_init__(self) -> None:
        self._key = _key(self.endpoint)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(
            headers=headers, timeout=self.endpoint.timeout_s, limits=_LIMITS
        )
        self._url = self.endpoint.url.rstrip("/") + "/chat/completions"

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """End waits between tries; no further request is sent."""
        self._stopped.set()

    def ask(self, message: str, options: Mapping[str, Any]) -> Sample:
        """The reply to one message.

        Raises:
            EndpointFailure: no usable reply to this message after all tries.
            InputError: what no further try can mend: a wrong key, model or address.
        """
        if self._failed_in_a_row >= MOST_FAILURES:
            raise EndpointFailure(f"not asked, {MOST_FAILURES} requests before it had failed")
        try:
            sample = self._ask(message, options)
        except EndpointFailure:
            self._failed_in_a_row += 1
            raise
        self._failed_in_a_row = 0
        return sample

    def _ask(self, message: str, options: Mapping[str, Any]) -> Sample:
        why, asked_wait = "", None
        for attempt in range(self.endpoint.tries):
            if self._stopped.wait(self._wait(attempt, asked_wait)):
                raise EndpointFailure("stopped")
            asked_wait = None
            try:
                status, headers, content = self._post(message, options)
                if status == 200:
                    return _sample(content)
                why = self._complaint(status, content)
                asked_wait = _retry_after(headers)
            except httpx.TimeoutException:
                why = f"no whole reply within {self.endpoint.timeout_s:g} s"
            except httpx.HTTPError as error:
                why = f"{type(error).__name__}, {self._shown(str(error))}"
            except _Unusable as error:
                why = str(error)
        raise EndpointFailure(f"{why} (tried {self.endpoint.tries} times)")

    def _post(self, message: str, options: Mapping[str, Any]) -> _Response:
        """Status, headers and body, the body again without fields the server does not know."""
        while True:
            body = self._body(message, options)
            status, headers, content = self._send(body)
            if status not in _OF_THIS_ROW:
                return status, headers, content
            reply = content.decode(errors="replace").lower()
            unknown = [name for name in _OPTIONAL if name in reply and name in body]
            if not unknown:
                raise EndpointFailure(f"HTTP {status}: {self._shown(reply)}")
            self.not_accepted.add(unknown[0])

    def _body(self, message: str, options: Mapping[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": message}],
        }
        for name, value in options.items():
            if name not in self.not_accepted:
                body[name] = value
            elif name == "max_tokens":  # the name that newer services have for it
                body["max_completion_tokens"] = value
        return body

    def _send(self, body: Mapping[str, Any]) -> _Response:
        # Read piece by piece: httpx's timeout holds between two pieces, so that a server that
        # sends a byte now and then would never time out.
        deadline = time.monotonic() + self.endpoint.timeout_s
        content = bytearray()
        with self._client.stream("POST", self._url, json=body) as response:
            for piece in response.iter_bytes():
                content += piece
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the reply did not end in time")
                if len(content) > _MOST_BYTES:
                    raise _Unusable(f"a reply of more than {_MOST_BYTES} bytes")
        return response.status_code, response.headers, bytes(content)

    def _complaint(self, status: int, content: bytes) -> str:
        """What a status that is not 200 says; an error at once where no try can help."""
        at = f"the judge at {self.endpoint.url}"
        if status in (401, 403):
            sent = "was not accepted" if self._key else "is missing"
            raise InputError(
                f"{at} answers HTTP {status}: the key {sent}; set the environment variable "
                f"{self.endpoint.key_variable}"
            )
        if status not in _RETRIED:
            reply = self._shown(content.decode(errors="replace"))
            raise InputError(
                f"{at} answers HTTP {status} for model {self.endpoint.model!r}: {reply}; "
                "check address (it ends in /v1) and model name"
            )
        return f"HTTP {status}"

    def _shown(self, text: str) -> str:
        """The start of a server's text on one line, the key cut out of it."""
        text = text.replace(self._key, "[key]") if self._key else text
        return " ".join(printable(text).split())[:160] or "no text"

    def _wait(self, attempt: int, asked: float | None) -> float:
        """Seconds before a try: none before the first, then what the server asked for, or more."""
        if attempt == 0 or asked is not None:
            return asked or 0.0
        longest = min(self.endpoint.first_wait_s * 2 ** (attempt - 1), LONGEST_WAIT_S)
        return longest * random.uniform(0.5, 1.0)


class _Unusable(Exception):
    """A reply that came but can't be used."""


def _key(endpoint: Endpoint) -> str:
    key = os.environ.get(endpoint.key_variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"the key in the environment variable {endpoint.key_variable} holds characters that "
            "can't be sent; set it again"
        )
    return key


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait (a number or a date), at most two minutes."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if seconds == seconds else None


def _sample(content: bytes) -> Sample:
    try:
        choice: Any = json.loads(content)["choices"][0]
        message = choice["message"]
        text = message.get("content") or message.get("refusal") or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _Unusable("a reply that is no chat completion in JSON") from None
    if not isinstance(text, str):
        raise _Unusable("a reply whose content is no text")
    return Sample(text, _mean_log_p(choice))


def _mean_log_p(choice: Any) -> float | None:
    """Mean log-probability of the tokens behind the reasoning, None where they are not given."""
    try:
        tokens = [(str(t["token"]), float(t["logprob"])) for t in choice["logprobs"]["content"]]
    except (LookupError, TypeError, ValueError):
        return None
    whole = ""
    after: list[float] = []
    for token, log_p in tokens:
        whole += token
        after.append(log_p)
        if whole.endswith(_REASONING):
            after = []
    finite = [x for x in after if x == x and x <= 0]
    return sum(finite) / len(finite) if finite and len(finite) == len(after) else None
