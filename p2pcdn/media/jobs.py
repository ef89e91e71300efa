"""Hashing files in the background: one thread of a process, the shortest job first."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

from p2pcdn.media.hasher import FileChanged, Stamp, hash_file
from p2pcdn.media.store import Hashes, Store

__all__ = ["MOST_JOBS", "HashJobs", "Job"]

MOST_JOBS = 64
_SLICE_BYTES = 16 * 1024 * 1024
_BEAT_EVERY_S = 1.0
# Until something was measured; then a moving average.
_FIRST_GUESS_BYTES_PER_S = 400e6


@dataclass(eq=False, slots=True)
class Job:
    """A file being hashed. `future` gives `Hashes`, or raises FileChanged or OSError."""

    content: str
    version: str
    path: Path
    stamp: Stamp
    segment_bytes: int
    done: int = 0
    future: concurrent.futures.Future[Hashes] = field(default_factory=concurrent.futures.Future)
    steps: Generator[int | bytes, None, None] | None = None

    @property
    def left(self) -> int:
        return self.stamp.size - self.done


class HashJobs:
    """The queue and its thread.

    A long film is hashed in slices, so a short clip that comes meanwhile does not wait for it.

    Args:
        store: Gets the finished hashes, hears that the claims are alive.
        clock: Unix time in seconds.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._speed = _FIRST_GUESS_BYTES_PER_S
        self._beaten = 0.0

    def submit(
        self, content: str, version: str, path: Path, stamp: Stamp, segment_bytes: int
    ) -> Job | None:
        """Queue a file, or find it queued; None: the queue is full or closed.

        An older version of the same content is given up.
        """
        with self._changed:
            job = self._jobs.get(content)
            if job is not None and job.version == version:
                return job
            if job is not None:
                self._drop(job, FileChanged())
            if self._closed or len(self._jobs) >= MOST_JOBS:
                return None
            job = Job(content, version, path, stamp, segment_bytes)
            self._jobs[content] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="p2pcdn-hash", daemon=True)
                self._thread.start()
            self._changed.notify()
            return job

    def expected_s(self, job: Job) -> float:
        """Seconds until the job is likely done, at the measured speed."""
        with self._changed:
            before = sum(other.left for other in self._jobs.values() if other.left <= job.left)
            return max(before, job.left) / self._speed

    def expected_for(self, size: int) -> float:
        """Seconds that a file of `size` bytes takes, at the measured speed."""
        return size / self._speed

    def close(self) -> None:
        """Give up every job and end the thread."""
        with self._changed:
            self._closed = True
            for job in list(self._jobs.values()):
                self._drop(job, FileChanged())
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(2.0)

    def _drop(self, job: Job, error: Exception) -> None:
        # Its file is closed by the thread if that is reading it just now, else right here by
        # the last reference.
        if self._jobs.get(job.content) is job:
            del self._jobs[job.content]
        if not job.future.done():
            job.future.set_exception(error)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = min(self._jobs.values(), key=lambda job: job.left)
            self._work(job)
            del job  # it holds the file open
            now = time.monotonic()
            if now - self._beaten > _BEAT_EVERY_S and self._jobs:
                self._beaten = now
                self._store.beat()

    def _work(self, job: Job) -> None:
        """One slice of one job."""
        try:
            if job.steps is None:
                job.steps = hash_file(job.path, job.stamp, job.segment_bytes)
            start, began = job.done, time.perf_counter()
            for step in job.steps:
                if isinstance(step, bytes):
                    job.steps.close()
                    self._finish(job, step)
                    return
                job.done = step
                if step - start >= _SLICE_BYTES:
                    spent = max(time.perf_counter() - began, 1e-6)
                    self._speed = 0.7 * self._speed + 0.3 * (step - start) / spent
                    return
                if job.future.done():  # dropped meanwhile
                    job.steps.close()
                    return
        except (FileChanged, OSError) as error:
            self._store.release(job.content)
            with self._changed:
                self._drop(job, error)
        except BaseException as error:
            self._store.release(job.content)
            with self._changed:
                self._drop(job, OSError(f"hashing failed: {error!r}"))

    def _finish(self, job: Job, hashes: bytes) -> None:
        found = Hashes(job.stamp.size, job.segment_bytes, hashes, self._clock())
        self._store.put(job.content, job.version, found)
        with self._changed:
            self._jobs.pop(job.content, None)
            if not job.future.done():
                job.future.set_result(found)
