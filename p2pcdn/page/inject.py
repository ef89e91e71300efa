"""The markup that enters a page. ASCII, short, and valid whatever surrounds it."""

from __future__ import annotations

import functools
import html
import json

__all__ = ["BEGIN", "RESCUE", "script", "style"]

RESCUE = (
    "self.p2pcdn||self.addEventListener('load',()=>document.querySelectorAll('video[data-src],"
    "video>[data-src]').forEach(e=>{e.src=e.dataset.src;e.closest('video').load()}))"
)
"""Puts every `src` back where the loader does not run, be it that its script never came, or that
it came as something that this browser cannot read (an error page with status 200, syntax that is
too new). Waits for the page: the script fails while it is still arriving."""

BEGIN = (
    "try{(c=>{if(!c.scriptURL.endsWith(%s))return;"
    "const b=self.p2pcdnBegun=[],n=[],s=localStorage['p2pcdn-stored']||'';"
    "new MutationObserver((r,o)=>{if(self.p2pcdn)return o.disconnect();"
    "try{for(const{addedNodes:a}of r)for(const e of a)"
    "if(e.matches&&e.matches('video[data-src]:not([src]),video>source[data-src]:not([src])')){"
    "const v=e.closest('video'),u=new URL(e.dataset.src,e.baseURI);u.hash='';"
    "if(/lazy|lozad/i.test(v.className)||s&&(e!=v||s.includes(u)))continue;"
    "n.push(u.href);c.postMessage({p2pcdn:'hello',begin:n,loading:!0});"
    "e.src=e.dataset.src;e.removeAttribute('data-src');"
    "e==v||v.networkState%%3||v.load();b.includes(v)||b.push(v)}}catch{}})"
    ".observe(document,{childList:!0,subtree:!0})})(navigator.serviceWorker.controller)}catch{}"
)
"""For who comes back, whom our worker controls already: a video need not wait for the loader,
unless its bytes are stored in this browser. The worker hears of it first and gives the player its
first bytes; the loader finds the video in `p2pcdnBegun`. Twins in js/src: `STORED_KEY`, `restore`
and `isLazy` of loader/elements.ts, `Note` of worker/protocol.ts."""

# `fetchpriority`: a page's other scripts can wait better than its videos can.


@functools.lru_cache(maxsize=64)
def _plain_script(loader_url: str, inline: bool, begin: bool) -> bytes:
    url = html.escape(loader_url).encode("ascii")
    rescue = b' onload="%s" onerror="onload()"' % RESCUE.encode() if inline else b""
    first = b"<script>%s</script>" % _begin(loader_url).encode("ascii") if begin else b""
    return b'%s<script async fetchpriority=high src="%s"%s></script>' % (first, url, rescue)


def _begin(loader_url: str) -> str:
    return BEGIN % _literal(f"{loader_url.partition('?')[0].rpartition('/')[0]}/worker.js")


def _literal(text: str) -> str:
    return json.dumps(text).replace("<", "\\u003c")


def _nonced_script(loader_url: str, nonce: str, begin: bool) -> bytes:
    # Handlers are not covered by a nonce. The listener comes first: it must not miss the event.
    path = _literal(loader_url.partition("?")[0])
    # `load` events of elements get as far as the document, not to the window.
    watch = (
        "['load','error'].forEach(t=>document.addEventListener(t,"
        f"e=>{{(e.target.src||'').includes({path})&&({RESCUE})}},true))"
    )
    url = html.escape(loader_url)
    first = f"{_begin(loader_url)};" if begin else ""
    return (
        f'<script nonce="{nonce}">{first}{watch}</script>'
        f'<script nonce="{nonce}" async fetchpriority=high src="{url}"></script>'
    ).encode("ascii")


@functools.lru_cache(maxsize=64)
def style(noscript_url: str) -> bytes:
    return b'<link rel=stylesheet href="%s">' % html.escape(noscript_url).encode("ascii")


def script(loader_url: str, *, nonce: str | None, inline: bool, begin: bool) -> bytes:
    """The loader's script element for the head.

    Args:
        loader_url: Absolute path on the page's own origin.
        nonce: Of the page's Content Security Policy, where it has one that we need.
        inline: Whether inline event handlers run.
        begin: Whether `BEGIN` has room and may run.
    """
    if nonce is None:
        return _plain_script(loader_url, inline, begin)
    return _nonced_script(loader_url, nonce, begin)
