"""An upload is what its bytes say, not what its name says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError


def check_video(file: Any) -> None:
    if getattr(file, "_committed", False):
        return  # stored already: another field was edited
    suffix = Path(file.name).suffix.lower()
    head = _head(file)
    mp4 = suffix in (".mp4", ".m4v") and head[4:8] == b"ftyp"
    webm = suffix == ".webm" and head[:4] == b"\x1a\x45\xdf\xa3"
    if not (mp4 or webm):
        raise ValidationError("This is not an MP4 or WebM video.")
    if file.size > settings.MAX_UPLOAD_BYTES:
        limit = settings.MAX_UPLOAD_BYTES // (1024 * 1024)
        raise ValidationError(f"This video is larger than {limit} MB.")


def check_poster(file: Any) -> None:
    if getattr(file, "_committed", False):
        return
    suffix = Path(file.name).suffix.lower()
    head = _head(file)
    jpeg = suffix in (".jpg", ".jpeg") and head[:3] == b"\xff\xd8\xff"
    png = suffix == ".png" and head[:8] == b"\x89PNG\r\n\x1a\n"
    webp = suffix == ".webp" and head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if not (jpeg or png or webp):
        raise ValidationError("This is not a JPEG, PNG or WebP picture.")


def _head(file: Any) -> bytes:
    file.seek(0)
    head = file.read(16)
    file.seek(0)
    return bytes(head)
