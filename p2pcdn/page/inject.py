"""The markup that enters a page. ASCII, short, and valid whatever surrounds it."""

from __future__ import annotations

import functools
import html
import json

__all__ = ["RESCUE", "script", "style"]

RESCUE = (
    "self.p2pcdn||self.addEventListener('load',()=>document.querySelectorAll('video[data-src],"
    "video>[data-src]').forEach(e=>{e.src=e.dataset.src;e.closest('video').load()}))"
)
"""Puts every `src` back where the loader does not run, be it that its script never came, or that
it came as something that this browser cannot read (an error page with status 200, syntax that is
too new). Waits for the page: the script fails while it is still arriving."""

# `fetchpriority`: a page's other scripts can wait better than its videos can.


@functools.lru_cache(maxsize=64)
def _plain_script(loader_url: str, inline: bool) -> bytes:
    url = html.escape(loader_url).encode("ascii")
    rescue = b' onload="%s" onerror="onload()"' % RESCUE.encode() if inline else b""
    return b'<script async fetchpriority=high src="%s"%s></script>' % (url, rescue)


def _nonced_script(loader_url: str, nonce: str) -> bytes:
    # Handlers are not covered by a nonce. The listener comes first: it must not miss the event.
    path = json.dumps(loader_url.partition("?")[0]).replace("<", "\\u003c")
    # `load` events of elements get as far as the document, not to the window.
    watch = (
        "['load','error'].forEach(t=>document.addEventListener(t,"
        f"e=>{{(e.target.src||'').includes({path})&&({RESCUE})}},true))"
    )
    url = html.escape(loader_url)
    return (
        f'<script nonce="{nonce}">{watch}</script>'
        f'<script nonce="{nonce}" async fetchpriority=high src="{url}"></script>'
    ).encode("ascii")


@functools.lru_cache(maxsize=64)
def style(noscript_url: str) -> bytes:
    return b'<link rel=stylesheet href="%s">' % html.escape(noscript_url).encode("ascii")


def script(loader_url: str, *, nonce: str | None, inline: bool) -> bytes:
    """The loader's script element for the head.

    Args:
        loader_url: Absolute path on the page's own origin.
        nonce: Of the page's Content Security Policy, where it has one that we need.
        inline: Whether inline event handlers run.
    """
    return _plain_script(loader_url, inline) if nonce is None else _nonced_script(loader_url, nonce)
