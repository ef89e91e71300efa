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
    "try{(n=>{const w=n.serviceWorker,c=w.controller,l=localStorage;"
    "if(!c)return self.RTCPeerConnection&&!n.globalPrivacyControl&&l.p2pcdn!='off'"
    "&&document.documentElement.dataset.p2p!='off'"
    "&&w.register(%(worker)s,{scope:%(scope)s,updateViaCache:'none'}).catch(Boolean);"
    "if(!c.scriptURL.endsWith(%(worker)s))return;"
    "const b=self.p2pcdnBegun=[],s=l['p2pcdn-stored']||'';"
    "new MutationObserver((r,o)=>{if(self.p2pcdn)return o.disconnect();"
    "for(const{addedNodes:a}of r)for(const e of a)"
    "if(e.matches&&e.matches('video[data-src],video>source[data-src]')){"
    "const v=e.closest('video'),u=e.dataset.src;"
    "if(/lazy|lozad/i.test(v.className)||s&&(e!=v||s.includes(new URL(u,e.baseURI))))continue;"
    "e.src=u;e.removeAttribute('data-src');"
    "e==v||v.networkState%%3||v.load();b.includes(v)||b.push(v)}})"
    ".observe(document,{childList:!0,subtree:!0})})(navigator)}catch{}"
)
"""What need not wait for the loader. On a first visit, the worker's registration, where the loader
would not object. For who comes back, whom our worker controls already, the videos themselves,
unless their bytes are stored in this browser: the worker gives their players the first bytes, and
the loader finds them in `p2pcdnBegun`."""

# `fetchpriority`: a page's other scripts can wait better than its videos can.


@functools.lru_cache(maxsize=64)
def _plain_script(loader_url: str, inline: bool, scope: str | None) -> bytes:
    url = html.escape(loader_url).encode("ascii")
    rescue = b' onload="%s" onerror="onload()"' % RESCUE.encode() if inline else b""
    first = b""
    if scope is not None:
        first = b"<script>%s</script>" % _begin(loader_url, scope).encode("ascii")
    return b'%s<script async fetchpriority=high src="%s"%s></script>' % (first, url, rescue)


def _begin(loader_url: str, scope: str) -> str:
    worker = f"{loader_url.partition('?')[0].rpartition('/')[0]}/worker.js"
    return BEGIN % {"worker": _literal(worker), "scope": _literal(scope)}


def _literal(text: str) -> str:
    return json.dumps(text).replace("<", "\\u003c")


def _nonced_script(loader_url: str, nonce: str, scope: str | None) -> bytes:
    # Handlers are not covered by a nonce. The listener comes first: it must not miss the event.
    path = _literal(loader_url.partition("?")[0])
    # `load` events of elements get as far as the document, not to the window.
    watch = (
        "['load','error'].forEach(t=>document.addEventListener(t,"
        f"e=>{{(e.target.src||'').includes({path})&&({RESCUE})}},true))"
    )
    url = html.escape(loader_url)
    first = "" if scope is None else f"{_begin(loader_url, scope)};"
    return (
        f'<script nonce="{nonce}">{first}{watch}</script>'
        f'<script nonce="{nonce}" async fetchpriority=high src="{url}"></script>'
    ).encode("ascii")


@functools.lru_cache(maxsize=64)
def style(noscript_url: str) -> bytes:
    return b'<link rel=stylesheet href="%s">' % html.escape(noscript_url).encode("ascii")


def script(loader_url: str, *, nonce: str | None, inline: bool, scope: str | None) -> bytes:
    """The loader's script element for the head.

    Args:
        loader_url: Absolute path on the page's own origin.
        nonce: Of the page's Content Security Policy, where it has one that we need.
        inline: Whether inline event handlers run.
        scope: The worker's, as an absolute path; None where `BEGIN` has no room or may not run.
    """
    if nonce is None:
        return _plain_script(loader_url, inline, scope)
    return _nonced_script(loader_url, nonce, scope)
