"""The films that the demo shows: its own, or those of a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from p2pcdn.errors import P2PCDNError

__all__ = ["Film", "find_films", "own_films"]

_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/mp4"}
_MEDIA = Path(__file__).parent / "media"


@dataclass(frozen=True, slots=True)
class Film:
    """One film: `file` is what visitors load, `poster` the picture before they do."""

    slug: str
    title: str
    text: str
    file: Path
    poster: Path | None

    @property
    def type(self) -> str:
        return _TYPES[self.file.suffix.lower()]


def own_films() -> tuple[Film, ...]:
    """What the package carries."""
    return (
        Film(
            "northern-light",
            "Northern Light",
            "A night on the far shore, while the sky does all the work. Somebody left the lamp "
            "on in the cabin.",
            _MEDIA / "northern-light.mp4",
            _MEDIA / "northern-light.jpg",
        ),
    )


def find_films(folder: Path) -> tuple[Film, ...]:
    """Every MP4 and WebM of a folder, by name; a JPEG of the same name is its poster.

    Raises:
        P2PCDNError: There is no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise P2PCDNError(f"{folder} is not a folder")
    films: dict[str, Film] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in _TYPES or not file.is_file():
            continue
        slug = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-") or "film"
        while slug in films:
            slug += "-2"
        title = re.sub(r"[-_. ]+", " ", file.stem).strip().capitalize() or file.name
        poster = file.with_suffix(".jpg")
        text = f"{file.name}, {file.stat().st_size / 1e6:.1f} MB"
        films[slug] = Film(slug, title, text, file, poster if poster.is_file() else None)
    if not films:
        raise P2PCDNError(f"no video in {folder}; it should hold {', '.join(_TYPES)} files")
    return tuple(films.values())
