"""The Python web servers that sites run on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import gunicorn

from tests.servers.process import Server

# Newer ones open a control socket in the user's home, the same for every site of that user.
_QUIET = ["--no-control-socket"] if gunicorn.version_info >= (25,) else []

__all__ = ["Gunicorn", "Uvicorn", "Waitress", "Werkzeug"]


class Gunicorn(Server):
    """gunicorn with the server workers of a WSGI site."""

    name = "gunicorn"

    def __init__(
        self,
        app: str,
        *,
        workers: int = 4,
        worker_class: str = "sync",
        threads: int = 1,
        arguments: Sequence[str] = (),
        **server: Any,
    ) -> None:
        super().__init__(**server)
        self.app, self.workers, self.worker_class = app, workers, worker_class
        self.threads, self.arguments = threads, list(arguments)

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "gunicorn", self.app,
            "--bind", f"127.0.0.1:{self.port}",
            "--workers", str(self.workers),
            "--worker-class", self.worker_class,
            "--threads", str(self.threads),
            "--graceful-timeout", "2",
            *_QUIET,
            *self.arguments,
        ]  # fmt: skip


class Waitress(Server):
    """waitress with the WSGI app that a factory makes."""

    name = "waitress"

    def __init__(self, factory: str, **server: Any) -> None:
        super().__init__(**server)
        self.factory = factory

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{self.port}",
            "--call", self.factory,
        ]  # fmt: skip


class Werkzeug(Server):
    """Flask's development server."""

    name = "werkzeug"

    def __init__(self, app: str, **server: Any) -> None:
        super().__init__(**server)
        self.app = app

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "flask", "--app", self.app, "run",
            "--host", "127.0.0.1", "--port", str(self.port), "--no-reload",
        ]  # fmt: skip


class Uvicorn(Server):
    """uvicorn, alone or with several server workers."""

    name = "uvicorn"

    def __init__(
        self, app: str, *, workers: int = 1, arguments: Sequence[str] = (), **server: Any
    ) -> None:
        super().__init__(**server)
        self.app, self.workers, self.arguments = app, workers, list(arguments)

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "uvicorn", self.app,
            "--host", "127.0.0.1", "--port", str(self.port),
            "--workers", str(self.workers),
            "--timeout-graceful-shutdown", "1",
            *self.arguments,
        ]  # fmt: skip
