from __future__ import annotations

import mimetypes

from django.contrib import messages
from django.contrib.auth import get_user_model, login
from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from .forms import EditForm, SignUpForm, UploadForm
from .models import Video


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    videos = Video.objects.public().select_related("owner")[:60]
    return render(request, "videos/index.html", {"videos": videos})


@require_safe
def watch(request: HttpRequest, pk: int) -> HttpResponse:
    video = get_object_or_404(Video.objects.visible_to(request.user).select_related("owner"), pk=pk)
    related = Video.objects.public().select_related("owner").exclude(pk=pk)[:6]
    return render(request, "videos/watch.html", {"video": video, "related": related})


@require_safe
def channel(request: HttpRequest, username: str) -> HttpResponse:
    owner = get_object_or_404(get_user_model(), username=username, is_active=True)
    videos = Video.objects.public().filter(owner=owner).select_related("owner")
    return render(request, "videos/channel.html", {"owner": owner, "videos": videos})


@require_safe
def private(request: HttpRequest, pk: int, field: str) -> FileResponse:
    """A private video's file, for its owner; nobody else learns that it exists."""
    video = get_object_or_404(Video, pk=pk, owner_id=request.user.pk)
    file = getattr(video, field)
    if not file:
        raise Http404
    response = FileResponse(file.open("rb"), content_type=mimetypes.guess_type(file.name)[0])
    response["Cache-Control"] = "private, no-store"
    return response


@login_required
def upload(request: HttpRequest) -> HttpResponse:
    video = Video(owner=request.user)
    form = UploadForm(request.POST or None, request.FILES or None, instance=video)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, f"“{video.title}” is up.")
        return redirect(video)
    return render(request, "videos/upload.html", {"form": form})


@require_safe
@login_required
def mine(request: HttpRequest) -> HttpResponse:
    videos = Video.objects.filter(owner=request.user).select_related("owner")
    return render(request, "videos/mine.html", {"videos": videos})


@login_required
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    video = get_object_or_404(Video, pk=pk, owner=request.user)
    form = EditForm(request.POST or None, instance=video)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Saved.")
        return redirect(video)
    return render(request, "videos/edit.html", {"form": form, "video": video})


@require_POST
@login_required
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    video = get_object_or_404(Video, pk=pk, owner=request.user)
    video.delete()
    messages.success(request, f"“{video.title}” is gone.")
    return redirect("mine")


def sign_up(request: HttpRequest) -> HttpResponse:
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        login(request, form.save())
        return redirect("upload")
    return render(request, "registration/sign_up.html", {"form": form})
