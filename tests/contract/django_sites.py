"""The made-up site as a Django project: its real handlers with our middleware class in front."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import django
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.test.utils import override_settings
from django.urls import re_path

from tests.contract.sites import App, ASGISite, Reply, Request, WSGISite

MIDDLEWARE = "p2pcdn.django.P2PCDNMiddleware"


def _request(request: Any) -> Request:
    headers = {name.lower(): value for name, value in request.headers.items()}
    target = request.path_info
    if request.META.get("QUERY_STRING"):
        target += "?" + request.META["QUERY_STRING"]
    return Request(request.method, target, headers)


def _response(reply: Reply, *, is_async: bool) -> Any:
    body = reply.body
    response: Any
    if isinstance(body, (list, tuple)) and len(body) <= 1:
        response = HttpResponse(b"".join(body), status=reply.status)
    else:
        response = StreamingHttpResponse(_later(body) if is_async else body, status=reply.status)
    del response.headers["Content-Type"]
    for name, value in reply.headers:
        response.headers[name] = value
    response._resource_closers.append(reply.closed)
    return response


async def _later(pieces: Any) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class _Django:
    def _project(self, app: App, options: dict[str, Any], *, is_async: bool) -> None:
        if not settings.configured:
            settings.configure(SECRET_KEY="only for tests", USE_TZ=True)
            django.setup()

        def view(request: Any) -> Any:
            return _response(app(_request(request)), is_async=False)

        async def aview(request: Any) -> Any:
            return _response(app(_request(request)), is_async=True)

        class Urls:
            urlpatterns = (re_path("", aview if is_async else view),)

        self._undo = contextlib.ExitStack()
        self._undo.enter_context(
            override_settings(
                ROOT_URLCONF=Urls,
                MIDDLEWARE=[MIDDLEWARE],
                ALLOWED_HOSTS=["*"],
                P2PCDN={name.upper(): value for name, value in options.items()},
            )
        )

    def close(self) -> None:
        """Give other tests their Django settings back."""
        self._undo.close()


class DjangoWSGISite(_Django, WSGISite):
    name = "django-wsgi"

    def __init__(self, app: App, **options: Any) -> None:
        from django.core.handlers.wsgi import WSGIHandler

        self._project(app, options, is_async=False)
        self._handler = WSGIHandler()
        self.middleware = self._handler

    @property
    def ours(self) -> Any:
        return self._handler._middleware_chain.__wrapped__  # type: ignore[union-attr]


class DjangoASGISite(_Django, ASGISite):
    name = "django-asgi"
    closes_what_failed = False  # Django's own doing

    def __init__(self, app: App, **options: Any) -> None:
        from django.core.handlers.asgi import ASGIHandler

        self._project(app, options, is_async=True)
        self._handler = ASGIHandler()
        self.middleware = self._handler

    @property
    def ours(self) -> Any:
        return self._handler._middleware_chain.__wrapped__  # type: ignore[union-attr]
