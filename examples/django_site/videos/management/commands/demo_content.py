"""Fill an empty site: two people's films, and an account to try the rest with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files import File
from django.core.management.base import BaseCommand, CommandError, CommandParser

from videos.models import Video

_ROOT = Path(__file__).resolve().parents[5]
_FOLDERS = (_ROOT / "p2pcdn" / "demo" / "media", _ROOT / "examples" / "media")

_PUBLIC = (
    (
        "mira",
        "ringed-world",
        "Ringed World",
        "An afternoon in orbit. Three moons pass, the rings throw their shadow on the clouds, "
        "and every band turns at its own pace.",
    ),
    (
        "jonas",
        "last-tram-home",
        "Last Tram Home",
        "It has stopped raining, but the street has not noticed yet. Best watched late, with "
        "the sound on.",
    ),
    (
        "mira",
        "northern-light",
        "Northern Light",
        "Forty seconds on the far shore while the sky does all the work. Somebody left the lamp "
        "on in the cabin.",
    ),
)
_PRIVATE = (
    "ringed-world",
    "Ringed World, rough cut",
    "Not finished: only the account it belongs to can see or fetch this one, and it is never "
    "shared between visitors.",
)


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--password", default="watch-it-happen", help="of the account `demo`")
        parser.add_argument("--force", action="store_true", help="even with DEBUG off")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG and not options["force"]:
            raise CommandError(
                "DEBUG is off: this may be a real site, and `demo` has a well-known password. "
                "Use --password and --force if you mean it."
            )
        for username, slug, title, text in _PUBLIC:
            self._add(self._user(username), slug, title, text, Video.Visibility.PUBLIC)
        demo = self._user("demo")
        demo.set_password(options["password"])
        demo.save()
        self._add(demo, *_PRIVATE, Video.Visibility.PRIVATE)
        self.stdout.write(f"Log in as `demo` with the password `{options['password']}`.")

    def _user(self, username: str) -> Any:
        user, made = get_user_model().objects.get_or_create(username=username)
        if made:
            user.set_unusable_password()
            user.save()
        return user

    def _add(self, owner: Any, slug: str, title: str, text: str, visibility: str) -> None:
        if Video.objects.filter(owner=owner, title=title).exists():
            return
        video = Video(owner=owner, title=title, description=text, visibility=visibility)
        with _find(f"{slug}.mp4").open("rb") as film, _find(f"{slug}.jpg").open("rb") as picture:
            video.file = File(film, name=f"{slug}.mp4")
            video.poster = File(picture, name=f"{slug}.jpg")
            video.save()
        self.stdout.write(f"{owner}: {title}")


def _find(name: str) -> Path:
    for folder in _FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise CommandError(f"{name} is missing; it should be in one of {', '.join(map(str, _FOLDERS))}")
