"""A headless Chromium with one tab, driven over its debugging pipe."""

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "End": (35, "")} | {
    "ArrowRight": (39, ""),
    "ArrowLeft": (37, ""),
    "ArrowDown": (40, ""),
}
CTRL = 2


def chromium() -> str | None:
    """The browser's command, if this machine has one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """A page in a browser of its own; `requests` are addresses asked for, `problems` failures."""

    def __init__(self, folder: Path, size: tuple[int, int] = (1280, 900)) -> None:
        to_browser, ours = os.pipe()
        theirs, from_browser = os.pipe()
        command = (
            f"exec {chromium()} --headless=new --no-sandbox --disable-gpu --no-first-run "
            f"--disable-background-networking --user-data-dir={folder} --remote-debugging-pipe "
            f"about:blank 3<&{to_browser} 4>&{from_browser}"
        )
        self.process = subprocess.Popen(
            ["bash", "-c", command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._out = os.fdopen(ours, "wb", buffering=0)
        self._replies: queue.Queue[dict[str, Any]] = queue.Queue()
        self.requests: list[str] = []
        self.problems: list[str] = []
        self._n, self._session = 0, ""
        threading.Thread(target=self._read, args=(os.fdopen(theirs, "rb"),), daemon=True).start()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.resize(*size)

    def _read(self, pipe: Any) -> None:
        rest = b""
        while chunk := pipe.read1(65536):
            *whole, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, whole):
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if "id" in message:
            self._replies.put(message)
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        self._n += 1
        message: dict[str, Any] = {"id": self._n, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while (reply := self._replies.get(timeout=240))["id"] != self._n:
            pass
        assert "error" not in reply, reply
        return reply["result"]

    def open(self, address: str) -> None:
        """Go there and wait until the page is there."""
        self.send("Page.navigate", url=address)
        self.until(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def js(self, code: str) -> Any:
        """The value of an expression in the page."""
        evaluation = self.send("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in evaluation, evaluation
        return evaluation["result"].get("value")

    def until(self, code: str, seconds: float = 240) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(code):
            assert time.monotonic() < end, (code, self.js("document.body.innerText"))
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """A click of the mouse on the middle of an element."""
        where = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{where}.scrollIntoView({{block: 'center'}})")
        box = self.js(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"({where}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            mouse = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, **mouse)

    def type(self, text: str) -> None:
        """Text, typed into what has the focus."""
        self.send("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key, pressed and let go."""
        code, text = KEYS[key]
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        typed = {"text": text} if text and not modifiers else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **pressed, **typed)
        self.send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def resize(self, width: int, height: int) -> None:
        """The window's size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Emulation.setScrollbarsHidden", hidden=True)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        self.process.terminate()
        self.process.wait(timeout=60)
        self._out.close()
