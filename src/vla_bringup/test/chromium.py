"""Just enough of the Chrome DevTools Protocol to use a page as a person does: look, click, type."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1280,900", "--remote-debugging-port=0",
)  # fmt: skip


def find_chromium() -> str | None:
    """Path of the browser, None where there is none."""
    return next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)


class Browser:
    """Context manager: a headless browser that shows one page."""

    def __init__(self, program: str, url: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chromium_", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name, "stderr.txt")
        with self._log.open("wb") as log:
            command = [program, *FLAGS, f"--user-data-dir={self._folder.name}/profile", url]
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
        self._ids = 0
        self._url = url

    def __enter__(self) -> Browser:
        try:
            port = self.wait(self._port, "a debugging port")
            target = self.wait(lambda: self._target(port), "a page")
            self._socket: ClientConnection = connect(target, max_size=None, open_timeout=60)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=20)
        with suppress(ProcessLookupError):  # its helpers share its process group
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def _port(self) -> int | None:
        file = Path(self._folder.name, "profile", "DevToolsActivePort")
        lines = file.read_text().split() if file.exists() else []
        return int(lines[0]) if lines else None

    def _target(self, port: int) -> str | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            pages = json.load(answer)
        return next((str(p["webSocketDebuggerUrl"]) for p in pages if p["url"].startswith(self._url)), None)

    def wait(self, ready: Any, what: str, limit_s: float = 120.0) -> Any:
        """Poll `ready` until it returns something true; returns that."""
        deadline = time.monotonic() + limit_s
        while not (value := ready()):
            if self._process.poll() is not None:
                raise RuntimeError(f"the browser ended: {self._log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what} within {limit_s:g} s: {self._log.read_text()[-500:]}")
            time.sleep(0.1)
        return value

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._ids += 1
        self._socket.send(json.dumps({"id": self._ids, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=120))
            if message.get("id") == self._ids:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self) -> str:
        """All text that the page shows."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def click(self, find: str) -> None:
        """Press and release the mouse on the element that a JavaScript expression finds, once it has stopped moving: a
        page that is still being laid out would get the click elsewhere."""
        seen: list[Any] = [None]

        def settled() -> Any:
            place = self.evaluate(
                f"(() => {{ const e = {find}; if (!e) return null; e.scrollIntoView({{block: 'center'}});"
                " const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;"
                " return e.contains(document.elementFromPoint(x, y)) ? [x, y] : null; })()"
            )
            seen.append(place)
            return place if place is not None and seen[-2] == place else None

        box = self.wait(settled, find)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def button(self, label: str) -> None:
        """Click the button with this label."""
        self.click(f"[...document.querySelectorAll('button')].find(b => b.innerText.trim() === {json.dumps(label)})")

    def type(self, text: str) -> None:
        """Type into what has the focus, and wait until it is there."""
        self.send("Input.insertText", text=text)
        self.wait(lambda: self.evaluate("document.activeElement.value") == text, f"'{text}' in the focused field")

    def screenshot(self, path: Path) -> None:
        """Save what the page looks like as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))
