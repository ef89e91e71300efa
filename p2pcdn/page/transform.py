"""Is this response a page that may be touched, and what changes about its headers?

How an adapter uses it::

    environ = inbound_environ(environ, options)   # or inbound_headers(headers, options)
    ... call the app ...
    if status == 304 or is_candidate_type(content_type):
        # one body, complete, after GET: keeps_all(...) first
        transform = plan(...)                     # None: hand the response through
    # one body, complete:      headers, body = transform.whole(body)
    # several chunks:          transform.headers; transform.feed(chunk)...; transform.close()
    # HEAD, 304 (`bodyless`):  transform.headers, no body

**Pages without a video.** A page that streams gets the loader's script always, because it
has left before anyone knows what follows. A page that is there as a whole gets it only where
`</video` occurs anywhere in it, be it in a script or template; all others keep their bytes. A
single-page app whose first page names no video sets `always_inject`. Videos that scripts add
to a page with the loader are the loader's business.

**Validators.** Every candidate page's ETag gets a suffix that stands for the injected loader;
it is taken off `If-None-Match` and `If-Match` before the app sees them, so the app can still
answer 304. After an update of the loader old validators no longer match, and caches renew. (Under
ASGI a process begins with that when a page with an ETag has passed it: before, the app finds its
own ETag nowhere and sends the page.)

**If the loader itself does not run** (a blocker, a 500, an error page with status 200, a browser
too old for its syntax), `onload` and `onerror` on its script put every `src` back, wherever the
policy of the page allows inline handlers; with a nonce an inline script does the same. A policy
with neither leaves this one case uncovered.

application/xhtml+xml is not a candidate: there, `<noscript>` is an element like any other and
would show every video twice. (XHTML that is served as text/html is a page like any other.)
"""

from __future__ import annotations

import codecs
import functools
import logging
import re
from collections.abc import Iterator, Mapping

from p2pcdn.page import coding as codings
from p2pcdn.page import inject
from p2pcdn.page.csp import judge
from p2pcdn.page.headers import (
    AnyHeaders,
    Headers,
    bytes_headers,
    environ_headers,
    to_str_headers,
)
from p2pcdn.page.options import PageOptions
from p2pcdn.page.rewriter import Rewriter
from p2pcdn.page.tokens import VIDEO_END, has_video_end
from p2pcdn.page.urls import Resolver
from p2pcdn.page.validators import (
    confirms,
    inbound_environ,
    inbound_headers,
    strip_etag_suffix,
    tag_etag,
)
from p2pcdn.page.warn import WarnOnce

__all__ = [
    "MARKER",
    "WHOLE_BODY_BYTES",
    "Headers",
    "PageOptions",
    "PageTransform",
    "environ_headers",
    "inbound_environ",
    "inbound_headers",
    "is_candidate_type",
    "keeps_all",
    "plan",
    "strip_etag_suffix",
    "tag_etag",
    "to_str_headers",
]

MARKER = (b"x-p2pcdn", b"page")
"""On every page that was treated, so that an outer copy of the middleware leaves it alone."""

_warn_once = WarnOnce(logging.getLogger("p2pcdn.page"))


# --- is it a page? -----------------------------------------------------------------------


def is_candidate_type(content_type: bytes | str | None) -> bool:
    """Whether a Content-Type is HTML. The first and cheapest question of all."""
    if content_type is None:
        return False
    start = content_type[:10].lower()
    if isinstance(start, str):
        return start[:9] == "text/html" and start[9:] in ("", ";", " ", "\t")
    return start[:9] == b"text/html" and start[9:] in (b"", b";", b" ", b"\t")


WHOLE_BODY_BYTES = 400 * 1024
"""A page of at most this length is treated as a whole, so that its new length is exact. Twice this
(before and after rewriting) stays below 1 MB for each request in flight."""
_SLICE_BYTES = 64 * 1024
_HANDED_OVER = frozenset({b"x-accel-redirect", b"x-sendfile", b"x-lighttpd-send-file"})
_FRAGMENT_REQUESTS = frozenset({b"hx-request", b"turbo-frame"})
_LENGTH = frozenset({b"content-length"})
_BODY_DIGESTS = frozenset(
    {b"content-length", b"content-md5", b"digest", b"content-digest", b"repr-digest"}
)
_FORBIDDING = _HANDED_OVER | {MARKER[0], b"content-range"}
_TELLING = _FORBIDDING | {
    b"cache-control", b"content-disposition", b"content-encoding", b"content-security-policy",
    b"content-type",
}  # fmt: skip
_DROPPED = _BODY_DIGESTS | {b"accept-ranges"}
# As either protocol writes them.
_CHANGED = frozenset({"etag", b"etag", "content-encoding", b"content-encoding"})
_CONTENT_LENGTH = frozenset({"content-length", b"content-length"})

# WHATWG Encoding labels whose bytes `<` and `"` may be part of something else.
_UNSAFE_CHARSETS = (
    "utf-16", "utf16", "utf-32", "utf32", "utf-7", "utf7", "ucs-2", "ucs2", "ucs-4", "unicode",
    "csunicode", "iso-10646", "iso-2022", "iso2022", "csiso2022", "hz", "replacement", "cp037",
    "ebcdic", "ibm037",
)  # fmt: skip
_SAFE_UNICODE = ("unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8")
_CHARSET = re.compile(rb";[ \t]*charset[ \t]*=[ \t]*(?:\"([^\"]*)\"|([^; \t\",]*))", re.IGNORECASE)


def keeps_all(headers: AnyHeaders, body: bytes, options: PageOptions) -> bool:
    """Whether a page that is there as a whole keeps its headers and bytes, whatever `plan` says.

    Most pages do: to ask this first spares them all the rest.

    Args:
        headers: Of the response, bytes or (WSGI) str.
        body: The answer to a GET.
        options: The site's.
    """
    if options.always_inject:
        return False
    for name, value in headers:
        lower = name.lower()
        if lower in _CHANGED:
            return False
        if lower in _CONTENT_LENGTH:
            length = str(len(body))
            if value != length and value != length.encode():
                return False
    return not has_video_end(body)


def plan(
    *,
    method: str,
    page_url: str,
    request_headers: AnyHeaders | Mapping[str, str],
    status: int,
    headers: AnyHeaders,
    options: PageOptions,
) -> PageTransform | None:
    """Decide about one response; None means: hand it through untouched.

    Args:
        method: Of the request.
        page_url: Absolute, as the visitor sees it (with the site's public prefix).
        request_headers: As the visitor sent them, *before* `inbound_headers` or
            `inbound_environ`. For WSGI: `environ_headers(environ)`.
        status: Of the response.
        headers: Of the response, bytes or (WSGI) str.
        options: The site's.
    """
    if status == 304:
        return _not_modified(request_headers, headers, options)
    content_type: bytes | str | None = None
    for name, value in headers:
        if len(name) == 12 and name.lower() in (b"content-type", "content-type"):
            if content_type is not None and content_type != value:
                return None
            content_type = value
    if not is_candidate_type(content_type):
        return None
    if method not in ("GET", "HEAD") or not 200 <= status < 300 or status in (204, 205, 206):
        return None
    for name, _ in bytes_headers(request_headers):
        if name.lower() in _FRAGMENT_REQUESTS:
            return None
    try:
        return _plan_page(method, page_url, bytes_headers(headers), options)
    except Exception as error:  # whatever it is, the visitor gets the page
        _warn_once("a page passed as it was: %s", repr(error)[:200])
        return None


def _plan_page(
    method: str, page_url: str, headers: Headers, options: PageOptions
) -> PageTransform | None:
    policies: list[str] = []
    encodings: list[bytes] = []
    charset = None
    for name, value in headers:
        lower = name.lower()
        if lower not in _TELLING:
            continue
        if lower in _FORBIDDING:
            return None
        if lower == b"content-type":
            charset = _charset(value)
        elif lower == b"cache-control":
            if b"no-transform" in value.lower():
                return None
        elif lower == b"content-disposition":
            if value.strip().lower().startswith(b"attachment"):
                return None
        elif lower == b"content-security-policy":
            policies.append(value.decode("latin-1"))
        else:
            encodings += [e for part in value.lower().split(b",") if (e := part.strip())]
    if charset is not None and not _extends_ascii(charset):
        return None
    encodings = [encoding for encoding in encodings if encoding != b"identity"]
    coding = codings.CODINGS.get(encodings[0]) if len(encodings) == 1 else None
    if encodings and coding is None:
        _warn_once(
            "pages compressed with %s are left alone: put the compression outside of p2pcdn "
            "(it must see pages before they are compressed), or use gzip",
            b", ".join(encodings).decode("latin-1")[:80],
        )
        return None
    nonce, inline, scripts = None, True, True
    if policies:
        verdict = judge(policies, script_url=options.loader_url, page_url=page_url)
        if not verdict.allowed:
            _warn_once(
                "pages are left alone because of their Content-Security-Policy: %s", verdict.reason
            )
            return None
        nonce, inline, scripts = verdict.nonce, verdict.inline, verdict.scripts
    return PageTransform(
        headers=headers,
        page_url=page_url,
        options=options,
        bodyless=method == "HEAD",
        coding=coding,
        charset=charset,
        nonce=nonce,
        inline=inline,
        scripts=scripts,
    )


def _not_modified(
    request_headers: AnyHeaders | Mapping[str, str], headers: AnyHeaders, options: PageOptions
) -> PageTransform | None:
    """A 304 names the validator that the visitor holds: with our suffix if that one had it."""
    held = b",".join(
        value for name, value in bytes_headers(request_headers) if name.lower() == b"if-none-match"
    )
    if not held:
        return None
    kept = bytes_headers(headers)
    if not any(name.lower() == b"etag" and confirms(held, etag, options) for name, etag in kept):
        return None
    return PageTransform(
        headers=kept, page_url="", options=options, bodyless=True, not_modified=True
    )


@functools.lru_cache(maxsize=64)
def _charset(content_type: bytes) -> str | None:
    match = _CHARSET.search(content_type)
    if match is None:
        return None
    return (match[1] or match[2] or b"").decode("latin-1").strip().lower() or None


def _extends_ascii(charset: str) -> bool:
    return charset in _SAFE_UNICODE or not charset.startswith(_UNSAFE_CHARSETS)


def _codec(charset: str | None) -> str:
    """The Python codec for reading URLs; unknown labels can only mean ASCII with certainty."""
    if charset is None or charset in _SAFE_UNICODE:
        return "utf-8"
    try:
        codec = codecs.lookup(charset)
    except (LookupError, ValueError):
        return "ascii"
    return codec.name


# --- the page ----------------------------------------------------------------------------


class _Untouched:
    """In a rewriter's place: every byte passes."""

    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> bytes:
        return b""


class PageTransform:
    """One page on its way out. Made by `plan`.

    Attributes:
        bodyless: HEAD or 304; there is nothing to feed.
        media: Path and query of every rewritten source, in document order, without
            duplicates; grows while the page is fed.
    """

    __slots__ = (
        "_body", "_charset", "_coding", "_headers", "_inline", "_nonce", "_not_modified",
        "_options", "_original", "_page_url", "_rewriter", "_scripts", "_told", "bodyless", "media",
    )  # fmt: skip

    def __init__(
        self,
        *,
        headers: Headers,
        page_url: str,
        options: PageOptions,
        bodyless: bool = False,
        not_modified: bool = False,
        coding: str | None = None,
        charset: str | None = None,
        nonce: str | None = None,
        inline: bool = False,
        scripts: bool = False,
    ) -> None:
        self._options = options
        self._page_url = page_url
        self._coding = coding
        self._charset = charset
        self._nonce = nonce
        self._inline = inline
        self._scripts = scripts
        self._original = headers
        self._body: Rewriter | codings.Coded | _Untouched | None = None
        self._rewriter: Rewriter | None = None
        self.bodyless = bodyless
        self._headers: Headers | None = None
        self._not_modified = not_modified
        self.media: list[str] = []
        self._told = 0

    def fresh_media(self) -> list[str]:
        """What was added to `media` since this was last asked."""
        fresh = self.media[self._told :]
        self._told = len(self.media)
        return fresh

    @property
    def headers(self) -> Headers:
        """To be sent instead, without Content-Length."""
        if self._headers is None:
            self._headers = self._tagged(self._original, _DROPPED)
            if not self._not_modified:
                self._headers.append(MARKER)
        return self._headers

    def _begun(self) -> Rewriter | codings.Coded | _Untouched:
        try:
            return self._made()
        except Exception as error:  # whatever it is, the visitor gets the page
            _warn_once("a page passed as it was: %s", repr(error)[:200])
            self._body = _Untouched()
            return self._body

    def _made(self) -> Rewriter | codings.Coded:
        """The body's rewriter; most pages are known to need none before one is made."""
        options = self._options
        resolver = Resolver(
            self._page_url,
            charset=_codec(self._charset),
            shareable=options.shareable,
            prefix=options.prefix,
        )
        self._rewriter = Rewriter(
            head=inject.script(
                options.loader_url,
                nonce=self._nonce,
                inline=self._inline,
                begin=self._has_room,
            ),
            beside=inject.style(options.noscript_url),
            media_of=resolver.media_of,
            set_base=resolver.set_base,
            watch_escapes=self._charset is None,
            media=self.media,
        )
        made = codings.Coded(self._rewriter, self._coding) if self._coding else self._rewriter
        self._body = made
        return made

    @property
    def _has_room(self) -> bool:
        """Whether more than the least may enter the head: inline code that may run, in a page whose
        encoding the header names. Browsers look for a <meta charset> in the first 1,024 bytes."""
        return self._charset is not None and (self._scripts or self._nonce is not None)

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the body; give back what can be sent (maybe nothing yet)."""
        if self.bodyless:
            return data
        return (self._body or self._begun()).feed(data)

    def close(self) -> bytes:
        """The body has ended: the last bytes."""
        if self.bodyless:
            return b""
        last = (self._body or self._begun()).close()
        if self._rewriter is not None and self._rewriter.failure is not None:
            failure = self._rewriter.failure
            _warn_once(
                "a page could not be rewritten and passed as it was: %s", repr(failure)[:200]
            )
        return last

    def with_length(self, length: int) -> Headers:
        """The headers with an exact Content-Length, for a body that was rewritten at once."""
        return [*self.headers, (b"content-length", b"%d" % length)]

    def is_long(self, data: bytes) -> bool:
        """Whether a body that is there as a whole had better go out by `slices`: before and after
        rewriting it would take more than its share of memory, and something will change."""
        if self.bodyless or len(data) <= WHOLE_BODY_BYTES:
            return False
        return self._options.always_inject or self._has_video(data)

    @staticmethod
    def slices(data: bytes) -> Iterator[bytes]:
        """Parts of a body for `feed` that need little memory each."""
        for at in range(0, len(data), _SLICE_BYTES):
            yield data[at : at + _SLICE_BYTES]

    def whole(self, data: bytes) -> tuple[Headers, bytes]:
        """Headers and body of a page that is there as a whole.

        Instead of `feed` and `close`. A page that nothing was done to keeps its bytes.
        """
        if self.bodyless:
            return self.headers, data
        if not self._options.always_inject and not self._has_video(data):
            return self._untouched(data), data
        out = self.feed(data) + self.close()
        if out == data:
            return self._untouched(data), data
        return self.with_length(len(out)), out

    def _has_video(self, data: bytes) -> bool:
        if self._coding is None:
            return has_video_end(data)
        return codings.contains(VIDEO_END, data, self._coding)

    def _untouched(self, data: bytes) -> Headers:
        # The suffix stays all the same: HEAD, 304 and streamed answers cannot tell.
        headers = self._tagged(self._original, _LENGTH)
        headers.append((b"content-length", b"%d" % len(data)))
        return headers

    def _tagged(self, headers: Headers, dropped: frozenset[bytes]) -> Headers:
        kept: Headers = []
        for name, value in headers:
            lower = name.lower()
            if lower == b"etag":
                value = tag_etag(value, self._options)
            if lower not in dropped:
                kept.append((name, value))
        return kept
