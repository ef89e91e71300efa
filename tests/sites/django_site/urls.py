from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, re_path
from django.views.static import serve

from tests.sites.pages import OWN_WORKER, page


def show(request: HttpRequest, name: str = "") -> HttpResponse:
    root = request.META.get("SCRIPT_NAME", "") + "/"
    found = page(name, root=root, media=root + "media/")
    if found is None:
        raise Http404
    html, headers = found
    return HttpResponse(html, headers=headers)


def worker(request: HttpRequest) -> HttpResponse:
    return HttpResponse(OWN_WORKER, content_type="text/javascript")


urlpatterns = [
    re_path(r"^media/(?P<path>.*)$", serve, {"document_root": settings.MEDIA_ROOT}),
    path("sw.js", worker),
    path("", show),
    path("<path:name>", show),
]
