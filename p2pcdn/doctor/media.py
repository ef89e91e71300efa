"""Can each video of the page be shared, and are its bytes those that the manifest vouches for?"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import time
from typing import Any
from urllib.parse import quote, urlsplit

from p2pcdn.doctor.assets import Loader
from p2pcdn.doctor.findings import Report
from p2pcdn.doctor.visitor import Answer, Unreachable, visit

__all__ = ["check_media"]

_MOST = 5
# As Chromium asks for media: Fetch adds `identity` to every request with a Range.
_AS_PLAYER = {"Accept-Encoding": "identity;q=1, *;q=0", "Sec-Fetch-Dest": "video"}

_REMEDIES = {
    "protected": "If everybody may have it, let the site answer anonymous visitors 200 with "
    "`Cache-Control: public`. If not, all is as it should be.",
    "unknown": "The page must reach visitors through p2pcdn, not from a cache in front, and all "
    "server workers must share one `data_dir`; or name the path in the `include` setting.",
    "gone": "Put the file where its address says, or change the address.",
    "broken": "Look into the site's own log.",
    "outside": "Serve the file through the site itself, or name its folder in `media_roots`.",
    "encoded": "Switch compression off for media.",
    "not-media": "Send a Content-Type such as video/mp4, or name its path in `include`.",
    "too-large": "Raise `max_content_bytes`.",
    "rate": "Wait a moment and try again.",
    "empty": "Put the file's bytes where its address says.",
    "bad-url": "Give the video a plain path on this site.",
}


def check_media(
    report: Report, media: tuple[str, ...], loader: Loader, *, wait_s: float, timeout_s: float
) -> list[str]:
    """Ask for each video's manifest, and for its first segment.

    Args:
        report: Gets the findings.
        media: Absolute addresses on the page's own host; the first five are looked at.
        loader: Says where the manifest is.
        wait_s: How long to wait for a manifest that is being made.
        timeout_s: Longest silence of the server.

    Returns:
        The addresses that have a manifest.
    """
    shared = []
    for url in media[:_MOST]:
        manifest = _manifest(report, url, loader, wait_s=wait_s, timeout_s=timeout_s)
        if manifest is not None:
            shared.append(url)
        _bytes(report, url, manifest, timeout_s=timeout_s)
    if len(media) > _MOST:
        report.ok(
            "media-more", f"{len(media) - _MOST} more videos on this page were not looked at."
        )
    return shared


def _manifest(
    report: Report, url: str, loader: Loader, *, wait_s: float, timeout_s: float
) -> dict[str, Any] | None:
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    address = loader.beside("manifest") + f"?url={quote(target, safe='')}&peer=doctor"
    end = time.monotonic() + wait_s
    while True:
        try:
            answer = visit(address, headers={"Sec-Fetch-Site": "same-origin"}, timeout_s=timeout_s)
        except Unreachable as error:
            report.problem(
                "manifest",
                f"{parts.path}: no manifest, {error}.",
                "Send everything below p2pcdn's mount to the app; look into the site's log.",
            )
            return None
        found = answer.json()
        if not isinstance(found, dict):
            report.problem(
                "manifest",
                f"{parts.path}: the manifest's address answers {answer.status} with something "
                "else than a manifest.",
                "Send everything below p2pcdn's mount (default /p2pcdn/) to the app, unchanged, "
                "with its query; look into the site's log.",
            )
            return None
        _cached(report, parts.path, answer)
        if answer.status != 202:
            break
        if time.monotonic() > end:
            report.warning(
                "manifest-pending",
                f"{parts.path}: its hashes were not ready after {wait_s:g} s. Until then it plays "
                "from the site.",
                "Nothing, if the file is large and new. If it stays so: the data folder "
                "(`data_dir`) must be writable, and the site's log may say more.",
            )
            return None
        time.sleep(min(max(_number(found.get("retry_after"), 1.0), 0.1), 2.0))
    if answer.status == 200:
        count = len(str(found.get("hashes", ""))) * 3 // 4 // 32
        report.ok(
            "manifest",
            f"{parts.path}: can be shared, {_number(found.get('size'), 0):,.0f} bytes in "
            f"{count} segments.",
        )
        return found
    code = str(found.get("error", answer.status))
    report.problem(
        f"manifest-{code}" if code in _REMEDIES else "manifest",
        f"{parts.path}: the site does not share it: {found.get('message', code)}",
        _REMEDIES.get(code, "Look into the site's log."),
    )
    return None


def _cached(report: Report, path: str, answer: Answer) -> None:
    control = answer.header("cache-control").lower()
    if "no-store" in control and not answer.header("age"):
        return
    if any(f.code == "manifest-cached" for f in report.findings):
        return
    report.problem(
        "manifest-cached",
        f"{path}: something in front of the site caches manifests (Cache-Control: "
        f"{control or 'none'}{', Age: ' + answer.header('age') if answer.header('age') else ''}). "
        "Each is for one visitor and short-lived.",
        "Let the web server or CDN keep nothing below p2pcdn's mount and the coordinator's path, "
        "and leave their Cache-Control alone.",
    )


def _bytes(report: Report, url: str, manifest: dict[str, Any] | None, *, timeout_s: float) -> None:
    path = urlsplit(url).path
    length = 1024
    if manifest is not None:
        size = int(_number(manifest.get("size"), 0))
        length = min(int(_number(manifest.get("segment_bytes"), length)), size)
    if length < 2:
        return
    headers = {**_AS_PLAYER, "Range": f"bytes=0-{length - 1}"}
    try:
        answer = visit(url, headers=headers, most_bytes=length, timeout_s=timeout_s)
    except Unreachable as error:
        report.problem("media", f"{path}: {error}.", "Look into the site's log.")
        return
    if answer.status not in (200, 206):
        report.problem(
            "media",
            f"{path}: the site answers {answer.status} to a visitor's player.",
            "Make the file readable for anonymous visitors.",
        )
        return
    coding = answer.header("content-encoding").strip().lower()
    if coding not in ("", "identity"):
        report.problem(
            "media-encoded",
            f"{path}: the file is compressed on its way ({coding}), so its bytes are not those "
            "that were hashed, and seeking does not work.",
            "Switch compression off for media, in the app and in front of it.",
        )
        return
    if answer.status == 200:
        report.warning(
            "media-range",
            f"{path}: Range is ignored (200 instead of 206), so seeking and joining in the middle "
            "cost the whole file.",
            "Something in front of p2pcdn drops Range: let it pass the header on (nginx: no "
            '`proxy_set_header Range ""`, no cache without `slice`).',
        )
    elif not answer.header("content-range").strip().startswith(f"bytes 0-{len(answer.body) - 1}/"):
        report.problem(
            "media-range",
            f"{path}: another range than the one asked for ({answer.header('content-range')}).",
            "The web server, or what is in front of it, answers Range wrongly: update it, or "
            "switch its own handling of ranges off.",
        )
        return
    else:
        report.ok("media-range", f"{path}: parts can be asked for (206).")
    if manifest is not None:
        _verified(report, path, answer.body[:length], manifest)


def _verified(report: Report, path: str, data: bytes, manifest: dict[str, Any]) -> None:
    try:
        first = base64.b64decode(str(manifest.get("hashes", "")), validate=True)[:32]
    except binascii.Error:
        first = b""
    if hashlib.sha256(data).digest() == first:
        report.ok("media-bytes", f"{path}: its first segment has the hash that the manifest says.")
    else:
        report.problem(
            "media-bytes",
            f"{path}: visitors get other bytes than those that were hashed, so that what they "
            "pass on is thrown away.",
            "A cache in front keeps an older file, or something changes media on its way: empty "
            "the cache, switch the change off.",
        )


def _number(value: object, otherwise: float) -> float:
    if isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value < 2**53:
        return float(value)
    return otherwise
