"""Pages that the app has compressed: decode, rewrite, encode again, chunk by chunk.

Every chunk is flushed, so that a page that streams keeps streaming. A bomb costs time but not
memory: at most `_PIECE` decoded bytes exist at once.

What is damaged stays as damaged as it was, and no more: before anything has been put out the
original bytes pass; later, everything that could be decoded goes out and the stream ends
without its trailer, as the original did.
"""

from __future__ import annotations

import enum
import zlib
from typing import Protocol

__all__ = ["CODINGS", "Coded", "contains"]

_PIECE = 64 * 1024
_LEVEL = 5
_MOST_HELD = 64 * 1024  # of a header that yields nothing

CODINGS = {b"gzip": "gzip", b"x-gzip": "gzip", b"deflate": "deflate"}


class _Rewriter(Protocol):
    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes: ...


class _State(enum.Enum):
    UNDECIDED = enum.auto()
    """Nothing has been put out; the original bytes are still here."""
    RUNNING = enum.auto()
    PASSING = enum.auto()
    """Everything passes as it is."""
    BROKEN = enum.auto()
    """The original was damaged after good data: nothing follows."""


def _wbits(coding: str, start: bytes) -> int:
    if coding == "gzip":
        return 31
    # RFC 9110 means the zlib format; some servers send bare deflate data, which browsers take.
    zlib_header = len(start) >= 2 and start[0] & 0x0F == 8 and (start[0] << 8 | start[1]) % 31 == 0
    return 15 if zlib_header else -15


class Coded:
    """Wraps a rewriter; same interface, compressed bytes on both sides."""

    def __init__(self, rewriter: _Rewriter, coding: str) -> None:
        self._rewriter = rewriter
        self._coding = coding
        self._state = _State.UNDECIDED
        self._original = b""
        self._wbits = 0
        self._decoder: zlib._Decompress | None = None
        self._encoder: zlib._Compress | None = None
        self._trailing = b""
        self._complete = False

    def feed(self, data: bytes) -> bytes:
        """Take compressed bytes, give compressed bytes back."""
        if self._state is _State.PASSING:
            return data
        if self._state is _State.BROKEN or not data:
            return b""
        if self._state is _State.UNDECIDED:
            self._original += data
            if self._decoder is None:
                if len(self._original) < 2:
                    return b""
                self._wbits = _wbits(self._coding, self._original)
                self._decoder = zlib.decompressobj(self._wbits)
                data = self._original
        if self._complete:
            return self._after_end(data)
        return self._run(data)

    def _run(self, data: bytes) -> bytes:
        decoder = self._decoder
        assert decoder is not None
        out = bytearray()
        before = decoder.copy()
        pending = data
        while True:
            try:
                piece = decoder.decompress(pending, _PIECE)
            except zlib.error:
                piece = _salvage(before, pending)
                return bytes(out) + self._damaged(piece)
            out += self._encode(piece)
            if decoder.eof:
                rest = decoder.unused_data
                self._complete = True
                return bytes(out) + self._after_end(rest)
            pending = decoder.unconsumed_tail
            if not pending and len(piece) < _PIECE:
                break
            before = decoder.copy()
        if self._state is _State.UNDECIDED:
            if len(self._original) > _MOST_HELD:
                return self._pass_original()
            return b""
        return bytes(out)

    def _encode(self, piece: bytes) -> bytes:
        rewritten = self._rewriter.feed(piece)
        return self._compress(rewritten) if rewritten else b""

    def _compress(self, rewritten: bytes) -> bytes:
        if self._encoder is None:
            self._encoder = zlib.compressobj(_LEVEL, zlib.DEFLATED, self._wbits)
            self._state = _State.RUNNING
            self._original = b""
        return self._encoder.compress(rewritten) + self._encoder.flush(zlib.Z_SYNC_FLUSH)

    def _after_end(self, data: bytes) -> bytes:
        """The stream has ended; a gzip file may go on with another member (RFC 1952, 2.2)."""
        if not data:
            return b""
        self._trailing += data
        if self._coding == "gzip" and b"\x1f\x8b".startswith(self._trailing[:2]):
            if len(self._trailing) < 2:
                return b""
            data, self._trailing = self._trailing, b""
            self._complete = False
            self._decoder = zlib.decompressobj(self._wbits)
            return self._run(data)
        return b"" if len(self._trailing) < _MOST_HELD else self._finish()

    def _damaged(self, salvaged: bytes) -> bytes:
        out = self._encode(salvaged)
        if self._state is _State.UNDECIDED:
            return self._pass_original()
        out += self._last()
        self._state = _State.BROKEN
        return out

    def _pass_original(self) -> bytes:
        original, self._original = self._original, b""
        self._state = _State.PASSING
        return original

    def _last(self) -> bytes:
        last = self._rewriter.close()
        return self._compress(last) if last else b""

    def _finish(self) -> bytes:
        """A proper end, then whatever followed the original's."""
        out = self._last()
        if self._encoder is not None:
            out += self._encoder.flush(zlib.Z_FINISH)
        elif self._original:
            return self._pass_original()
        self._state = _State.PASSING
        return out + self._trailing

    def close(self) -> bytes:
        """The response has ended."""
        if self._state is _State.PASSING or self._state is _State.BROKEN:
            return b""
        if self._complete:
            return self._finish()
        out = self._last()  # cut off: so is ours
        return self._pass_original() if self._state is _State.UNDECIDED else out


def _salvage(decoder: zlib._Decompress, data: bytes) -> bytes:
    """What can be had before the damage; the failed call threw it away."""
    out = bytearray()
    try:
        for index in range(len(data)):
            if len(out) > _PIECE:
                break
            out += decoder.decompress(data[index : index + 1])
    except zlib.error:
        pass
    return bytes(out)


def contains(pattern: object, data: bytes, coding: str) -> bool:
    """Whether a compressed body holds a match of `pattern` (`re.Pattern[bytes]`), found in
    bounded memory. A damaged body counts as one that does not."""
    search = pattern.search  # type: ignore[attr-defined]
    decoder = zlib.decompressobj(_wbits(coding, data[:2]))
    tail = b""
    try:
        while data:
            piece = decoder.decompress(data, _PIECE)
            if search(tail + piece):
                return True
            tail = piece[-16:]
            if decoder.eof:
                data = decoder.unused_data
                if coding != "gzip" or data[:2] != b"\x1f\x8b":
                    return False
                decoder = zlib.decompressobj(31)
            else:
                data = decoder.unconsumed_tail
    except zlib.error:
        return False
    return False
