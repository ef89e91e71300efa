"""Why the middleware leaves a response alone, judging by its headers."""

from __future__ import annotations

from p2pcdn.doctor.visitor import Answer
from p2pcdn.page.csp import judge
from p2pcdn.page.options import PageOptions
from p2pcdn.page.transform import MARKER, is_candidate_type, plan

__all__ = ["Obstacle", "obstacles", "rewritten"]

Obstacle = tuple[str, str, str]
"""Code, what was found, remedy."""


def obstacles(answer: Answer) -> list[Obstacle]:
    """Why `p2pcdn.page` leaves a response alone, judging by status and headers.

    `plan` itself is asked, once for each header field, so that this cannot say anything else
    than what the middleware does.
    """
    content_type = answer.header("content-type")
    if not is_candidate_type(content_type):
        said = answer.type or "nothing"
        return [
            (
                "page-type",
                f"The site calls this {said}, not text/html: it is no page to p2pcdn.",
                "Name the address of a page. If this is one, send "
                "`Content-Type: text/html; charset=utf-8`.",
            )
        ]
    kind = ("Content-Type", content_type)
    if _refused(answer, [kind]):
        return [
            (
                "page-charset",
                f"The page's encoding ({content_type}) cannot be rewritten safely.",
                "Serve pages as UTF-8: `Content-Type: text/html; charset=utf-8`.",
            )
        ]
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, value in answer.headers:
        if name.lower() not in ("content-type", MARKER[0].decode()):
            groups.setdefault(name.lower(), []).append((name, value))
    return [
        _obstacle(answer, name, ", ".join(value for _, value in fields))
        for name, fields in groups.items()
        if _refused(answer, [kind, *fields])
    ]


def rewritten(url: str, body: bytes) -> bool:
    """Whether `p2pcdn.page` changes such a page when it sees it."""
    transform = plan(
        method="GET",
        page_url=url,
        request_headers={},
        status=200,
        headers=[("Content-Type", "text/html")],
        options=_options("/p2pcdn/loader.js?v=0"),
    )
    return transform is not None and transform.whole(body)[1] != body


def _refused(answer: Answer, headers: list[tuple[str, str]]) -> bool:
    return (
        plan(
            method="GET",
            page_url=answer.url,
            request_headers={},
            status=200,
            headers=headers,
            options=_options("/p2pcdn/loader.js?v=0"),
        )
        is None
    )


def _options(loader_url: str) -> PageOptions:
    return PageOptions(
        loader_url=loader_url, noscript_url="/p2pcdn/noscript.css", shareable=lambda _: True
    )


def _obstacle(answer: Answer, name: str, value: str) -> Obstacle:
    if name == "content-security-policy":
        reason = judge([value], script_url="/p2pcdn/loader.js", page_url=answer.url).reason
        return (
            "page-policy",
            f"The page's Content-Security-Policy stands in the way: {reason}.",
            "Change that policy; script-src, connect-src and worker-src all need 'self'.",
        )
    if name == "content-encoding":
        return (
            "page-compressed",
            f"The page is compressed with {value} before p2pcdn sees it, which it cannot read.",
            "Compress outside of p2pcdn (in nginx or the CDN, or by a middleware that stands "
            "outside of it), or use gzip.",
        )
    if name == "cache-control":
        return (
            "page-no-transform",
            "The page says `Cache-Control: no-transform`: p2pcdn takes that for an opt-out.",
            "Take no-transform away if you want its videos shared.",
        )
    if name == "content-disposition":
        return (
            "page-attachment",
            "The page is sent as a download (Content-Disposition: attachment).",
            "Send it as a page, without that header.",
        )
    return (
        "page-handed-over",
        f"The page is not whole when p2pcdn sees it ({name}: {value[:60]}).",
        "Let the app send the page's bytes itself; hand over media, not pages.",
    )
