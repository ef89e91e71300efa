"""What the library shows: the films, their texts and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = (_ROOT / "p2pcdn" / "demo" / "media", _ROOT / "examples" / "media")


@dataclass(frozen=True, slots=True)
class Film:
    slug: str
    title: str
    tagline: str
    text: tuple[str, ...]
    year: int
    length: str
    place: str
    mood: str
    files: tuple[str, ...]  # in the order in which a browser should try them

    @property
    def poster(self) -> str:
        return f"{self.slug}.jpg"

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """File names with the type that a browser is told."""
        return tuple((name, f"video/{Path(name).suffix[1:]}") for name in self.files)


FILMS = (
    Film(
        slug="northern-light",
        title="Northern Light",
        tagline="A night on the far shore, while the sky does all the work.",
        text=(
            "Somebody left the lamp on in the cabin. Behind it three ranges of mountains, and "
            "above them the solar wind, arriving two days late and in green.",
            "Every curtain is five thousand points of light along a folded line, each of which "
            "shines upward and fades. The lake only repeats what it is told, a little blurred.",
        ),
        year=2025,
        length="0:40",
        place="A lake without a name",
        mood="Still",
        files=("northern-light.mp4",),
    ),
    Film(
        slug="last-tram-home",
        title="Last Tram Home",
        tagline="Wet asphalt, neon and nobody in a hurry.",
        text=(
            "It has stopped raining, but the street has not noticed yet. Two cars ahead, some "
            "light behind curtains, and shops that forgot to switch off their signs.",
            "The whole city is a table of numbers: which house stands where, how tall it is and "
            "who is still awake.",
        ),
        year=2025,
        length="0:36",
        place="The long avenue",
        mood="Slow",
        files=("last-tram-home.mp4",),
    ),
    Film(
        slug="ringed-world",
        title="Ringed World",
        tagline="An afternoon in orbit, with three moons passing.",
        text=(
            "Storms that are older than the oldest map, seen from just far enough away to find "
            "them beautiful. Watch for the shadow that the rings throw on the clouds.",
            "The bands turn at their own pace, as they do on the real gas giants, and tear at "
            "each other where they meet.",
        ),
        year=2025,
        length="0:36",
        place="Far out",
        mood="Wide",
        files=("ringed-world.mp4", "ringed-world.webm"),
    ),
)

BY_SLUG = {film.slug: film for film in FILMS}


def media_path(name: str) -> Path | None:
    """The file behind a media URL; None for everything that is not part of the library."""
    known = {name for film in FILMS for name in (*film.files, film.poster)}
    if name not in known:
        return None
    return next((folder / name for folder in _FOLDERS if (folder / name).is_file()), None)
