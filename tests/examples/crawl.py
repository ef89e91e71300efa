"""A visitor who follows every link of a site and loads everything that its pages show."""

from __future__ import annotations

from urllib.parse import urldefrag, urljoin, urlsplit

import httpx
from selectolax.lexbor import LexborHTMLParser

__all__ = ["crawl", "links"]

# The loader keeps a video's address in `data-src` until it is ready.
_ATTRIBUTES = ("href", "src", "data-src", "poster")


def links(page: str, base: str) -> set[str]:
    """Every address that a page names, absolute; those of other sites are left out."""
    found = set()
    for attribute in _ATTRIBUTES:
        for node in LexborHTMLParser(page).css(f"[{attribute}]"):
            url = urldefrag(urljoin(base, node.attributes[attribute] or ""))[0]
            if urlsplit(url).netloc == urlsplit(base).netloc:
                found.add(url)
    return found


def crawl(client: httpx.Client, start: str = "/") -> dict[str, httpx.Response]:
    """All answers by path, from `start` on."""
    waiting, seen = [urljoin(str(client.base_url), start)], {}
    while waiting:
        url = waiting.pop()
        path = urlsplit(url).path
        if path in seen:
            continue
        answer = seen[path] = client.get(url)
        if answer.headers.get("content-type", "").startswith("text/html"):
            waiting.extend(links(answer.text, str(answer.url)))
    return seen
