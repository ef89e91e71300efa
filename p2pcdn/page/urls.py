"""From an attribute's raw bytes to the path that the browser would ask this site for.

Follows the WHATWG URL Standard as far as http(s) URLs of the page's own host need it. Whatever
is unusual (credentials, another host, an odd scheme, undecodable bytes) yields None, and the
attribute stays as it is.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Callable
from html.entities import html5
from urllib.parse import quote

__all__ = ["Resolver", "attribute_text", "normal_path"]

_REFERENCE = re.compile(r"&(?:#(?:[0-9]+|[xX][0-9a-fA-F]+);?|([a-zA-Z0-9]+)(;?)(=?))")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_CONTROLS = "".join(map(chr, range(0x21)))
_DROPPED = {0x09: None, 0x0A: None, 0x0D: None}
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5})?)?", re.ASCII)
_PORTS = {"http": "80", "https": "443"}
_DOT = {".": ".", "%2e": ".", "..": "..", ".%2e": "..", "%2e.": "..", "%2e%2e": ".."}
_PATH_SAFE = "!$%&'()*+,-./:;=@[]_|~\\"
_QUERY_SAFE = "!$%&()*+,-./:;=?@[]_`{|}~\\^"
_MAX_URL = 4096


def attribute_text(value: str) -> str:
    """An attribute's value with its character references resolved.

    Unlike `html.unescape`, `&copy=1` keeps its name in an attribute (13.2.5.73), so that query
    strings written without `&amp;` survive.
    """
    return _REFERENCE.sub(_resolved, value) if "&" in value else value


def _resolved(match: re.Match[str]) -> str:
    name, semicolon, equals = match[1], match[2], match[3]
    if name is None:
        return html.unescape(match[0])
    if semicolon:
        return html5.get(name + ";", f"&{name};") + equals
    return match[0] if equals else html5.get(name, match[0])


def normal_path(path: str) -> str:
    """`path` (absolute) without `.` and `..`, as browsers do it: `%2e` is a dot, too."""
    if "." not in path and "%2" not in path:
        return path
    kept: list[str] = []
    parts = path.split("/")[1:]
    for index, part in enumerate(parts):
        dots = _DOT.get(part.lower())
        if dots is None:
            kept.append(part)
            continue
        if dots == ".." and kept:
            kept.pop()
        if index == len(parts) - 1:
            kept.append("")
    return "/" + "/".join(kept)


def _authority(scheme: str, authority: str) -> tuple[str, str] | None:
    match = _HOST.fullmatch(authority.lower())
    if match is None:
        return None
    return match[1], match[2] or _PORTS[scheme]


class Resolver:
    """Knows a page's address, its `<base>`, and what may be shared.

    Args:
        page_url: The page's absolute URL as the visitor sees it.
        charset: A Python codec's name.
        shareable: Told an absolute path with its query.
        prefix: Paths outside of it belong to another application on this host.
    """

    def __init__(
        self,
        page_url: str,
        *,
        charset: str,
        shareable: Callable[[str], bool],
        prefix: str,
    ) -> None:
        self._charset = charset
        self._shareable = shareable
        self._prefix = prefix.rstrip("/")
        self._page: tuple[str, tuple[str, str]] | None = None
        self._base: tuple[bool, str, str] | None = None  # ours?, path, query
        self._page_url = page_url

    def media_of(self, raw: bytes) -> str | None:
        """The path and query of a media address, None when it may not be shared."""
        if len(raw) > _MAX_URL:
            return None
        if (text := self._text(raw)) is None or (found := self._resolve(text)) is None:
            return None
        ours, path, query = found
        if not ours or (self._prefix and not path.startswith(self._prefix + "/")):
            return None
        url = f"{path}?{query}" if query else path
        return url if self._shareable(url) else None

    def set_base(self, raw: bytes) -> None:
        """The page has a `<base href>`. One that cannot be understood is another site's."""
        text = self._text(raw) if len(raw) <= _MAX_URL else None
        self._base = (text is not None and self._resolve(text)) or (False, "/", "")

    def _text(self, raw: bytes) -> str | None:
        try:
            text = raw.decode("ascii" if raw.isascii() else self._charset)
        except (UnicodeError, LookupError):
            return None
        return attribute_text(text)

    def _start(self) -> tuple[str, tuple[str, str]] | None:
        """Scheme and host of the page; the page's own path becomes the base."""
        if self._page is None:
            scheme, separator, rest = self._page_url.partition("://")
            scheme = scheme.lower()
            rest = rest.partition("#")[0]
            before, _, query = rest.partition("?")
            authority, slash, path = before.partition("/")
            if not separator or scheme not in _PORTS:
                return None
            host = _authority(scheme, authority)
            if host is None:
                return None
            self._page = scheme, host
            if self._base is None:
                self._base = True, normal_path(slash + path) if slash else "/", query
        return self._page

    def _resolve(self, text: str) -> tuple[bool, str, str] | None:
        if (page := self._start()) is None or self._base is None:
            return None
        scheme, host = page
        text = text.strip(_CONTROLS).translate(_DROPPED).partition("#")[0]
        before, mark, query = text.partition("?")
        before = before.replace("\\", "/")
        ours, base_path, base_query = self._base
        named = _SCHEME.match(before)
        if named is not None:
            scheme = named[1].lower()
            before = before[named.end() :]
            if scheme not in _PORTS or not before.startswith("//"):
                return None
        if before.startswith("//"):
            authority, _, path = before[2:].partition("/")
            # Behind a proxy that ends TLS the app sees http where the visitor sees https:
            # the default ports of both name the same site.
            found = _authority(scheme, authority)
            if found is None:
                return None
            ours = found == host or (
                found[0] == host[0] and {found[1], host[1]} == {*_PORTS.values()}
            )
            path = "/" + path
        elif before.startswith("/"):
            path = before
        elif before:
            path = base_path[: base_path.rfind("/") + 1] + before
        else:
            path = base_path
            if not mark:
                query = base_query
        if not query.isascii() and codecs.lookup(self._charset).name != "utf-8":
            return None  # browsers encode a query in the page's encoding
        return ours, normal_path(quote(path, safe=_PATH_SAFE)), quote(query, safe=_QUERY_SAFE)
