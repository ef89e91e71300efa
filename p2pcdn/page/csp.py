"""Would the site's own Content Security Policy let the loader run?

Source: Content Security Policy Level 3. Every policy of every header has to agree;
`Content-Security-Policy-Report-Only` enforces nothing and is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Verdict", "judge"]

_NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_-]+={0,2})'", re.IGNORECASE | re.ASCII)
_HASH = re.compile(r"'sha(?:256|384|512)-", re.IGNORECASE)
_HOST_SOURCE = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\*|(?:\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>\d{1,5}|\*))?(?P<path>/.*)?",
    re.IGNORECASE | re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A page served over TLS by a proxy looks like http from here, so both count as its scheme.
_PAGE_SCHEMES = frozenset(_DEFAULT_PORTS)

Policy = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policies say.

    Attributes:
        allowed: The loader can run and do its work.
        nonce: To be put on the script, if it needs one.
        inline: Inline event handlers run, too.
        scripts: Inline scripts do.
        reason: Why not, for the site's owner; names the directive and what to add.
    """

    allowed: bool
    nonce: str | None = None
    inline: bool = False
    scripts: bool = False
    reason: str = ""


def judge(headers: Iterable[str], *, script_url: str, page_url: str) -> Verdict:
    """Judge all `Content-Security-Policy` header values of a response.

    Args:
        headers: The values; each may hold several policies, separated by commas.
        script_url: The loader's path on the page's own origin.
        page_url: The page's absolute URL.
    """
    policies = [
        policy for value in headers for part in value.split(",") if (policy := _parse(part))
    ]
    for policy in policies:
        if reason := _useless(policy, script_url, page_url):
            return Verdict(False, reason=reason)
    nonces: list[str | None] = [None]
    for policy in policies:
        sources = _scripts(policy)
        nonces += [match[1] for source in sources or () if (match := _NONCE.fullmatch(source))]
    for nonce in dict.fromkeys(nonces):
        if all(_script_allowed(_scripts(p), nonce, script_url, page_url) for p in policies):
            inline = all(_inline_allowed(_handlers(policy)) for policy in policies)
            scripts = all(_inline_allowed(_scripts(policy)) for policy in policies)
            return Verdict(True, nonce=nonce, inline=inline, scripts=scripts)
    return Verdict(
        False,
        reason="its script-src does not allow the loader; add 'self', or a nonce that the "
        "header carries",
    )


def _parse(text: str) -> Policy:
    policy: dict[str, tuple[str, ...]] = {}
    for directive in text.split(";"):
        name, *values = directive.split() or [""]
        if name:
            policy.setdefault(name.lower(), tuple(values))
    return policy


def _first(policy: Policy, *names: str) -> tuple[str, ...] | None:
    return next((policy[name] for name in names if name in policy), None)


def _scripts(policy: Policy) -> tuple[str, ...] | None:
    return _first(policy, "script-src-elem", "script-src", "default-src")


def _handlers(policy: Policy) -> tuple[str, ...] | None:
    return _first(policy, "script-src-attr", "script-src", "default-src")


def _useless(policy: Policy, script_url: str, page_url: str) -> str:
    """Why the loader, even if it ran, could do nothing."""
    if "sandbox" in policy:
        granted = {flag.lower() for flag in policy["sandbox"]}
        if not {"allow-scripts", "allow-same-origin"} <= granted:
            return "its sandbox directive lacks allow-scripts or allow-same-origin"
    connect = _first(policy, "connect-src", "default-src")
    if connect is not None and not _matches(connect, script_url, page_url):
        return "its connect-src keeps the loader from the site itself; add 'self'"
    workers = _first(policy, "worker-src", "child-src")
    if workers is None:
        workers = _first(policy, "script-src", "default-src")
        if workers is not None and "'strict-dynamic'" in _keywords(workers):
            return ""  # registered by a script, not by the parser
    if workers is not None and not _matches(workers, script_url, page_url, exact=False):
        return "its worker-src (or what stands in for it) refuses our worker; add worker-src 'self'"
    return ""


def _keywords(sources: tuple[str, ...]) -> set[str]:
    return {source.lower() for source in sources}


def _script_allowed(
    sources: tuple[str, ...] | None, nonce: str | None, script_url: str, page_url: str
) -> bool:
    if sources is None:
        return True
    if nonce is not None and any(
        (match := _NONCE.fullmatch(source)) and match[1] == nonce for source in sources
    ):
        return True
    if "'strict-dynamic'" in _keywords(sources):
        return False
    return _matches(sources, script_url, page_url)


def _inline_allowed(sources: tuple[str, ...] | None) -> bool:
    if sources is None:
        return True
    keywords = _keywords(sources)
    return (
        "'unsafe-inline'" in keywords
        and "'strict-dynamic'" not in keywords
        and not any(_NONCE.fullmatch(source) or _HASH.match(source) for source in sources)
    )


def _matches(
    sources: tuple[str, ...], script_url: str, page_url: str, *, exact: bool = True
) -> bool:
    """Whether a URL of our own matches one of the sources (CSP 3, 6.7.2.8).

    `exact=False`: for another file beside the script, where only a folder can match.
    """
    try:
        page = urlsplit(page_url)
        scheme, page_host, page_port = page.scheme, page.hostname or "", page.port
    except ValueError:
        scheme, page_host, page_port = "", "", None
    path = script_url.partition("?")[0]
    if not exact:
        path = path.rpartition("/")[0] + "/"
    for source in sources:
        if source.lower() == "'self'" or source == "*":
            return True
        if source.endswith(":") and source[:-1].lower() in _PAGE_SCHEMES:
            return True
        match = _HOST_SOURCE.fullmatch(source)
        if match is None or (match["scheme"] or "http").lower() not in _PAGE_SCHEMES:
            continue
        host = match["host"].lower()
        if host.startswith("*."):
            if not page_host.endswith(host[1:]):
                continue
        elif host not in ("*", page_host):
            continue
        if match["port"] not in (None, "*"):
            if int(match["port"]) != (page_port or _DEFAULT_PORTS.get(scheme, 0)):
                continue
        elif match["port"] is None and page_port not in (None, 80, 443):
            continue
        allowed = match["path"]
        if allowed in (None, "/") or path == allowed:
            return True
        if allowed.endswith("/") and path.startswith(allowed):
            return True
    return False
