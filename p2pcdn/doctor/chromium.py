"""A headless Chromium, driven over its debugging pipe (Chrome DevTools Protocol).

JSON messages that end in a zero byte, in on descriptor 3 and out on descriptor 4: no port that
others could connect to, and no library.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from p2pcdn.errors import P2PCDNError

__all__ = ["BrowserError", "Chromium", "Tab", "find_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--window-size=1280,800",
)
_START_S = 30.0
_CALL_S = 30.0


class BrowserError(P2PCDNError):
    """The browser is missing, does not start, or does not do what it is told."""


def find_chromium(wanted: str | None = None) -> str:
    """The executable.

    Raises:
        BrowserError: There is none.
    """
    names = (wanted,) if wanted else _NAMES
    for name in names:
        if path := shutil.which(name):
            return path
    raise BrowserError(
        f"{wanted or 'Chromium'} was not found; install it (`apt-get install chromium`), or name "
        "one with --chromium"
    )


class Chromium:
    """The browser. Use as a context manager; its profile goes with it."""

    def __init__(self, executable: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="p2pcdn-doctor-"))
        self._numbers = 0
        self._unread = b""
        self.events: list[dict[str, Any]] = []
        """What the browser told without being asked, of errors in pages alone."""
        self._pid, self._in, self._out = _spawn(executable, self._folder)

    def tab(self) -> Tab:
        """A page in a context of its own: a visitor that shares nothing with another."""
        context = self.call("Target.createBrowserContext", timeout_s=_START_S)["browserContextId"]
        target = self.call(
            "Target.createTarget", {"url": "about:blank", "browserContextId": context}
        )["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        return Tab(self, str(session["sessionId"]))

    def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float = _CALL_S,
    ) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result."""
        self._numbers += 1
        number = self._numbers
        message: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session
        end = time.monotonic() + timeout_s
        try:
            data = json.dumps(message).encode() + b"\0"
            while data:
                data = data[os.write(self._in, data) :]
        except OSError as error:
            raise BrowserError(f"the browser is gone: {self._said()}") from error
        while True:
            answer = self._read(end, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error'].get('message')}")
                result = answer.get("result", {})
                return result if isinstance(result, dict) else {}
            if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.events.append(answer)

    def _read(self, end: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._unread:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._out], [], [], left)[0]:
                raise BrowserError(f"the browser does not answer ({method})")
            data = os.read(self._out, 1 << 16)
            if not data:
                raise BrowserError(f"the browser ended: {self._said()}")
            self._unread += data
        text, _, self._unread = self._unread.partition(b"\0")
        value = json.loads(text)
        return value if isinstance(value, dict) else {}

    def _said(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._folder / "log").read_text(errors="replace").strip().splitlines()
            return " ".join(lines[-2:])[-300:] or "it said nothing"
        return "it said nothing"

    def close(self) -> None:
        with contextlib.suppress(P2PCDNError):
            self.call("Browser.close", timeout_s=5)
        for descriptor in (self._in, self._out):
            os.close(descriptor)
        end = time.monotonic() + 5
        while os.waitpid(self._pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Tab:
    """One visitor's page."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._browser.call(method, params, session=self._session)

    def goto(self, url: str) -> None:
        """Open a page; does not wait for it.

        Raises:
            BrowserError: It cannot be opened.
        """
        failure = self.call("Page.navigate", {"url": url}).get("errorText")
        if failure:
            raise BrowserError(f"the browser cannot open {url}: {failure}")

    def eval(self, expression: str) -> Any:
        """The value of a JavaScript expression (JSON); None while the page is changing."""
        try:
            found = self.call(
                "Runtime.evaluate",
                {"expression": expression, "returnByValue": True, "awaitPromise": True},
            )
        except BrowserError as error:
            if "context" in str(error) or "navigated" in str(error):
                return None
            raise
        return None if "exceptionDetails" in found else found.get("result", {}).get("value")

    def wait_for(self, expression: str, wanted: Callable[[Any], Any], *, timeout_s: float) -> Any:
        """The first value of `expression` that is `wanted`, else the last one."""
        end = time.monotonic() + timeout_s
        while True:
            value = self.eval(expression)
            if wanted(value) or time.monotonic() > end:
                return value
            time.sleep(0.2)

    def complaints(self) -> list[str]:
        """Errors that the browser logged about this page."""
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            params = event.get("params", {})
            entry = params.get("entry", {})
            if entry.get("level") == "error":
                found.append(f"{entry.get('text', '')} {entry.get('url', '')}".strip())
            elif details := params.get("exceptionDetails"):
                thrown = details.get("exception", {}).get("description") or details.get("text", "")
                found.append(str(thrown).partition("\n")[0])
        return list(dict.fromkeys(found))


def _spawn(executable: str, folder: Path) -> tuple[int, int, int]:
    """Start the browser: its process id, and our ends of its two pipes."""
    flags = [*_FLAGS, f"--user-data-dir={folder / 'profile'}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium does not start as root otherwise
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    # Out of the way of 3 and 4, wherever the pipes came to lie.
    high = [fcntl.fcntl(d, fcntl.F_DUPFD_CLOEXEC, 10) for d in (theirs_in, theirs_out)]
    os.close(theirs_in)
    os.close(theirs_out)
    log = str(folder / "log")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT, 0o600),
        (os.POSIX_SPAWN_DUP2, high[0], 3),
        (os.POSIX_SPAWN_DUP2, high[1], 4),
    ]
    environment = {**os.environ, "HOME": str(folder)}
    try:
        pid = os.posix_spawn(
            executable,
            [executable, *flags, "about:blank"],
            environment,
            file_actions=actions,
            setpgroup=0,
        )
    except OSError as error:
        os.close(ours_in)
        os.close(ours_out)
        shutil.rmtree(folder, ignore_errors=True)
        raise BrowserError(f"{executable} does not start: {error.strerror}") from error
    finally:
        for descriptor in high:
            os.close(descriptor)
    return pid, ours_in, ours_out
