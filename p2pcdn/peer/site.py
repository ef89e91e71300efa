"""Where a site's p2pcdn is: the mount, the coordinator and the videos, found from any URL of it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx

from p2pcdn.peer import PeerError

__all__ = ["Page", "Site", "find_site", "read_page"]

_MAX_PAGE_BYTES = 8 * 1024 * 1024
_CONFIG = b"const P2PCDN_CONFIG="
_LOADER = re.compile(r"/loader\.js$")
_MAX_ANCESTORS = 6
_MAX_LOADERS = 4


@dataclass(frozen=True, slots=True)
class Site:
    """A site with p2pcdn, as its loader is told of it (js/src/config.ts)."""

    mount: httpx.URL
    """With a slash at the end."""
    coordinator: httpx.URL
    """With a slash at the end."""
    key: str = "peerjs"
    socket: bool = True
    ice: tuple[Mapping[str, Any], ...] = ()
    relay_only: bool = False
    version: str = ""

    def target(self, url: str | httpx.URL) -> str:
        """The path and query of a URL of this site.

        Raises:
            PeerError: The URL is of another site.
        """
        full = self.mount.join(url)
        if _origin(full) != _origin(self.mount):
            raise PeerError(
                f"{full} is not of {_origin_text(self.mount)}: a peer shares the contents of one "
                "site; start another for the other site"
            )
        return full.raw_path.decode("ascii")


@dataclass(frozen=True, slots=True)
class Page:
    """What was found behind a URL. `loaders`: scripts that may be p2pcdn's."""

    url: httpx.URL
    html: bool
    loaders: tuple[httpx.URL, ...] = ()
    videos: tuple[httpx.URL, ...] = ()


async def find_site(
    http: httpx.AsyncClient, url: str, mount: str | None = None
) -> tuple[Site, Page]:
    """The site that a URL belongs to, and what is behind the URL.

    Args:
        http: To ask with.
        url: A page, or a media file.
        mount: Path or URL of the mount, where it is known; else the page's script tag says it,
            or it is looked for in the usual places.

    Raises:
        PeerError: There is no p2pcdn, or no answer.
    """
    page = await read_page(http, url)
    places = list(page.loaders) or list(_usual_places(page.url))
    if mount is not None:
        places = [page.url.join(mount.rstrip("/") + "/loader.js")]
    reason = ""
    for place in places:
        try:
            return await _read_loader(http, place), page
        except PeerError as error:
            reason = str(error)
    if mount is None and not page.html:
        # The home page's own word, where the mount has an unusual name.
        home = Page(page.url, html=False)
        with contextlib.suppress(PeerError):
            home = await read_page(http, str(page.url.join("/")))
        for place in home.loaders:
            with contextlib.suppress(PeerError):
                return await _read_loader(http, place), page
    where = ", ".join(str(place) for place in places)
    raise PeerError(
        f"no p2pcdn was found for {page.url} (tried {where}: {reason}). Give the URL of a page "
        "that shows the video, or the mount with --mount, e.g. --mount /p2pcdn"
    )


async def read_page(http: httpx.AsyncClient, url: str) -> Page:
    """What is behind a URL: a page with its videos, or something else.

    Raises:
        PeerError: There is no answer, or none that is of use.
    """
    try:
        full = httpx.URL(url)
        if full.scheme not in ("http", "https") or not full.host:
            raise PeerError(f"{url!r} is no URL of a site; it begins with https:// or http://")
        # A media file may be long, and what is on its way when we hang up has been paid for.
        page, status = await _read(http, full, {"Range": "bytes=0-1023"})
        if status == 206 and page.html:  # a page from a static route
            page, _ = await _read(http, full, {})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PeerError(f"{url} does not answer: {error or error.__class__.__name__}") from error
    return page


async def _read(
    http: httpx.AsyncClient, url: httpx.URL, headers: dict[str, str]
) -> tuple[Page, int]:
    headers = {"Accept": "text/html,*/*;q=0.5", **headers}
    async with http.stream("GET", url, headers=headers) as response:
        status = response.status_code
        if status >= 400 and status != 416:
            raise PeerError(
                f"{url} answered {status}: only what an anonymous visitor gets can be shared; "
                "check the URL"
            )
        type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if type not in ("text/html", "application/xhtml+xml"):
            return Page(response.url, html=False), status
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _MAX_PAGE_BYTES:
                break
        charset = response.charset_encoding or "utf-8"
    try:
        text = body.decode(charset, "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    return _parsed(response.url, text), status


@dataclass(slots=True)
class _Found:
    scripts: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    base: str | None = None


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found = _Found()
        self._inside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(reversed(attrs))  # of equal names the first counts
        if tag == "video":
            self._inside += 1
        if tag == "base" and self.found.base is None:
            self.found.base = values.get("href")
        elif tag == "script" and values.get("src"):
            self.found.scripts.append(values["src"] or "")
        elif tag == "video" or (tag == "source" and self._inside):
            source = values.get("data-src") or values.get("src")
            if source and values.get("data-p2p") != "off":
                self.found.videos.append(source.strip())

    def handle_endtag(self, tag: str) -> None:
        if tag == "video":
            self._inside = max(0, self._inside - 1)


def _parsed(url: httpx.URL, text: str) -> Page:
    parser = _Parser()
    parser.feed(text)
    parser.close()
    found = parser.found
    base = _joined(url, found.base) if found.base else url
    scripts = [_joined(base or url, script) for script in found.scripts]
    loaders = [s for s in scripts if s and _LOADER.search(s.path) and _origin(s) == _origin(url)]
    videos: dict[httpx.URL, None] = {}
    for source in found.videos:
        video = _joined(base or url, source)
        if video is not None and _origin(video) == _origin(url):
            videos[video.copy_with(fragment=None)] = None
    return Page(url, True, tuple(loaders[:_MAX_LOADERS]), tuple(videos))


async def _read_loader(http: httpx.AsyncClient, url: httpx.URL) -> Site:
    try:
        response = await http.get(url.copy_with(query=None, fragment=None))
    except httpx.HTTPError as error:
        raise PeerError(f"{url} does not answer: {error}") from error
    start = response.content.find(_CONFIG)
    if response.status_code != 200 or not 0 <= start < 1024:
        raise PeerError(f"{url.path} is no loader of p2pcdn")
    try:
        text = response.content[start + len(_CONFIG) :].decode("utf-8")
        config, _ = json.JSONDecoder().raw_decode(text)
        mount = response.url.join("./")
        coordinator = mount.join(config["coordinator"].rstrip("/") + "/")
        ice = tuple(dict(server) for server in config["ice"])
        key, socket = str(config["key"]), bool(config["socket"])
        relay_only, version = bool(config["relayOnly"]), str(config["version"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PeerError(f"{url} is of another version of p2pcdn than this one") from error
    if coordinator.scheme not in ("http", "https"):
        raise PeerError(f"{url} names a coordinator that is none: {coordinator}")
    return Site(mount, coordinator, key, socket, ice, relay_only, version)


def _usual_places(url: httpx.URL) -> Iterator[httpx.URL]:
    """The default mount below the root and below every folder of the path: a site may live
    under a prefix."""
    folders = [part for part in url.path.split("/")[:-1] if part][:_MAX_ANCESTORS]
    for count in range(len(folders) + 1):
        prefix = "".join(f"/{folder}" for folder in folders[:count])
        yield url.join(f"{prefix}/p2pcdn/loader.js")


def _joined(base: httpx.URL, reference: str) -> httpx.URL | None:
    try:
        joined = base.join(reference)
    except (httpx.InvalidURL, ValueError):
        return None
    return joined if joined.scheme in ("http", "https") else None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _origin_text(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
