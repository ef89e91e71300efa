"""Where the server workers of one machine meet: a lock file and a Unix socket."""

from __future__ import annotations

import os
import socket
import stat
import struct
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["Place", "same_user"]

# sun_path holds 108 bytes on Linux, 104 elsewhere, with a closing zero.
_MOST_PATH_BYTES = 100


class Place:
    """The lock that makes one process the coordinator's, and the socket that it listens on.

    `flock` rather than a record lock, because two event loops of one process must exclude
    each other too; the kernel lets go of it however the process ends.

    Raises:
        OSError: There is no folder that can hold both.
    """

    def __init__(self, folder: Path, name: str) -> None:
        if fcntl is None or not hasattr(socket, "AF_UNIX"):  # pragma: no cover
            raise OSError("no file locks or Unix sockets on this system")
        path = folder / f"{name}.sock"
        if len(os.fsencode(path)) > _MOST_PATH_BYTES:
            path = _short_folder() / f"{name}.sock"
        else:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = str(path)
        self._lock_path = path.with_suffix(".lock")
        self._lock: int | None = None

    def lock(self) -> bool:
        """Try to become the one; False where another is."""
        if self._lock is not None:
            return True
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._lock = fd
        return True

    def unlock(self) -> None:
        """Let another be the one. In a forked child: only forget the parent's lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def listen(self) -> socket.socket:
        """The listening socket, in place of what a dead process left. Only under the lock."""
        Path(self.path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(self.path)
            os.chmod(self.path, 0o600)
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
        return listener

    def unlink(self) -> None:
        """Remove the socket. Only under the lock."""
        Path(self.path).unlink(missing_ok=True)


def same_user(peer: socket.socket) -> bool:
    """Whether the other end runs as the same user, or root (SO_PEERCRED; Linux)."""
    if not hasattr(socket, "SO_PEERCRED"):  # pragma: no cover
        return True
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    return uid in (os.getuid(), 0)


def _short_folder() -> Path:
    """A folder of this user's in the temporary one, the same for all its processes."""
    folder = Path(tempfile.gettempdir()) / f"p2pcdn-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # Anyone may have made something of this name there before us.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(f"{folder} is not a folder of this user's alone")
    return folder
