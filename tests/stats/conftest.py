from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.stats.store import StoreError
from tests.servers.fixtures import made
from tests.servers.redis import Redis
from tests.stats.support import MakeSite, Site


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is so of every store is asked of each: a module says so with `BOTH_STORES`."""
    if "kind" in metafunc.fixturenames and getattr(metafunc.module, "BOTH_STORES", False):
        redis = pytest.param("redis", marks=pytest.mark.server)
        metafunc.parametrize("kind", ["sqlite", redis], indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A real one; each test is another site in it."""
    with made(Redis) as server:
        yield server


@pytest.fixture
def make_site(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> Iterator[MakeSite]:
    """`make_site(**settings)`: another server worker over the same store."""
    made: list[Site] = []
    shared: dict[str, Any] = {}
    if kind == "redis":
        shared = {"redis_url": request.getfixturevalue("redis_server").url, "secret": str(tmp_path)}

    def make(folder: Path | None = tmp_path, **settings: Any) -> Site:
        made.append(Site(folder, **shared, **settings))
        return made[-1]

    yield make
    for site in made:
        site.recorder.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


class DurableRedis(Redis):
    def command(self) -> list[str]:
        command = [*super().command(), "--appendfsync", "always"]
        command[command.index("--appendonly") + 1] = "yes"
        return command


@pytest.fixture
def machine(tmp_path: Path, redis_server: Redis) -> Iterator[Any]:
    """`machine()`: one more machine of the site."""
    made: list[Site] = []

    def make(url: str = redis_server.url, **settings: Any) -> Site:
        folder = tmp_path / f"machine{len(made)}"
        made.append(Site(folder, redis_url=url, secret=str(tmp_path), **settings))
        return made[-1]

    yield make
    for site in made:
        with contextlib.suppress(StoreError):
            site.recorder.close()


@pytest.fixture
def redis(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """One that the test may stop: it keeps what it has on disk."""
    with DurableRedis() as server:
        yield server
