from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.dispatch import receiver
from django.urls import reverse

from .storage import UploadStorage, folder, upload_to
from .validators import check_poster, check_video

TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}


class VideoQuerySet(models.QuerySet["Video"]):
    def public(self) -> VideoQuerySet:
        return self.filter(visibility=Video.Visibility.PUBLIC)

    def visible_to(self, user: Any) -> VideoQuerySet:
        """What this visitor may watch: everything public, and their own."""
        mine = models.Q(owner=user) if user.is_authenticated else models.Q()
        return self.filter(models.Q(visibility=Video.Visibility.PUBLIC) | mine)


class Video(models.Model):
    class Visibility(models.TextChoices):
        PUBLIC = "public", "Everybody"
        PRIVATE = "private", "Only me"

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="videos")
    title = models.CharField(max_length=120)
    description = models.TextField(blank=True, max_length=4000)
    visibility = models.CharField(
        max_length=8, choices=Visibility.choices, default=Visibility.PUBLIC
    )
    file = models.FileField(
        "video file", upload_to=upload_to, storage=UploadStorage(), validators=[check_video]
    )
    poster = models.FileField(
        "picture",
        upload_to=upload_to,
        storage=UploadStorage(),
        blank=True,
        validators=[check_poster],
    )
    created = models.DateTimeField(auto_now_add=True, db_index=True)

    objects = VideoQuerySet.as_manager()

    class Meta:
        ordering = ("-created", "-pk")

    def __str__(self) -> str:
        return self.title

    @property
    def is_private(self) -> bool:
        return self.visibility == self.Visibility.PRIVATE

    @property
    def url(self) -> str:
        return self._url("file")

    @property
    def poster_url(self) -> str:
        return self._url("poster") if self.poster else ""

    @property
    def type(self) -> str:
        return TYPES.get(Path(self.file.name).suffix, "application/octet-stream")

    def get_absolute_url(self) -> str:
        return reverse("watch", args=[self.pk])

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._move_files()
        super().save(*args, **kwargs)

    def _url(self, field: str) -> str:
        name = getattr(self, field).name
        public = f"{settings.MEDIA_ROOT.name}/"
        if name.startswith(public):
            return settings.MEDIA_URL + name.removeprefix(public)
        return reverse("private", args=[self.pk, field])

    def _move_files(self) -> None:
        """A video that changes its visibility moves, under a new name: the old URL ends."""
        target = folder(self.is_private)
        for file in (self.file, self.poster):
            if not file or not file._committed or file.name.split("/")[0] == target:
                continue
            storage = file.storage
            name = f"{target}/{uuid.uuid4().hex}{Path(file.name).suffix}"
            os.makedirs(os.path.dirname(storage.path(name)), exist_ok=True)
            os.replace(storage.path(file.name), storage.path(name))
            file.name = name


@receiver(models.signals.post_delete, sender=Video)
def delete_files(instance: Video, **kwargs: Any) -> None:
    """Also when the admin or a deleted account takes the video along."""
    for file in (instance.file, instance.poster):
        if file:
            file.storage.delete(file.name)
