"""`p2pcdn hash FILE...`: what the manifest of a file holds."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from urllib.parse import quote

from p2pcdn.config import Config
from p2pcdn.errors import P2PCDNError
from p2pcdn.media.hasher import FileChanged, hash_file, stamp_of
from p2pcdn.media.manifest import Manifest, Refusal, content_key, segment_bytes_for
from p2pcdn.media.types import media_type_of
from p2pcdn.media.urls import MediaUrl, parse_target

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `p2pcdn hash`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--prefix",
        default="/",
        metavar="PATH",
        help="URL path below which the site serves the files, e.g. /media/; it is part of the "
        "content key (default: /)",
    )
    parser.add_argument("--json", action="store_true", help="print the manifests, hashes included")


def run(args: argparse.Namespace) -> int:
    """Print one manifest per file; a file that cannot be read costs only its own.

    Returns:
        0, or 1 when a file could not be hashed.
    """
    config = Config.load()
    manifests, failed = [], False
    for file in args.files:
        try:
            manifest = _manifest(file, _url(args.prefix, file.name), config.segment_bytes)
        except (OSError, P2PCDNError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            print(f"p2pcdn hash: {file}: {reason or error}", file=sys.stderr)
            failed = True
            continue
        manifests.append(manifest)
        if not args.json:
            print(_described(file, manifest))
    if args.json:
        print(json.dumps([manifest.to_json() for manifest in manifests], indent=2))
    return int(failed)


def _url(prefix: str, name: str) -> MediaUrl:
    target = f"{prefix.rstrip('/')}/{quote(name)}"
    found = parse_target(target)
    if isinstance(found, Refusal):
        raise P2PCDNError(f"{target} is no URL path that can be shared: {found.message}")
    return found


def _manifest(file: Path, url: MediaUrl, wanted_bytes: int | None) -> Manifest:
    stamp = stamp_of(file.stat())
    if stamp is None:
        raise P2PCDNError("not a file")
    segment_bytes = segment_bytes_for(stamp.size, wanted_bytes)
    hashes = b""
    try:
        for step in hash_file(file, stamp, segment_bytes):
            if isinstance(step, bytes):
                hashes = step
    except FileChanged:
        raise P2PCDNError("it changed while it was read; try again") from None
    return Manifest(
        key=content_key(url.path, hashes),
        url=url.url,
        size=stamp.size,
        type=media_type_of(url.path) or "application/octet-stream",
        segment_bytes=segment_bytes,
        hashes=hashes,
    )


def _described(file: Path, manifest: Manifest) -> str:
    count = len(manifest.hashes) // 32
    note = "" if media_type_of(manifest.url) else "  (not shared: no audio or video)"
    rows = (
        ("url", manifest.url),
        ("type", manifest.type + note),
        ("size", f"{manifest.size:,} bytes"),
        ("segments", f"{count:,} of {manifest.segment_bytes:,} bytes"),
        ("version", hashlib.sha256(manifest.hashes).hexdigest()),
        ("key", manifest.key),
    )
    return "\n".join([str(file), *(f"  {name:<9} {value}" for name, value in rows)])
