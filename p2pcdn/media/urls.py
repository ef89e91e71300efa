"""A media URL in one canonical form, or a refusal.

Everything that comes here was written by somebody else: by a page's author at best, by an
attacker at worst. A path is decoded exactly once; what would change its meaning if anybody
decoded it once more is refused, not repaired.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from p2pcdn.media.manifest import Refusal

__all__ = ["MAX_URL_CHARS", "MediaUrl", "parse_target"]

MAX_URL_CHARS = 4096
"""Signed URLs run to about 2,000 characters; servers refuse request lines above 8,190."""

# What stays as it is when a path is encoded again (RFC 3986: pchar and the slash).
_PATH_SAFE = "/!$&'()*+,;=:@-._~"
_QUERY_SAFE = _PATH_SAFE + '?%[]|^`{}"<>'

_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_DECODED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED_SEPARATOR = re.compile(r"%(?:2f|5c|00)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MediaUrl:
    """A media URL below the site's prefix.

    Args:
        path: Decoded path, beginning with a slash: the part that names the content.
        query: Raw query without the question mark: the origin gets it, the key does not.
    """

    path: str
    query: str = ""

    @property
    def url(self) -> str:
        """The path, percent-encoded."""
        return quote(self.path, safe=_PATH_SAFE)

    @property
    def target(self) -> str:
        """Path and query, as a request line carries them."""
        return f"{self.url}?{self.query}" if self.query else self.url


def parse_target(target: str, *, mounts: tuple[str, ...] = ()) -> MediaUrl | Refusal:
    """Bring an absolute path with an optional query into its canonical form.

    Args:
        target: e.g. `/media/a%20b.mp4?sig=1`; a fragment is dropped (RFC 3986, section 3.5).
        mounts: Our own paths, which are no media.

    Returns:
        The URL, or a refusal `bad-url` (not a path that we read) or `outside` (a path that
        leads elsewhere).
    """
    if len(target) > MAX_URL_CHARS:
        return _bad(f"it is longer than {MAX_URL_CHARS} characters")
    return _parsed(target, mounts)


@functools.lru_cache(maxsize=256)
def _parsed(target: str, mounts: tuple[str, ...]) -> MediaUrl | Refusal:
    target = target.partition("#")[0]
    raw, _, query = target.partition("?")
    if _CONTROL.search(target) or "\\" in raw:
        return _bad("it contains control characters, blanks or backslashes; percent-encode them")
    if not raw.startswith("/"):
        if "://" in raw or raw.lower().startswith(("data:", "blob:", "file:", "javascript:")):
            return _outside("it names another host or scheme")
        return _bad("it does not begin with a slash")
    if raw.startswith("//"):
        return _outside("it names another host")
    if _BAD_ESCAPE.search(raw):
        return _bad("it has a percent sign without two hexadecimal digits after it")
    if _ENCODED_SEPARATOR.search(raw):
        return _bad("it has an encoded slash, backslash or NUL, which servers read differently")
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        return _bad("its percent-encoding is not UTF-8")
    if _CONTROL_DECODED.search(path):
        return _bad("it contains control characters")
    if _climbs(path):
        return _outside("it climbs out of its folder")
    folded = path.casefold()
    for mount in mounts:
        own = mount.casefold()
        if folded == own or folded.startswith(own + "/"):
            return _outside("it is one of p2pcdn's own")
    return MediaUrl(path, quote(query, safe=_QUERY_SAFE))


def _climbs(path: str) -> bool:
    """Whether `path`, decoded any further number of times, has a `..` or a new separator."""
    for _ in range(4):
        if any(part in (".", "..") for part in path.split("/")):
            return True
        if "\\" in path or "\0" in path:
            return True
        if "%" not in path:
            return False
        again = unquote_to_bytes(path).decode("utf-8", "replace")
        if again == path:
            return False
        if again.count("/") != path.count("/"):
            return True
        path = again
    return True


def _bad(why: str) -> Refusal:
    return Refusal("bad-url", f"this is not a media URL of the site: {why}.")


def _outside(why: str) -> Refusal:
    return Refusal("outside", f"this URL is outside the site's media: {why}.")
