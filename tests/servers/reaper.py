"""Whatever becomes of pytest, even SIGKILL: the processes it started end with it.

A small process holds the far end of a pipe. It learns each process group that a test starts, and
ends those that are left when the pipe closes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

__all__ = ["forget", "kill_group", "remember"]

_PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""
_lock = threading.Lock()
_reaper: subprocess.Popen[bytes] | None = None


def remember(group: int) -> None:
    """End this process group with us."""
    _tell(f"+{group}\n")


def forget(group: int) -> None:
    """It has ended (its number may soon be another's)."""
    _tell(f"-{group}\n")


def kill_group(group: int) -> None:
    """SIGKILL for a whole process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _tell(line: str) -> None:
    global _reaper
    with _lock:
        if _reaper is None:
            _reaper = subprocess.Popen(
                [sys.executable, "-S", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            _reaper.returncode = 0  # it outlives us by design: no warning that it runs on
        assert _reaper.stdin is not None
        with contextlib.suppress(OSError):
            _reaper.stdin.write(line.encode())
            _reaper.stdin.flush()
