"""Where the site names its streamers, nobody else is listed as one, whichever way he asks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from p2pcdn.config import Config
from p2pcdn.errors import ConfigError
from tests.web.coordinator_site import ROOT, Client, client, serve

pytestmark = pytest.mark.server

SECRET = "a long and secret word"
ANNOUNCED = {"stream": "concert", "role": "main"}
ESCAPED = '{"type":"STREAM\\u002dANNOUNCE","payload":{"stream":"concert","role":"main"}}'

SERVERS = ["own", "websockets-sansio", "wrapped"]


def user_may(connection: HTTPConnection, *, peer: str, stream: str, role: str) -> bool:
    """A site that knows its people by a cookie."""
    if connection.cookies.get("session") == "broken":
        raise RuntimeError("no database")
    return connection.cookies.get("session") == "the band" and (stream, role) == ("concert", "main")


async def user_may_soon(connection: HTTPConnection, **asked: str) -> bool:
    return user_may(connection, **asked)


@pytest.fixture(params=SERVERS)
def named(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    with serve(tmp_path, ws=request.param, streamers={"studio": SECRET}) as port:
        yield port


@pytest.fixture(params=["function", "async", "by name"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    may: Any = {
        "function": user_may,
        "async": user_may_soon,
        "by name": "tests.web.test_streamers.user_may",
    }[request.param]
    with serve(tmp_path, ws="own", may_stream=may) as port:
        yield port


def streamers(port: int) -> list[str]:
    url = f"http://127.0.0.1:{port}/peerjs/peerjs/streams/concert/main"
    return [peer["id"] for peer in httpx.get(url, timeout=20).json()["peers"]]


def announced(socket: Client, payload: Any = ANNOUNCED) -> bool:
    """Whether the coordinator takes the announcement; what is said next waits for the answer."""
    socket.say("STREAM-ANNOUNCE", payload=payload)
    socket.say("CANDIDATE", dst=socket.id, payload="echo")
    heard = socket.hear()
    if heard["type"] == "REFUSED":
        assert heard["payload"] == {"stream": payload["stream"], "reason": "streamer"}
        assert socket.hear()["payload"] == "echo"
        return False
    assert heard["payload"] == "echo"
    return True


def test_only_who_is_named_streams_by_a_socket(named: int) -> None:
    with (
        client(named, "studio", SECRET.replace(" ", "%20")) as studio,
        client(named, "mallory") as mallory,
    ):
        assert announced(studio)
        assert not announced(mallory)
        mallory.socket.send(ESCAPED)
        assert mallory.hear()["type"] == "REFUSED"
        assert streamers(named) == ["studio"]
        # Of other things it may speak, and it sees who streams.
        mallory.say("STREAMERS", payload={"rid": 1, **ANNOUNCED})
        assert mallory.hear()["payload"]["peers"] == [{"id": "studio"}]


def test_nobody_else_gets_the_id_of_a_streamer_not_even_while_it_is_away(named: int) -> None:
    with client(named, "studio", "guessed", opened=False) as thief:
        assert thief.hear()["type"] == "ID-TAKEN"
    body = {"id": "studio", "token": "guessed", "key": "peerjs", "messages": []}
    url = f"http://127.0.0.1:{named}/peerjs"
    (said,) = httpx.post(f"{url}/mailbox", json=body, timeout=20).json()["messages"]
    assert said["type"] == "ID-TAKEN"
    with client(named, "studio", SECRET.replace(" ", "%20")):
        pass


def test_only_who_is_named_streams_by_mailbox_and_rest(named: int) -> None:
    url = f"http://127.0.0.1:{named}/peerjs"
    announce = {"type": "STREAM-ANNOUNCE", "payload": ANNOUNCED}
    for id, token, taken in (("mallory", "t", False), ("studio", SECRET, True)):
        body = {"id": id, "token": token, "key": "peerjs", "messages": [announce]}
        said = httpx.post(f"{url}/mailbox", json=body, timeout=20).json()["messages"]
        assert ("REFUSED" not in [message["type"] for message in said]) is taken
        assert streamers(named) == (["studio"] if taken else [])
        answer = httpx.post(
            f"{url}/peerjs/streams/other/secondary", json={"id": id, "token": token}, timeout=20
        )
        assert answer.status_code == (200 if taken else 403), answer.text
        if not taken:
            assert answer.json()["error"] == "streamer"


def test_the_site_s_own_function_sees_the_visitor_s_request(asked: int) -> None:
    band = {"additional_headers": {"Cookie": "session=the band"}}
    fan = {"additional_headers": {"Cookie": "session=a fan"}}
    broken = {"additional_headers": {"Cookie": "session=broken"}}
    with (
        client(asked, "band", **band) as on_stage,
        client(asked, "fan", **fan) as below,
        client(asked, "broken", **broken) as other,
    ):
        assert announced(on_stage)
        assert not announced(on_stage, {"stream": "concert", "role": "secondary"})
        assert not announced(below)
        assert not announced(other), "a function that fails lets nobody in"
        assert streamers(asked) == ["band"]
    url = f"http://127.0.0.1:{asked}/peerjs/mailbox"
    message = {"type": "STREAM-ANNOUNCE", "payload": ANNOUNCED}
    body = {"id": "box", "token": "t", "key": "peerjs", "messages": [message]}
    for session, types in (("a fan", ["REFUSED", "OPEN"]), ("the band", [])):
        said = httpx.post(url, json=body, headers={"Cookie": f"session={session}"}, timeout=20)
        assert [m["type"] for m in said.json()["messages"]] == types


def test_what_is_said_behind_an_announcement_stays_behind_it(asked: int) -> None:
    with client(asked, "band", additional_headers={"Cookie": "session=the band"}) as band:
        for n in range(20):
            band.say("CANDIDATE", dst="band", payload=n)
            kind = "STREAM-ANNOUNCE" if n % 2 else "STREAM-WITHDRAW"
            band.say(kind, payload=ANNOUNCED)
        assert [band.hear()["payload"] for _ in range(20)] == list(range(20))
        assert streamers(asked) == ["band"]


@pytest.mark.parametrize("value", ["studio", {"studio": "short"}, {"studio": 5}, ["x"], "{"])
def test_streamers_without_a_real_token_are_an_error_that_does_not_repeat_it(value: Any) -> None:
    with pytest.raises(ConfigError, match="streamers") as error:
        Config.load({"streamers": value})
    assert "short" not in str(error.value)


def test_streamers_stand_in_the_environment_as_json() -> None:
    config = Config.load(environ={"P2PCDN_STREAMERS": json.dumps({"studio": SECRET})})
    assert config.streamers == (("studio", SECRET),)
    assert SECRET not in repr(config)


@pytest.mark.parametrize("value", [5, "no dots", "os.path.", ""])
def test_a_function_that_cannot_be_one_is_an_error(value: Any) -> None:
    if value == "":
        assert Config.load({"may_stream": value}).may_stream is None
        return
    with pytest.raises(ConfigError, match="may_stream"):
        Config.load({"may_stream": value})


def test_in_django_the_function_sees_the_signed_in_user(tmp_path: Path) -> None:
    """p2pcdn stands outside of the middleware that would say who it is. (In a process of its own:
    Django is set up once.)"""
    script = """
import json, sys
import django
from django.conf import settings

def may_stream(connection, *, peer, stream, role):
    return connection.user.is_authenticated and connection.user.get_username() == "band"

settings.configure(
    SECRET_KEY="s", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1] + "/db"}},
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"
    ],
    MIDDLEWARE=[
        "p2pcdn.django.P2PCDNMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    P2PCDN={"DATA_DIR": sys.argv[1], "MAY_STREAM": may_stream},
)
urlpatterns = []
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

call_command("migrate", verbosity=0)
message = {"type": "STREAM-ANNOUNCE", "payload": {"stream": "concert", "role": "main"}}
for name in ("band", "fan", None):
    client = Client()
    if name:
        client.force_login(User.objects.create_user(name))
    body = {"id": f"peer-{name}", "token": "t", "key": "peerjs", "messages": [message]}
    said = client.post("/peerjs/mailbox", json.dumps(body), content_type="application/json").json()
    print(name, [m["type"] for m in said["messages"]])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "band ['OPEN']", "fan ['REFUSED', 'OPEN']", "None ['REFUSED', 'OPEN']"
    ], done.stdout + done.stderr  # fmt: skip
