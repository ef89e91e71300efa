"""One examination, from the page to the links between visitors."""

from __future__ import annotations

from p2pcdn.doctor.agreement import check_secrets
from p2pcdn.doctor.assets import check_assets
from p2pcdn.doctor.coordinator import check_coordinator
from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.ice import check_ice, ice_of
from p2pcdn.doctor.media import check_media
from p2pcdn.doctor.pages import check_page
from p2pcdn.doctor.visitor import parse_url

__all__ = ["examine"]

_LONGEST_ICE_S = 3.0


def examine(
    url: str,
    *,
    browser: bool = False,
    token: str | None = None,
    mount: str = "/p2pcdn",
    wait_s: float = 20.0,
    timeout_s: float = 10.0,
    chromium: str | None = None,
) -> Report:
    """Visit a page and report what helps or hinders sharing on it.

    Args:
        url: The page, http or https.
        browser: Also open it twice in a headless Chromium.
        token: The site's `stats_token`: also ask what the site itself counted.
        mount: Where p2pcdn's files are, if the page does not say.
        wait_s: How long to wait for hashes that are being made, and for a link in a browser.
        timeout_s: Longest silence of a server.
        chromium: The browser's executable; default: the one on PATH.

    Raises:
        P2PCDNError: The URL is none.
    """
    parse_url(url)
    report = Report(url)
    page = check_page(report, url, mount=mount, timeout_s=timeout_s)
    if page is None:
        return report
    loader = None
    if page.loader_url is not None:
        loader = check_assets(report, page.loader_url, page.url, timeout_s=timeout_s)
    if loader is not None:
        shared = check_media(report, page.media, loader, wait_s=wait_s, timeout_s=timeout_s)
        for url in shared[:1]:
            check_secrets(report, url, loader, timeout_s=timeout_s)
        check_coordinator(report, loader, timeout_s=timeout_s)
        ice, relay_only = ice_of(loader, timeout_s=timeout_s)
        check_ice(report, ice, relay_only=relay_only, timeout_s=min(timeout_s, _LONGEST_ICE_S))
        if token is not None:
            from p2pcdn.doctor.counted import check_counted

            check_counted(report, loader, token, timeout_s=timeout_s)
    if browser:
        from p2pcdn.doctor.browser import check_browser

        check_browser(report, page.url, wait_s=wait_s, chromium=chromium)
    return report
