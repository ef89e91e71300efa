"""Is p2pcdn in front of this page, did it take the videos over, and if not, why not?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.markup import Markup, read_markup
from p2pcdn.doctor.obstacles import obstacles, rewritten
from p2pcdn.doctor.videos import check_videos
from p2pcdn.doctor.visitor import Answer, Unreachable, is_local, join, origin_of, visit
from p2pcdn.page.csp import judge
from p2pcdn.page.transform import MARKER

__all__ = ["Page", "check_page"]

_AS_BROWSER = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
}
_LOADER = re.compile(r"/loader\.js\?v=[0-9a-f]+$")
_READABLE = ("", "identity", "gzip", "x-gzip", "deflate")


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was found.

    Attributes:
        url: After redirects.
        loader_url: Absolute address of the loader, be it from the page or from a guess that
            answered; None where there is no p2pcdn at all.
        media: Absolute addresses of the page's own videos (of its host), in order.
        taken: p2pcdn's script is in the page.
    """

    url: str
    loader_url: str | None
    media: tuple[str, ...]
    taken: bool


def check_page(report: Report, url: str, *, mount: str, timeout_s: float) -> Page | None:
    """Visit the page and tell what was found; None where it cannot be had at all."""
    try:
        answer = visit(
            url,
            headers={**_AS_BROWSER, "Accept-Encoding": "gzip, deflate, br, zstd"},
            redirects=True,
            timeout_s=timeout_s,
        )
        readable = answer
        if answer.header("content-encoding").strip().lower() not in _READABLE:
            readable = visit(answer.url, headers=_AS_BROWSER, timeout_s=timeout_s)
    except Unreachable as error:
        if error.certificate:
            report.problem(
                "certificate",
                f"Browsers do not trust this site: {error}.",
                "Install a certificate that browsers trust (Let's Encrypt gives one for "
                "nothing): service workers, and so sharing, need it.",
            )
        else:
            report.problem(
                "page-unreachable",
                f"The page cannot be had: {error}.",
                "Check the address, and that the site runs and is reachable from here.",
            )
        return None
    if answer.url != url:
        report.ok("page-redirect", f"The address leads to {answer.url}, which is looked at here.")
    if not 200 <= answer.status < 300:
        report.problem(
            "page-status",
            f"The site answers {answer.status} to an anonymous visitor.",
            "Name a page that anybody can see. What only signed-in visitors see, this command "
            "cannot look at; such videos are not shared anyway.",
        )
        return None
    _secure_context(report, answer.url)
    legible = readable.header("content-encoding").strip().lower() in _READABLE
    markup = read_markup(readable.body.decode("utf-8", "replace")) if legible else Markup()
    script = next(
        (s for s in markup.scripts if _LOADER.search(s[0])),
        None,
    )
    marked = bool(answer.header(MARKER[0].decode()))
    base = join(answer.url, markup.base or "") or answer.url
    loader_url = join(base, script[0]) or None if script else None
    if script and loader_url:
        report.ok("page-taken", "p2pcdn put its script into this page.")
        _policy_in_front(report, answer, markup, loader_url, nonce=script[1])
        _page_cached(report, answer)
    else:
        loader_url = _mounted(answer.url, mount, timeout_s)
        _not_taken(report, answer, markup, marked=marked, body=readable.body, mounted=loader_url)
    if markup.off:
        report.warning(
            "page-off",
            'The page says data-p2p="off" on its <html>: nothing on it is shared.',
            "Take the attribute away if you want its videos shared.",
        )
    media: tuple[str, ...] = ()
    if legible:
        media = check_videos(report, markup, answer.url, base, taken=script is not None)
    return Page(answer.url, loader_url, media, taken=script is not None)


def _secure_context(report: Report, url: str) -> None:
    if url.startswith("https:"):
        report.ok("secure-context", "The page is on https, as service workers need.")
    elif is_local(url):
        report.ok("secure-context", "The page is on this machine, where http is good enough.")
    else:
        report.problem(
            "secure-context",
            "The page is on http: browsers allow service workers, and so sharing, only on https "
            "(or on localhost).",
            "Serve the site over https, e.g. with a certificate of Let's Encrypt.",
        )


# --- not taken -----------------------------------------------------------------------------


def _not_taken(
    report: Report,
    answer: Answer,
    markup: Markup,
    *,
    marked: bool,
    body: bytes,
    mounted: str | None,
) -> None:
    found = obstacles(answer)
    for obstacle in found:
        report.problem(*obstacle)
    if found:
        return
    if (marked or mounted) and not rewritten(answer.url, body):
        _left_alone(report, markup)
        return
    if mounted is None:
        report.problem(
            "middleware-missing",
            "Nothing of p2pcdn is here: the page has neither its header nor its script, and its "
            "own addresses do not answer.",
            "Add the middleware (docs/quickstart.md) and restart the site. If it is there, look "
            "for P2PCDN_ENABLED=0, and for a web server in front that sends /p2pcdn/ elsewhere; "
            "another `mount` is named with --mount.",
        )
    else:
        cached = " It came from a cache." if _from_cache(answer) else ""
        report.problem(
            "page-passed-by",
            f"p2pcdn runs on this site, but this page did not go through it.{cached}",
            "Empty the caches in front. Else the page is served by something else: a web server, "
            "another application, or a middleware outside of p2pcdn; make p2pcdn the outermost "
            "one.",
        )


def _left_alone(report: Report, markup: Markup) -> None:
    if not markup.videos:
        return  # the videos' own findings say so
    if not markup.complete:
        report.problem(
            "page-fragment",
            "The page has neither a doctype nor an <html> or <head>: p2pcdn takes it for a "
            "fragment of another page and leaves it alone.",
            "Begin the page with <!DOCTYPE html>.",
        )
    else:
        report.problem(
            "page-doubtful",
            "p2pcdn leaves this page alone, because its HTML is ambiguous before or at the video "
            "(an unclosed comment, script or video, misnested SVG).",
            "Put the page through an HTML validator; the first error before the video is the "
            "likely cause.",
        )


def _mounted(url: str, mount: str, timeout_s: float) -> str | None:
    """The loader's address, guessed from the page's: its folders, outermost first."""
    folders = urlsplit(url).path.split("/")[1:-1][:4]
    for depth in range(len(folders) + 1):
        prefix = "".join(f"/{name}" for name in folders[:depth])
        address = f"{origin_of(url)}{prefix}{mount}"
        try:
            health = visit(f"{address}/health", most_bytes=4096, timeout_s=timeout_s)
        except Unreachable:
            return None
        if health.status == 200 and health.json() == {"status": "ok"}:
            return f"{address}/loader.js"
    return None


# --- taken -----------------------------------------------------------------------------------


def _policy_in_front(
    report: Report, answer: Answer, markup: Markup, loader_url: str, *, nonce: str
) -> None:
    """A policy that a proxy, or the page itself, added where p2pcdn could not see it."""
    path = urlsplit(loader_url).path
    policies = [v for k, v in answer.headers if k.lower() == "content-security-policy"]
    if policies:
        verdict = judge(policies, script_url=path, page_url=answer.url)
        reason = verdict.reason
        if verdict.allowed and verdict.nonce is not None and verdict.nonce != nonce:
            reason = "its script-src wants a nonce that the loader's script does not have"
        if reason:
            report.problem(
                "page-policy-front",
                "A Content-Security-Policy that is added in front of p2pcdn stands in the way: "
                f"{reason}.",
                "Change it where it is added (web server or CDN): script-src, connect-src and "
                "worker-src all need 'self'.",
            )
    for policy in markup.policies:
        # The script stands before the <meta>, which says nothing about what came before it.
        verdict = judge([f"script-src-elem *; {policy}"], script_url=path, page_url=answer.url)
        if not verdict.allowed:
            report.problem(
                "page-policy-meta",
                "The Content-Security-Policy in the page's <meta> stands in the way: "
                f"{verdict.reason}.",
                "Change it: connect-src and worker-src need 'self'.",
            )


def _page_cached(report: Report, answer: Answer) -> None:
    if _from_cache(answer):
        report.warning(
            "page-cached",
            "This page came from a cache in front of the site. After an update of p2pcdn, or of "
            "its settings, cached pages name the old loader.",
            "Empty that cache after updates, or let it revalidate pages (Cache-Control: no-cache).",
        )


def _from_cache(answer: Answer) -> bool:
    age = answer.header("age").strip()
    said = f"{answer.header('x-cache')} {answer.header('cf-cache-status')}".lower()
    return (age.isdecimal() and int(age) > 0) or "hit" in said
