"""The pages of a small video site, the same behind every framework.

`{media}` is the URL of the media folder and `{root}` the site's own, both as its visitors see
them, with a slash at the end.
"""

from __future__ import annotations

__all__ = ["PAGES", "page"]

_SHELL = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font: 16px sans-serif; margin: 2em }} video {{ width: 320px; height: 180px }}</style>
{head}</head>
<body>
<nav><a href="{root}">All videos</a></nav>
<h1>{title}</h1>
{body}
</body>
</html>
"""
_WATCH = (
    '<video id="player" src="{media}%s" %s></video>\n<p>A caption &amp; an <em>accent</em>: é.</p>'
)
_ADDED = """<video id="intro" src="{media}two.mp4" preload="none" controls muted></video>
<div id="place"></div>
<script>
addEventListener("load", () => {{
  const video = document.createElement("video");
  video.id = "player";
  video.muted = true;
  video.controls = true;
  video.src = "{media}one.mp4";
  document.getElementById("place").append(video);
}});
</script>"""
_OWN_WORKER = """<video id="player" src="{media}one.mp4" controls muted></video>
<script>navigator.serviceWorker.register("{root}sw.js")</script>"""

# name -> (title, what stands in the head, what stands in the body)
PAGES: dict[str, tuple[str, str, str]] = {
    "": (
        "All videos",
        "",
        '<ul><li><a href="{root}watch/one">One</a><li><a href="{root}watch/two">Two</a></ul>',
    ),
    "watch/one": ("One", "", _WATCH % ("one.mp4", "controls muted")),
    "watch/two": ("Two", "", _WATCH % ("two.mp4", "controls muted")),
    "watch/long": ("Long", "", _WATCH % ("long.mp4", "controls muted")),
    "watch/moov": ("Index at the end", "", _WATCH % ("moov-at-end.mp4", "controls muted")),
    "watch/webm": ("WebM", "", _WATCH % ("clip.webm", "controls muted")),
    "autoplay": ("Autoplay", "", _WATCH % ("one.mp4", "autoplay muted playsinline")),
    "loop": ("Loop", "", _WATCH % ("one.mp4", "loop muted controls preload=auto")),
    "lazy": ("Nothing until asked", "", _WATCH % ("one.mp4", "preload=none controls muted")),
    "off": ("Opted out", "", _WATCH % ("one.mp4", "data-p2p=off controls muted")),
    "source": (
        "Two formats",
        "",
        '<video id="player" controls muted>'
        '<source src="{media}none.mp4" type="video/mp4; codecs=hvc1.1.6.L93.B0">'
        '<source src="{media}one.mp4" type="video/mp4"></video>',
    ),
    "several": (
        "Several",
        "",
        '<video id="player" src="{media}one.mp4" controls muted></video>\n'
        '<video id="second" src="{media}two.mp4" controls muted></video>\n'
        '<video id="again" src="{media}one.mp4" controls muted></video>',
    ),
    "added": ("Added by a script", "", _ADDED),
    "added-alone": ("Added by a script", "", _ADDED.partition("\n")[2]),
    "own-worker": ("A site with a worker of its own", "", _OWN_WORKER),
    "csp": ("Under a policy", "", _WATCH % ("one.mp4", "controls muted")),
    "csp-none": ("Under a policy that forbids scripts", "", _WATCH % ("one.mp4", "controls muted")),
}

HEADERS: dict[str, dict[str, str]] = {
    "csp": {
        "Content-Security-Policy": "default-src 'self'; script-src 'nonce-abc123'; "
        "style-src 'unsafe-inline'; worker-src 'self'"
    },
    "csp-none": {
        "Content-Security-Policy": "default-src 'self'; script-src 'none'; "
        "style-src 'unsafe-inline'"
    },
}

OWN_WORKER = """addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", () => {});
"""


def page(name: str, *, root: str, media: str) -> tuple[str, dict[str, str]] | None:
    """The page and its more particular headers, or None."""
    if name not in PAGES:
        return None
    title, head, body = PAGES[name]
    places = {"root": root, "media": media}
    html = _SHELL.format(
        title=title, head=head.format(**places), body=body.format(**places), **places
    )
    return html, HEADERS.get(name, {})
