# ruff: noqa: RUF012
from __future__ import annotations

from django import forms
from django.contrib.auth.forms import UserCreationForm

from .models import Video


class UploadForm(forms.ModelForm):
    class Meta:
        model = Video
        fields = ("file", "title", "description", "poster", "visibility")
        widgets = {
            "file": forms.FileInput(attrs={"accept": "video/mp4,video/webm,.m4v"}),
            "poster": forms.FileInput(attrs={"accept": "image/jpeg,image/png,image/webp"}),
            "description": forms.Textarea(attrs={"rows": 4}),
            "visibility": forms.RadioSelect,
        }
        help_texts = {"file": "MP4 or WebM, as your camera or editor wrote it."}


class EditForm(UploadForm):
    class Meta(UploadForm.Meta):
        fields = ("title", "description", "visibility")


class SignUpForm(UserCreationForm):
    class Meta(UserCreationForm.Meta):
        help_texts = {"username": "Shown beside your videos."}
