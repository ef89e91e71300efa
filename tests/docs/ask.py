"""Start the app of a quick start and print its page: `python ask.py wsgi|asgi|django FILE`."""

from __future__ import annotations

import asyncio
import runpy
import sys

import httpx

PAGE = (
    "<!DOCTYPE html><html><head></head><body>"
    '<video src="/media/film.mp4" controls></video></body></html>'
)


def wsgi(app: object) -> str:
    with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://localhost") as site:  # type: ignore[arg-type]
        return site.get("/").text


async def asgi(app: object) -> str:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as site:
        return (await site.get("/")).text


def django(settings: dict[str, object]) -> str:
    import django as framework
    from django.conf import settings as configured
    from django.http import HttpResponse
    from django.test import Client
    from django.urls import path

    class Urls:
        urlpatterns = (path("", lambda request: HttpResponse(PAGE)),)

    upper = {name: value for name, value in settings.items() if name.isupper()}
    configured.configure(**upper, SECRET_KEY="x", ROOT_URLCONF=Urls, ALLOWED_HOSTS=["*"])
    framework.setup()
    return Client().get("/").content.decode()


if __name__ == "__main__":
    kind, file = sys.argv[1:]
    found = runpy.run_path(file)
    if kind == "django":
        print(django(found))
    else:
        app = found["app"] if "app" in found else found["application"]
        print(wsgi(app) if kind == "wsgi" else asyncio.run(asgi(app)))
