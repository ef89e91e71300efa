"""Which content types are media, and what stands in for a server that does not know them."""

from __future__ import annotations

__all__ = ["is_media_type", "media_type_of", "says_nothing"]

# RFC 8216 (HLS) and ISO/IEC 23009-1 (DASH) playlists; the others are names in use for them.
_PLAYLISTS = frozenset(
    {
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "application/dash+xml",
        "application/mp4",
        "application/ogg",
    }
)

# A bare container image has no /etc/mime.types, and Python's own table knows few of these:
# static routes then say `application/octet-stream`, or nothing.
_BY_EXTENSION = {
    "3gp": "video/3gpp",
    "aac": "audio/aac",
    "avi": "video/x-msvideo",
    "flac": "audio/flac",
    "m3u8": "application/vnd.apple.mpegurl",
    "m4a": "audio/mp4",
    "m4s": "video/iso.segment",
    "m4v": "video/x-m4v",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpd": "application/dash+xml",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "ts": "video/mp2t",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
}

# Debian's table knows .ts as a translator's file; Starlette says text/plain where it knows nothing.
_SAYS_NOTHING = frozenset(
    {
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "text/plain",
        "text/vnd.trolltech.linguist",
        "text/vnd.qt.linguist",
    }
)


def is_media_type(content_type: str | bytes) -> bool:
    """Whether a `Content-Type` value names audio, video or an HLS/DASH playlist.

    Adapters ask it of every response that is no page, so it looks at six characters first.
    """
    if isinstance(content_type, bytes):
        content_type = content_type.decode("latin-1")
    start = content_type[:6].lower()
    if start in ("video/", "audio/"):
        return True
    if start != "applic":
        return False
    return content_type.partition(";")[0].strip().lower() in _PLAYLISTS


def says_nothing(content_type: str | bytes) -> bool:
    """Whether a `Content-Type` value is what servers say of files that they do not know."""
    if isinstance(content_type, bytes):
        content_type = content_type.decode("latin-1")
    return content_type.partition(";")[0].strip().lower() in _SAYS_NOTHING


def media_type_of(path: str, content_type: str = "") -> str | None:
    """The media type of what `path` answers, or None where it is no media.

    Args:
        path: A URL path; only its extension counts, and only where the origin names no type.
        content_type: What the origin said.
    """
    essence = content_type.partition(";")[0].strip().lower()
    if is_media_type(essence):
        return essence
    if essence in _SAYS_NOTHING:
        return _BY_EXTENSION.get(path.rpartition("/")[2].rpartition(".")[2].lower())
    return None
