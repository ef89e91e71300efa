"""What the middleware adds to a response, beside what the response costs anyway, in one run.

    python tests/bench/bench_page.py

Prints microseconds, MB/s and ratios; exits with 1 where a wanted number is missed. The
baselines are one search for a word in the same page, and the same page compressed by zlib.
"""

from __future__ import annotations

import gzip
import sys
import time
import zlib
from collections.abc import Callable

from p2pcdn.page.transform import PageOptions, PageTransform, is_candidate_type, plan

OPTIONS = PageOptions(
    loader_url="/p2pcdn/loader.js?v=ab12cd34",
    noscript_url="/p2pcdn/noscript.css",
    shareable=lambda url: True,
)
HTML = [
    (b"date", b"Thu, 01 Jan 2026 00:00:00 GMT"),
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-length", b"50000"),
    (b"etag", b'"abc"'),
    (b"vary", b"Cookie"),
]
JSON = [(n, b"application/json" if n == b"content-type" else v) for n, v in HTML]

CARD = b"""      <article class="card" data-id="17">
        <a class="card__link" href="/watch/17?ref=home" title="A title &amp; more">
          <img src="/media/thumb-17.jpg" alt="Some text" width="320" height="180" loading="lazy">
          <svg class="icon" viewBox="0 0 24 24"><path d="M12 2L2 7l10 5 10-5-10-5z"/></svg>
          <h2 class="card__title">A walk in the park &mdash; part 17</h2>
          <p class="card__text">Lorem ipsum dolor sit amet, consectetur adipiscing elit.</p>
        </a>
      </article>
"""
START = b"<!doctype html><html lang=en><head><meta charset=utf-8><title>Videos</title></head><body>"
PLAIN = (START + CARD * 200)[:50_000]
VIDEO = b'<video controls poster="/p.jpg"><source src="/media/a.mp4" type="video/mp4">No.</video>'
WITH_VIDEO = PLAIN[: PLAIN.rindex(b"<article")] + VIDEO

HOSTILE = {
    "unclosed tags": b"<a ",
    "unclosed comments": b"<!--",
    "unclosed quotes": b"<a b='",
    "nested svg": b"<svg><g>",
    "failing icons": b"<svg><path d='M0'/><p>",
    "script escapes": b"<script><!--<script></script>",
    "unclosed videos": b"<video src=/a>",
    "equals signs": b"<a = = =",
    "white space": b"<a b   \n\n   \t  ",
    "quick, then slow": b'<a b="c" d="e"\n>',
    "false starts": b"<a b='<script>'>",
    "false ends": b"<!><a b='=\">'>",
}


def seconds(work: Callable[[], object], *, rounds: int, times: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, time.perf_counter() - begin)
    return best / times


def planned(headers: list[tuple[bytes, bytes]]) -> PageTransform | None:
    return plan(
        method="GET",
        page_url="https://example.org/watch/1",
        request_headers=[],
        status=200,
        headers=headers,
        options=OPTIONS,
    )


def whole(page: bytes, headers: list[tuple[bytes, bytes]] = HTML) -> bytes:
    transform = planned(headers)
    assert transform is not None
    return transform.whole(page)[1]


def streamed(page: bytes, chunk: int) -> None:
    transform = planned(HTML)
    assert transform is not None
    for at in range(0, len(page), chunk):
        transform.feed(page[at : at + chunk])
    transform.close()


def main() -> int:
    assert whole(PLAIN) is PLAIN
    assert b"data-src" in whole(WITH_VIDEO)
    missed = 0

    def line(name: str, took: float, size: int = 0, wanted_us: float = 0, base: float = 0) -> None:
        nonlocal missed
        us = took * 1e6
        text = f"{name:44}{us:10.2f} us"
        text += f"{size / took / 1e6:9.0f} MB/s" if size else " " * 14
        text += f"{took / base:8.2f} x baseline" if base else ""
        if wanted_us:
            missed += us > wanted_us
            text += f"   wanted {wanted_us:g}: {'reached' if us <= wanted_us else 'MISSED'}"
        print(text)

    search = seconds(lambda: WITH_VIDEO.lower().find(b"<video"), rounds=100, times=3)
    line("baseline: lower-case the page and search", search, len(WITH_VIDEO))
    packing = seconds(lambda: gzip.compress(WITH_VIDEO, 5), rounds=10, times=2)
    line("baseline: gzip the page", packing, len(WITH_VIDEO))
    print()
    kind = b"application/json"
    line(
        "is this type a page? (no)",
        seconds(lambda: is_candidate_type(kind), rounds=60, times=1000),
        wanted_us=0.4,
    )
    line(
        "plan for a response that is no page",
        seconds(lambda: planned(JSON), rounds=60, times=500),
        wanted_us=1,
    )
    line("plan for a page", seconds(lambda: planned(HTML), rounds=20, times=500))
    print()
    size = len(WITH_VIDEO)
    line(
        "50 kB page without a video",
        seconds(lambda: whole(PLAIN), rounds=150, times=3),
        len(PLAIN),
        30,
        search,
    )
    line(
        "50 kB page with a video, at its end",
        seconds(lambda: whole(WITH_VIDEO), rounds=150, times=3),
        size,
        350,
        search,
    )
    for chunk in (65536, 4096, 256):
        line(
            f"  streamed in chunks of {chunk}",
            seconds(lambda c=chunk: streamed(WITH_VIDEO, c), rounds=10, times=3),
            size,
            0,
            search,
        )
    packed = gzip.compress(WITH_VIDEO, 5)
    coded = [*HTML, (b"content-encoding", b"gzip")]
    line(
        "  compressed (gzip)",
        seconds(lambda: whole(packed, coded), rounds=10, times=2),
        size,
        0,
        packing,
    )
    assert b"data-src" in zlib.decompress(whole(packed, coded), 31)
    print("\nhostile pages of 1 MB, at once and in chunks of 1 kB")
    for name, attack in HOSTILE.items():
        page = START + attack * (1_000_000 // len(attack)) + b"<video src=/a></video>"
        line("  " + name, seconds(lambda p=page: whole(p), rounds=2, times=1), len(page))
        line("", seconds(lambda p=page: streamed(p, 1024), rounds=2, times=1), len(page))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
