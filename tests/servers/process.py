"""A real server process: started on a free port, awaited, logged, and ended with its children."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.browser.driver import BrowserMissing as Missing
from tests.servers.reaper import forget, kill_group, remember

__all__ = ["Missing", "Server", "ServerError", "environment", "free_port", "program"]

ROOT = Path(__file__).parents[2]


class ServerError(Exception):
    """A server did not start; the message ends with its log."""


def free_port() -> int:
    """A port nobody listens on, below the range that outgoing connections are given."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def program(name: str, package: str | None = None) -> str:
    """The path of an installed program.

    Raises:
        Missing: It is not installed.
    """
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return str(beside)
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise Missing(f"{name} is not installed: apt-get install {package or name}")
    return path


def environment(data_dir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a site under test: no setting of ours leaks in from outside."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("P2PCDN_")}
    return {
        **clean,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "P2PCDN_DATA_DIR": str(data_dir),
        "P2PCDN_ICE_SERVERS": "[]",
        **(extra or {}),
    }


class Server:
    """A server process in its own process group, with its own temporary folder.

    Use as a context manager. `port` stays the same when it is stopped and started again.
    """

    name = "server"
    start_timeout_s = 40.0

    def __init__(self, *, env: Mapping[str, str] | None = None, port: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"p2pcdn-{self.name}-"))
        self.data_dir = self.folder / "data"
        self.env = environment(self.data_dir, env)
        self.port = port or free_port()
        self._fixed = port is not None
        self.log_path = self.folder / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def start(self) -> Self:
        for attempt in range(3):
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(
                    self.command(),
                    cwd=self.folder,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            remember(self.process.pid)
            try:
                self._wait()
                return self
            except ServerError:
                self.kill()
                taken = "in use" in self.log().lower()
                if self._fixed or not taken or attempt == 2:
                    raise
                self.port = free_port()
        raise AssertionError("unreachable")

    def ready(self) -> bool:
        """Whether it answers: any HTTP answer will do."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            with contextlib.closing(connection):
                connection.request("GET", "/", headers={"User-Agent": "readiness"})
                return connection.getresponse().status < 600
        except (OSError, http.client.HTTPException):
            return False

    def _wait(self) -> None:
        assert self.process is not None
        end = time.monotonic() + self.start_timeout_s
        while not self.ready():
            if self.process.poll() is not None:
                code = self.process.returncode
                raise ServerError(f"{self.name} ended with {code}:\n{self.log()[-3000:]}")
            if time.monotonic() > end:
                raise ServerError(f"{self.name} never answered:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.log_path.read_text(errors="replace")
        return ""

    def stop(self) -> None:
        """End it as an operator does (SIGTERM), then whatever is left of its group."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(6)
        self.kill()

    def kill(self) -> None:
        """End the whole group at once (SIGKILL)."""
        if self.process is None:
            return
        kill_group(self.process.pid)
        self.process.wait()
        forget(self.process.pid)
        self.process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
