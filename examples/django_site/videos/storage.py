"""Where uploads lie: public ones below MEDIA_ROOT, private ones in a folder that no URL names."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.utils.deconstruct import deconstructible

if TYPE_CHECKING:
    from .models import Video


@deconstructible
class UploadStorage(FileSystemStorage):
    """Both folders behind one storage; a file's name begins with the folder it is in."""

    @property
    def base_location(self) -> str:
        return str(settings.VAR)

    @property
    def location(self) -> str:
        return str(settings.VAR.resolve())


def folder(private: bool) -> str:
    return settings.PRIVATE_ROOT.name if private else settings.MEDIA_ROOT.name


def upload_to(video: Video, filename: str) -> str:
    """A name that cannot be guessed and keeps nothing of the visitor's own but the suffix."""
    return f"{folder(video.is_private)}/{uuid.uuid4().hex}{Path(filename).suffix.lower()}"
