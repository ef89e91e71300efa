"""STUN and TURN servers as browsers are told of them."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount

from p2pcdn import P2PCDN
from p2pcdn.config import Config
from p2pcdn.errors import ConfigError
from p2pcdn.web.ice import LIFETIME_S, Ice, turn_credentials

NOW = 1_700_000_000
STUN = {"urls": "stun:stun.example.org"}
TURN = {"urls": ["turn:t.example.org:3478?transport=udp", "turns:t.example.org"]}


class Site:
    """A site that answers nothing but `GET {mount}/ice`."""

    def __init__(self, config: Config, **options: Any) -> None:
        routes = Ice(config, clock=lambda: NOW + 0.7).routes(**options)
        self._transport = httpx.ASGITransport(Starlette(routes=[Mount("/p2pcdn", routes=routes)]))

    def get(self, **params: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport) as visitor:
                return await visitor.get("http://localhost/p2pcdn/ice", params=params)

        return asyncio.run(ask())


def test_the_password_is_the_one_that_coturn_computes() -> None:
    username, password = turn_credentials("north", "anna", expires=NOW)
    assert username == f"{NOW}:anna"
    openssl = shutil.which("openssl")
    assert openssl is not None, "openssl is the witness here"
    digest = subprocess.run(
        [openssl, "dgst", "-sha1", "-hmac", "north", "-binary"],
        input=username.encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert base64.b64decode(password, validate=True) == digest


def test_a_peer_gets_credentials_of_its_own_that_outlast_the_manifests_token() -> None:
    config = Config(ice_servers=(STUN, TURN), turn_secret="north")
    answer = Site(config).get(peer="anna")
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    name, password = turn_credentials("north", "anna", expires=NOW + LIFETIME_S)
    assert answer.json() == {
        "iceServers": [STUN, {**TURN, "username": name, "credential": password}],
        "iceTransportPolicy": "all",
        "expires": NOW + LIFETIME_S,
    }
    assert LIFETIME_S > 3600


def test_credentials_of_the_owners_own_are_left_alone_and_may_be_kept() -> None:
    whole = {"urls": "turn:t.example.org", "username": "u", "credential": "c"}
    ice = Ice(Config(ice_servers=(whole, TURN), turn_secret="north", relay_only=True))
    assert ice.lasting == [whole]
    assert ice.servers("anna")[0] == whole
    static = Config(ice_servers=(whole,), relay_only=True)
    assert not Ice(static).fleeting
    assert Site(static).get().json() == {
        "iceServers": [whole],
        "iceTransportPolicy": "relay",
    }


def test_without_a_setting_there_are_public_stun_servers_and_with_none_there_are_none() -> None:
    (default,) = Ice(Config()).lasting
    assert all(url.startswith("stun:") for url in default["urls"])
    assert Ice(Config(ice_servers=())).lasting == []


@pytest.mark.parametrize("peer", ["", "a" * 129, "a:b", "1700000000:root", "ä", "a\nb"])
def test_a_name_that_could_be_read_as_something_else_is_refused(peer: str) -> None:
    config = Config(ice_servers=(TURN,), turn_secret="north")
    answer = Site(config).get(peer=peer)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad-peer")


def test_who_asks_too_often_has_to_wait() -> None:
    asked = []

    def allow(address: str) -> bool:
        asked.append(address)
        return len(asked) < 3

    site = Site(Config(), allow=allow)
    assert [site.get().status_code for _ in range(3)] == [200, 200, 429]


def test_the_secret_never_leaves_the_server(tmp_path: Path) -> None:
    """As a whole site: what runs out is in the manifest and in no file that is kept."""
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.mp4").write_bytes(bytes(70_000))
    app = Flask(__name__, static_folder=str(films), static_url_path="/media")
    app.wsgi_app = P2PCDN(  # type: ignore[method-assign]
        app.wsgi_app,
        data_dir=str(tmp_path / "data"),
        include=("/media/*",),
        ice_servers=(STUN, TURN),
        turn_secret="a very secret word",
    )
    transport = httpx.WSGITransport(app=app)
    with httpx.Client(transport=transport, base_url="http://localhost/p2pcdn/") as visitor:
        loader = visitor.get("loader.js").text
        assert "stun.example.org" in loader and "t.example.org" not in loader.replace(
            "stun.example.org", ""
        )
        while True:
            manifest = visitor.get("manifest", params={"url": "/media/a.mp4", "peer": "anna"})
            if manifest.status_code != 202:
                break
        assert manifest.headers["cache-control"] == "no-store"
        stun, turn = manifest.json()["ice"]
        assert stun == STUN
        assert turn["username"].endswith(":anna") and turn["credential"]
        for text in (loader, manifest.text, visitor.get("ice").text):
            assert "a very secret word" not in text


def test_a_relay_only_site_without_a_relay_is_told_so() -> None:
    with pytest.raises(ConfigError, match="relay_only"):
        Config(relay_only=True)
    with pytest.raises(ConfigError, match="turn_secret"):
        Config(ice_servers=(TURN,))
