"""WebKitGTK through WebDriver, on a display of its own: the real browser without WebRTC."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from tests.browser.driver import (
    Browser,
    BrowserError,
    BrowserMissing,
    Note,
    Visitor,
    WaitTimeout,
    _expression,
)
from tests.servers.reaper import forget, kill_group, remember

__all__ = ["WebKitVisitor"]


class Display:
    """A virtual X display that ends with us."""

    def __init__(self) -> None:
        if shutil.which("Xvfb") is None:
            raise BrowserMissing("Xvfb is not installed: apt-get install xvfb")
        reader, writer = os.pipe()
        self._process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
            pass_fds=[writer],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        remember(self._process.pid)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            number = pipe.readline().strip()
        if not number:
            self.close()
            raise BrowserMissing("Xvfb did not start")
        self.name = f":{number}"

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        forget(self._process.pid)


def _mini_browser() -> str:
    for folder in sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*"), reverse=True):
        if (folder / "MiniBrowser").exists():
            return str(folder / "MiniBrowser")
    raise BrowserMissing("WebKitGTK's MiniBrowser is missing: apt-get install webkit2gtk-driver")


def _codecs() -> None:
    for plugin in ("isomp4", "libav"):
        if not list(Path("/usr/lib").glob(f"*/gstreamer-1.0/libgst{plugin}.so")):
            raise BrowserMissing(
                "WebKitGTK plays no MP4 here: "
                "apt-get install gstreamer1.0-plugins-good gstreamer1.0-libav"
            )


class WebKitVisitor(Visitor):
    """A WebKitGTK session: every visitor is a process with a fresh profile.

    It has no console to read; `errors` holds what `window.onerror` saw after the page loaded.
    """

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.webkitgtk.service import Service

        driver = shutil.which("WebKitWebDriver")
        if driver is None:
            raise BrowserMissing("WebKitGTK is not installed: apt-get install webkit2gtk-driver")
        _codecs()
        options = webdriver.WebKitGTKOptions()
        options.binary_location = _mini_browser()
        options.add_argument("--automation")
        self._folder = tempfile.mkdtemp(prefix="p2pcdn-webkit-")
        self._display = Display()
        environment = {
            **os.environ,
            "DISPLAY": self._display.name,
            "HOME": self._folder,
            "XDG_RUNTIME_DIR": self._folder,
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "GDK_BACKEND": "x11",
        }
        self.kind = "webkit"
        self.gone = False
        self._service = Service(
            driver, log_output=subprocess.DEVNULL, env=environment, popen_kw=_SESSION
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # selenium's of itself
                self._driver = webdriver.WebKitGTK(options=options, service=self._service)
        except WebDriverException as error:
            self._end()
            raise BrowserError(f"WebKitGTK did not start: {error.msg}") from error
        except BaseException:
            self._end()
            raise
        if self._pid is not None:
            remember(self._pid)
        self._driver.command_executor.client_config.timeout = 70
        version = self._driver.capabilities.get("browserVersion", "")
        self.browser = Browser("webkit", "webkit", self._pid, str(version))
        self._driver.set_script_timeout(60)

    @property
    def _pid(self) -> int | None:
        process = getattr(self._service, "process", None)
        return process.pid if process is not None else None

    def goto(self, url: str, *, wait: str = "load", timeout: float = 30) -> int | None:
        self._driver.set_page_load_timeout(timeout)
        self._guard(self._driver.get, url)
        self.eval(_CATCH_ERRORS)
        return None

    def reload(self, *, wait: str = "load", timeout: float = 30) -> None:
        self._guard(self._driver.refresh)
        self.eval(_CATCH_ERRORS)

    def eval(self, js: str, *arguments: Any, timeout: float = 60) -> Any:
        script = (
            "const done = arguments[arguments.length - 1];"
            "(async () => (" + _expression(js, arguments) + "))()"
            ".then(v => done({ok: v === undefined ? null : v}), e => done({error: String(e)}))"
        )
        reply = self._guard(self._driver.execute_async_script, script)
        if "error" in reply:
            raise BrowserError(reply["error"])
        return reply["ok"]

    def wait_for(self, js: str, *arguments: Any, timeout: float = 20) -> Any:
        end = time.monotonic() + timeout
        while True:
            if value := self.eval(js, *arguments):
                return value
            if time.monotonic() > end:
                raise WaitTimeout(f"not within {timeout:g} s: {js}\n  last value: {value!r}")
            time.sleep(0.06)

    def click(self, selector: str) -> None:
        self._guard(self._driver.find_element("css selector", selector).click)

    def screenshot(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._guard(self._driver.save_screenshot, str(path))

    def html(self) -> str:
        return str(self._guard(lambda: self._driver.page_source))

    def _notes(self, which: str) -> list[Note]:
        if which == "errors" and not self.gone:
            with contextlib.suppress(BrowserError):
                return [Note(text, "") for text in self.eval("window.__errors || []")]
        return []

    def _guard(self, call: Any, *arguments: Any) -> Any:
        from selenium.common.exceptions import TimeoutException, WebDriverException

        try:
            return call(*arguments)
        except TimeoutException as error:
            raise WaitTimeout(error.msg) from error
        except WebDriverException as error:
            raise BrowserError(error.msg) from error

    def close(self) -> None:
        if self.gone:
            return
        self.gone = True
        with contextlib.suppress(Exception):
            self._driver.quit()
        self._end()

    kill = close

    def _end(self) -> None:
        if (pid := self._pid) is not None:
            kill_group(pid)
            self._service.process.wait()
            forget(pid)
        with contextlib.suppress(Exception):
            self._service.stop()
        self._display.close()
        shutil.rmtree(self._folder, ignore_errors=True)


_SESSION = {"start_new_session": True}
_CATCH_ERRORS = """(() => {
  window.__errors = [];
  addEventListener("error", (event) => window.__errors.push(String(event.message)));
  addEventListener("unhandledrejection", (event) => window.__errors.push(String(event.reason)));
})()"""
