"""Real browsers, driven synchronously: Chromium and Firefox through puppeteer, WebKitGTK through
WebDriver.

    visitor = browsers.visitor("chromium")
    visitor.goto(site.url + "/watch/one")
    visitor.wait_for("document.querySelector('video').ended")

A *visitor* is a fresh browser context (own cookies, caches, service worker) with one page. JS
given to `eval` and `wait_for` is an expression; with arguments it is a function that takes them.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.reaper import forget, kill_group, remember

__all__ = ["BrowserError", "BrowserMissing", "Browsers", "Note", "Visitor", "WaitTimeout"]

HERE = Path(__file__).parent


_GIVEN_UP = "Failed to load \u2018\u2019. A ServiceWorker intercepted the request"
"""What Firefox says of a request that its own player gave up (a seek) before the worker's answer
was through: by then it has no URL to name. One that failed is named."""


class BrowserError(Exception):
    """The browser, or the page's script, answered with an error."""


class WaitTimeout(BrowserError):
    """A condition did not come true in time."""


class BrowserMissing(Exception):
    """A part that this test needs is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line of a page's console, an uncaught error, or a failed request."""

    text: str
    url: str


def find_browser(kind: str) -> str:
    """The executable of a stock browser.

    Raises:
        BrowserMissing: It is not installed.
    """
    names = {
        "chromium": ("chromium", "chromium-browser", "google-chrome"),
        "firefox": ("firefox-esr", "firefox"),
    }[kind]
    for name in names:
        if path := shutil.which(name):
            return path
    raise BrowserMissing(f"{kind} is not installed: apt-get install {names[0]}")


class Node:
    """The Node process that holds the browsers. Calls may come from several threads."""

    def __init__(self) -> None:
        node = shutil.which("node")
        if node is None:
            raise BrowserMissing("Node.js is not installed: apt-get install nodejs")
        if not (HERE / "node_modules" / "puppeteer-core").is_dir():
            raise BrowserMissing("puppeteer-core is missing: npm ci --prefix tests/browser")
        self.folder = tempfile.mkdtemp(prefix="p2pcdn-browsers-")
        environment = {**os.environ, "TMPDIR": self.folder, "HOME": self.folder}
        for kind in ("chromium", "firefox"):
            with contextlib.suppress(BrowserMissing):
                environment[f"TEST_{kind.upper()}"] = find_browser(kind)
        self.log = open(Path(self.folder) / "driver.log", "wb")  # noqa: SIM115
        # A session of its own: Ctrl-C ends pytest, which then ends the browsers in order.
        self.process = subprocess.Popen(
            [node, str(HERE / "driver.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            start_new_session=True,
        )
        remember(self.process.pid)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        atexit.register(self.close)

    def call(self, op: str, *, timeout: float = 60, **arguments: Any) -> Any:
        number = next(self._numbers)
        future: Future[Any] = Future()
        self._waiting[number] = future
        line = json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n"
        try:
            with self._lock:
                assert self.process.stdin is not None
                self.process.stdin.write(line)
                self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise BrowserError(f"the driver is gone: {self.tail()}") from error
        try:
            reply = future.result(timeout)
        except FutureTimeout:
            raise BrowserError(f"no answer to {op} within {timeout:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in reply:
            kind = WaitTimeout if reply.get("timeout") else BrowserError
            raise kind(reply["error"])
        return reply["ok"]

    def adopt(self, pid: int | None) -> None:
        """Remember a browser's process group, to be ended with us whatever happens."""
        if pid is not None:
            self._groups.add(pid)
            remember(pid)

    def tail(self) -> str:
        return Path(self.log.name).read_text(errors="replace")[-2000:]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            reply = json.loads(line)
            future = self._waiting.get(reply["id"])
            if future is not None and not future.done():
                future.set_result(reply)
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_result({"error": "the driver ended: " + self.tail()})

    def close(self) -> None:
        atexit.unregister(self.close)
        if self.log.closed:
            return
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            kill_group(self.process.pid)
            self.process.wait()
        for group in self._groups:
            kill_group(group)
            forget(group)
        forget(self.process.pid)
        self._reader.join(5)
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Browser:
    """A running browser process."""

    kind: str
    name: str
    pid: int | None
    version: str


class Browsers:
    """Starts each browser when it is first asked for, and ends them all."""

    def __init__(self) -> None:
        self._node: Node | None = None
        self._shared: dict[tuple[Any, ...], Browser] = {}

    @property
    def node(self) -> Node:
        if self._node is None:
            self._node = Node()
        return self._node

    def launch(
        self,
        kind: str = "chromium",
        *,
        flags: tuple[str, ...] = (),
        prefs: dict[str, Any] | None = None,
    ) -> Browser:
        """A new browser process of one's own. `prefs` are Firefox's."""
        find_browser(kind)
        reply = self.node.call(
            "launch", browser=_product(kind), args=list(flags), prefs=prefs or {}, headless=True
        )
        self.node.adopt(reply["pid"])
        return Browser(kind, reply["name"], reply["pid"], reply["version"])

    def visitor(
        self,
        kind: str = "chromium",
        *,
        flags: tuple[str, ...] = (),
        prefs: dict[str, Any] | None = None,
        javascript: bool = True,
        scripts: tuple[str, ...] = (),
        own_process: bool = False,
    ) -> Visitor:
        """A fresh visitor.

        Args:
            kind: "chromium", "firefox" or "webkit".
            flags: More command line flags; visitors with equal flags share one browser process.
            prefs: Firefox preferences, likewise.
            javascript: Off for a visitor who has none.
            scripts: Run in every page before the site's own scripts.
            own_process: A browser process of its own, which `kill` then kills.
        """
        if kind == "webkit":
            from tests.browser.webkit import WebKitVisitor

            if flags or prefs or scripts or not javascript:
                raise ValueError("WebKitGTK's driver takes none of these options")
            return WebKitVisitor()
        if kind == "firefox" and not javascript:
            # Its remote protocol has no switch for one page.
            prefs, javascript = {**(prefs or {}), "javascript.enabled": False}, True
        key = (kind, flags, json.dumps(prefs, sort_keys=True))
        if own_process:
            browser = self.launch(kind, flags=flags, prefs=prefs)
        else:
            if key not in self._shared:
                self._shared[key] = self.launch(kind, flags=flags, prefs=prefs)
            browser = self._shared[key]
        try:
            return self._visitor(browser, javascript, scripts, own_process)
        except BrowserError:
            if own_process:
                raise
            self._shared[key] = browser = self.launch(kind, flags=flags, prefs=prefs)
            return self._visitor(browser, javascript, scripts, own_process)

    def _visitor(
        self, browser: Browser, javascript: bool, scripts: tuple[str, ...], own: bool
    ) -> Visitor:
        name = self.node.call(
            "visitor", browser=browser.name, javascript=javascript, scripts=list(scripts)
        )
        return Visitor(self.node, browser, name, own_process=own)

    @contextlib.contextmanager
    def traced(self, browser: Browser, path: Path, categories: Iterable[str]) -> Iterator[None]:
        """Trace a Chromium process into a JSON file, which is there afterwards."""
        asked = ["-*", *categories]
        self.node.call("trace", browser=browser.name, path=str(path), categories=asked)
        try:
            yield
        finally:
            self.node.call("traced", browser=browser.name, timeout=120)

    def close(self) -> None:
        self._shared.clear()
        if self._node is not None:
            self._node.close()
            self._node = None


def _product(kind: str) -> str:
    return {"chromium": "chrome", "firefox": "firefox"}[kind]


class Visitor:
    """One visitor's page."""

    def __init__(self, node: Node, browser: Browser, name: str, *, own_process: bool) -> None:
        self._node, self.browser, self._name = node, browser, name
        self._own_process = own_process
        self.kind = browser.kind
        self.gone = False
        self._last: dict[str, list[Note]] = {"console": [], "errors": [], "failed": []}

    def _call(self, op: str, **arguments: Any) -> Any:
        return self._node.call(op, visitor=self._name, **arguments)

    def goto(self, url: str, *, wait: str = "domcontentloaded", timeout: float = 30) -> int | None:
        """Open a page; returns its HTTP status. `wait`: "domcontentloaded" or "load"."""
        reply = self._call("goto", url=url, wait=wait, within=timeout * 1000, timeout=timeout + 10)
        return reply["status"]  # type: ignore[no-any-return]

    def reload(self, *, wait: str = "domcontentloaded", timeout: float = 30) -> None:
        self._call("reload", wait=wait, within=timeout * 1000, timeout=timeout + 10)

    def eval(self, js: str, *arguments: Any, timeout: float = 60) -> Any:
        """The value of an expression (promises are awaited), or of a function of arguments."""
        return self._call("eval", js=_expression(js, arguments), timeout=timeout)

    def wait_for(self, js: str, *arguments: Any, timeout: float = 20) -> Any:
        """Wait until the expression is truthy; returns its value.

        Raises:
            WaitTimeout: It never was; the message has its last value and the console's end.
        """
        try:
            return self._call(
                "wait_for",
                js=_expression(js, arguments),
                within=timeout * 1000,
                timeout=timeout + 30,
            )
        except WaitTimeout as error:
            tail = "\n  ".join(note.text for note in (self.errors + self.console)[-15:])
            raise WaitTimeout(f"not within {timeout:g} s: {js}\n  {error}\n  {tail}") from None

    def click(self, selector: str) -> None:
        self._call("click", selector=selector)

    def screenshot(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._call("screenshot", path=str(path))

    def viewport(
        self, width: int, height: int, *, dark: bool = False, mobile: bool = False
    ) -> None:
        self._call("viewport", width=width, height=height, dark=dark, mobile=mobile)

    def html(self) -> str:
        return self._call("content")  # type: ignore[no-any-return]

    def offline(self, on: bool = True) -> None:
        self._call("offline", on=on)

    def headers(self, headers: dict[str, str]) -> None:
        """Send these headers with every request of the page, e.g. Save-Data."""
        self._call("headers", headers=headers)

    def stop_workers(self) -> None:
        """End the service workers, as a browser does with idle ones (Chromium only)."""
        self._call("stop_workers")

    def metrics(self) -> dict[str, float]:
        return self._call("metrics")  # type: ignore[no-any-return]

    def cdp(self, method: str, *, lasting: bool = False, **params: Any) -> Any:
        """A raw call of Chromium's DevTools protocol; `lasting`: its effect outlives the call."""
        return self._call("cdp", method=method, params=params, lasting=lasting)

    def tab(self, *, scripts: tuple[str, ...] = ()) -> Visitor:
        """A second page of the same visitor."""
        name = self._call("tab", scripts=list(scripts))
        return Visitor(self._node, self.browser, name, own_process=False)

    @property
    def console(self) -> list[Note]:
        return self._notes("console")

    @property
    def errors(self) -> list[Note]:
        """Uncaught errors of the page."""
        return [note for note in self._notes("errors") if _GIVEN_UP not in note.text]

    @property
    def failed(self) -> list[Note]:
        """Requests of the page that failed on the network."""
        return self._notes("failed")

    def _notes(self, which: str) -> list[Note]:
        if not self.gone:
            with contextlib.suppress(BrowserError):
                for name, notes in self._call("notes").items():
                    self._last[name] = [Note(n["text"], n.get("url") or "") for n in notes]
        return self._last[which]

    def close(self) -> None:
        """Leave as a visitor does who closes the tab."""
        if self.gone:
            return
        _ = self.console
        self.gone = True
        with contextlib.suppress(BrowserError):
            self._call("close", timeout=20)
        if self._own_process:
            with contextlib.suppress(BrowserError):
                self._node.call("quit", browser=self.browser.name, timeout=20)

    def kill(self) -> None:
        """Vanish without a goodbye: Chromium's renderer crashes, Firefox (only with
        `own_process`) is killed."""
        _ = self.console
        if self._own_process and self.browser.pid is not None:
            kill_group(self.browser.pid)
        elif self.kind == "chromium":
            self._call("crash", timeout=20)
            with contextlib.suppress(BrowserError):
                self._call("close", timeout=20)
        else:
            raise ValueError("killing a Firefox visitor needs own_process=True")
        self.gone = True


def _expression(js: str, arguments: tuple[Any, ...]) -> str:
    if not arguments:
        return js
    return f"({js})({', '.join(json.dumps(argument) for argument in arguments)})"
