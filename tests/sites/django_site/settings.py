"""A Django site with its media in MEDIA_ROOT, served by Django itself."""

from __future__ import annotations

import os

from tests.sites.media import folder

SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.sites.django_site.urls"
MIDDLEWARE = [
    "p2pcdn.django.P2PCDNMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.common.CommonMiddleware",
]
if os.environ.get("SITE_PLAIN"):
    del MIDDLEWARE[0]
INSTALLED_APPS: list[str] = []
MEDIA_URL = "/media/"
MEDIA_ROOT = os.environ.get("SITE_MEDIA") or str(folder())
USE_TZ = True
