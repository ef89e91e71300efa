"""Whether what an anonymous visitor got may be shared with every visitor. Pure."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from p2pcdn.media.answer import OriginAnswer
from p2pcdn.media.manifest import Refusal
from p2pcdn.media.types import media_type_of
from p2pcdn.media.urls import MediaUrl

__all__ = ["UNKNOWN", "is_https_twin", "judge"]

UNKNOWN = Refusal(
    "unknown",
    "no page of this site has shown this video to an anonymous visitor; the site's owner can "
    "name its path in the `include` setting.",
)

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def judge(answer: OriginAnswer, url: MediaUrl, *, included: bool) -> Refusal | str:
    """Judge the origin's answer to an anonymous GET by status and header fields.

    The measure is RFC 9111's for shared caches: what the origin keeps from those is one
    visitor's own. `Cache-Control: public` is the origin's word that it is not.

    Args:
        answer: What the origin said.
        url: What was asked.
        included: The owner named this path (`include`), whatever type it has.

    Returns:
        The media type, or why the content is not shared.
    """
    status = answer.status
    if status in (401, 403, 407):
        return _protected(f"the site answers {status} to an anonymous visitor")
    if status in _REDIRECTS:
        location = _split(answer.header("location"))
        if location is None or location.netloc:
            return Refusal(
                "outside",
                "the site redirects this URL to another address; pages that name that address "
                "on this site themselves can be shared.",
            )
        return _protected("the site redirects an anonymous visitor (to a login?)")
    if status in (404, 410):
        # To a client this must look like any other URL that nobody has heard of: a page for
        # signed-in visitors may have shown it, and its existence is their business.
        if not included:
            return UNKNOWN
        return Refusal("gone", f"the site answers {status}: the file is not there (any more).")
    if status != 200:
        return Refusal("broken", f"the site answers {status}; its own log says why.")
    if answer.header("x-accel-redirect"):
        return Refusal(
            "outside",
            "nginx sends this file by itself (X-Accel-Redirect); if it is public, name its "
            "folder in the `media_roots` setting.",
        )
    if answer.header("content-encoding").strip().lower() not in ("", "identity"):
        return Refusal(
            "encoded",
            "the site compresses this file (Content-Encoding); compress pages, not media.",
        )
    return _private(answer) or _type(answer, url, included=included)


def is_https_twin(answer: OriginAnswer, target: str, host: str) -> bool:
    """Whether the answer only redirects to the same URL over https.

    Args:
        answer: What the origin said.
        target: Path with prefix and query, as asked.
        host: The `Host` field, as asked.
    """
    location = _split(answer.header("location"))
    asked = _split("//" + host)
    if answer.status not in _REDIRECTS or location is None or asked is None:
        return False
    path = f"{location.path}?{location.query}" if location.query else location.path
    return location.scheme == "https" and path == target and location.hostname == asked.hostname


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _private(answer: OriginAnswer) -> Refusal | None:
    said = {
        part.partition("=")[0].strip().lower() for part in answer.header("cache-control").split(",")
    }
    for word in ("private", "no-store"):
        if word in said:
            return _protected(f"the site marks it `Cache-Control: {word}`")
    if "public" in said:
        return None
    vary = {part.strip().lower() for part in answer.header("vary").split(",")}
    for field in ("*", "cookie", "authorization"):
        if field in vary:
            return _protected(f"the site says that it differs by visitor (`Vary: {field}`)")
    if answer.header("set-cookie"):
        return _protected("the site sets a cookie with it")
    return None


def _type(answer: OriginAnswer, url: MediaUrl, *, included: bool) -> Refusal | str:
    said = answer.header("content-type")
    media_type = media_type_of(url.path, said)
    if media_type is not None:
        return media_type
    essence = said.partition(";")[0].strip().lower()
    if included and essence not in _PAGES:
        return essence or "application/octet-stream"
    return Refusal(
        "not-media",
        f"the site calls it {essence or 'nothing'!r}, which is no video, audio or playlist; "
        "set its Content-Type, or name its path in the `include` setting.",
    )


def _protected(why: str) -> Refusal:
    return Refusal(
        "protected",
        f"{why}: it is not shared. If everybody may have it, answer anonymous visitors 200 "
        "with `Cache-Control: public`.",
    )
