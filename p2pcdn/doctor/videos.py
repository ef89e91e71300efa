"""The videos of a page: which p2pcdn took over, which can be shared, and why others cannot."""

from __future__ import annotations

from urllib.parse import urlsplit

from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.markup import Markup
from p2pcdn.doctor.visitor import join, origin_of

__all__ = ["check_videos"]

_DOCS = "docs/deployment.md"


def check_videos(
    report: Report, markup: Markup, url: str, base: str, *, taken: bool
) -> tuple[str, ...]:
    """Tell what became of each video; the addresses of those on the page's own host."""
    own = origin_of(url)
    media: dict[str, None] = {}
    if not markup.videos:
        report.warning(
            "page-no-video",
            "There is no <video> in this page's HTML.",
            "Name a page that has one. What scripts add later is only seen with --browser.",
        )
    for video in markup.videos:
        for source in video.data_src:
            address = join(base, source)
            if address.startswith(own + "/"):
                media[address] = None
        if video.off:
            report.ok(
                "video-off", f'A video says data-p2p="off" and is left alone{_of(video.src)}.'
            )
            continue
        if not video.src and not video.data_src:
            report.warning(
                "video-script",
                "A <video> names no source: a script gives it one.",
                "Use --browser to see what becomes of it. Files given later are shared, as are the "
                "segments of HLS and DASH whose playlist ends in .m3u8 or .mpd on this site.",
            )
        for source in video.src:
            _left(report, source, base, own, media, taken=taken)
    if taken:
        for address in media:
            report.ok("video-taken", f"p2pcdn took this video over: {address}")
    return tuple(media)


def _left(
    report: Report, source: str, base: str, own: str, media: dict[str, None], *, taken: bool
) -> None:
    """A `src` that p2pcdn did not take over."""
    address = join(base, source)
    scheme = urlsplit(address).scheme
    if scheme not in ("http", "https"):
        report.warning(
            "video-script",
            f"A video's source is {source[:40]}, which only its page knows.",
            "Give the video the address of a file on this site.",
        )
    elif origin_of(address) != own:
        report.warning(
            "video-other-host",
            f"A video comes from another host and cannot be shared: {address}",
            "Serve it under this site's own address, e.g. by a path that the web server or the "
            f"app fetches from there ({_DOCS}): a service worker answers for its own host only.",
        )
    elif taken:
        report.warning(
            "video-left",
            f"p2pcdn left this video alone: {address}",
            "Look at the settings `include` and `exclude` and at the site's prefix. Else its "
            "HTML is ambiguous: close the <video>, and keep other elements out of it.",
        )
    else:
        media[address] = None


def _of(sources: list[str]) -> str:
    return f" ({sources[0][:80]})" if sources else ""
