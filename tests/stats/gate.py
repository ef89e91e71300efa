"""A way to Redis that can be shut, or lose one answer."""

from __future__ import annotations

import contextlib
import socket
import threading

__all__ = ["Gate"]


class Gate:
    """Passes bytes between a client and the Redis at `port`; use as a context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._shut = False
        self.lose_answer_to = b""
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def shut(self) -> None:
        self._shut = True
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._shut = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._shut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                deaf = threading.Event()
                for source, target, watched in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._pass, args=(source, target, watched, deaf), daemon=True
                    ).start()

    def _pass(
        self, source: socket.socket, target: socket.socket, watched: bool, deaf: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 20):
                if watched and self.lose_answer_to and self.lose_answer_to in piece:
                    self.lose_answer_to = b""
                    deaf.set()
                if not watched and deaf.is_set():
                    self.lost.set()
                    break
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
