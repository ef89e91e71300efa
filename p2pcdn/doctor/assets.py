"""Are the loader and the worker served as browsers need them?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.visitor import Unreachable, join, visit

__all__ = ["Loader", "check_assets"]

_SCRIPTS = frozenset({"text/javascript", "application/javascript", "application/x-javascript"})
_PATHS = "Send everything below p2pcdn's mount (default /p2pcdn/) to the app, unchanged"


@dataclass(frozen=True, slots=True)
class Loader:
    """The loader as it is served.

    Attributes:
        url: Absolute.
        settings: `LoaderConfig` of js/src/config.ts.
    """

    url: str
    settings: dict[str, Any]

    @property
    def scope(self) -> str:
        return join(self.url, str(self.settings.get("scope", "../")))

    @property
    def coordinator(self) -> str:
        """The coordinator's base, with a slash at its end."""
        return join(self.url, str(self.settings.get("coordinator", "../peerjs"))) + "/"

    def beside(self, name: str) -> str:
        """The address of another of our files or endpoints."""
        return join(self.url, name)


def check_assets(
    report: Report, loader_url: str, page_url: str, *, timeout_s: float
) -> Loader | None:
    """Fetch loader and worker; None where the loader cannot be had, so nothing else can work."""
    try:
        answer = visit(loader_url, timeout_s=timeout_s)
    except Unreachable as error:
        report.problem("loader", f"The loader cannot be had: {error}.", f"{_PATHS}.")
        return None
    settings = _config_in(answer.body, b"P2PCDN_CONFIG")
    if answer.status != 200 or answer.type not in _SCRIPTS or settings is None:
        said = "something else than the loader" if answer.status == 200 else f"{answer.status}"
        report.problem(
            "loader",
            f"The loader's address answers {said} ({answer.type or 'no type'}): {loader_url}",
            f"{_PATHS}. A web server that serves static files by itself must not catch *.js there.",
        )
        return None
    loader = Loader(loader_url, settings)
    _version(report, loader)
    _engine(report, loader, timeout_s)
    _worker(report, loader, page_url, timeout_s)
    return loader


def _version(report: Report, loader: Loader) -> None:
    wanted = next(
        (part[2:] for part in urlsplit(loader.url).query.split("&") if part.startswith("v=")), None
    )
    found = loader.settings.get("version")
    if wanted is not None and wanted != found:
        report.warning(
            "loader-version",
            f"The page asks for version {wanted} of the loader, the site has {found}: the page is "
            "older (from a cache), or the site's server workers run with different settings.",
            "Restart all server workers with the same settings; empty the caches in front.",
        )
        return
    report.ok("loader", f"The loader is served (version {found}).")


def _engine(report: Report, loader: Loader, timeout_s: float) -> None:
    url = loader.beside(f"engine.js?v={loader.settings.get('version', '')}")
    try:
        answer = visit(url, timeout_s=timeout_s)
        said = f"{answer.status}, {answer.type or 'no type'}"
        if answer.status == 200 and answer.type in _SCRIPTS and answer.body:
            return
    except Unreachable as error:
        said = str(error)
    report.problem(
        "engine", f"The part of the loader that shares is not served: {said} ({url}).", f"{_PATHS}."
    )


def _worker(report: Report, loader: Loader, page_url: str, timeout_s: float) -> None:
    url = loader.beside("worker.js")
    headers = {"Service-Worker": "script", "Accept-Encoding": "gzip"}
    try:
        answer = visit(url, headers=headers, timeout_s=timeout_s)
    except Unreachable as error:
        report.problem("worker", f"The service worker cannot be had: {error}.", f"{_PATHS}.")
        return
    if 300 <= answer.status < 400:
        report.problem(
            "worker",
            f"The service worker's address redirects (to {answer.header('location')}), which "
            "browsers refuse.",
            f"{_PATHS}, without a redirect.",
        )
        return
    settings = _config_in(answer.body, b"P2PCDN_WORKER")
    if answer.status != 200 or answer.type not in _SCRIPTS or settings is None:
        report.problem(
            "worker",
            f"The service worker is not served as a script: {answer.status}, "
            f"{answer.type or 'no type'} ({url}).",
            f"{_PATHS}.",
        )
        return
    if not page_url.startswith(loader.scope):
        report.problem(
            "worker-scope",
            f"This page lies outside of the worker's scope ({loader.scope}).",
            "Share pages below the site's prefix; if visitors see another prefix than the server "
            "knows, name it in the `public_prefix` setting.",
        )
        return
    # Without the header the widest scope is the worker's own folder (Service Workers, 3.2.3).
    allowed = join(url, answer.header("service-worker-allowed") or "./")
    if not loader.scope.startswith(allowed):
        report.problem(
            "worker-scope",
            "The header Service-Worker-Allowed does not reach the browser, so the worker may not "
            f"serve pages above {urlsplit(join(url, './')).path}.",
            "Let the web server in front pass that header on (nginx: no "
            "`proxy_hide_header Service-Worker-Allowed`).",
        )
        return
    if settings.get("version") != loader.settings.get("version"):
        report.warning(
            "worker-version",
            "The service worker and the loader are of different versions: something in front "
            "keeps one of them, or the server workers' settings differ.",
            "Do not cache worker.js in front of the site; restart all server workers.",
        )
        return
    report.ok("worker", f"The service worker is served, and may answer for {loader.scope}")


def _config_in(code: bytes, name: bytes) -> dict[str, Any] | None:
    """The constant that p2pcdn.web.assets puts in front of a script."""
    start = code.find(name + b"=", 0, 4096)
    if start < 0:
        return None
    try:
        text = code[start + len(name) + 1 :].decode("utf-8")
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
