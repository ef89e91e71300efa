"""What a visitor's browser loads from us, over the real routes."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from p2pcdn.config import Config
from p2pcdn.errors import P2PCDNError
from p2pcdn.web.assets import Assets

NAMES = ("loader.js", "engine.js", "stored.js", "worker.js", "hud.js", "noscript.css")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).write_bytes(f"/* {name} */".encode() * 50)
    return tmp_path


class Client:
    """Asks the mounted routes."""

    def __init__(self, assets: Assets) -> None:
        self.version = assets.version
        self._app = Starlette(routes=[Mount("/p2pcdn", routes=assets.routes())])

    def ask(self, method: str, name: str, **headers: str) -> tuple[httpx.Response, bytes]:
        """The answer, and its body as it was sent."""

        async def ask() -> tuple[httpx.Response, bytes]:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
                fields = {key.replace("_", "-"): value for key, value in headers.items()}
                request = client.build_request(method, f"/p2pcdn/{name}", headers=fields)
                answer = await client.send(request, stream=True)
                raw = b"".join([part async for part in answer.aiter_raw()])
                return answer, raw

        return asyncio.run(ask())

    def get(self, name: str, **headers: str) -> tuple[httpx.Response, bytes]:
        return self.ask("GET", name, **{"accept_encoding": "identity", **headers})


def site(folder: Path, config: Config | None = None, *, socket: bool = True) -> Client:
    return Client(Assets(config or Config(), socket=socket, folder=folder))


def settings(client: Client, name: str = "loader.js") -> dict[str, object]:
    match = re.match(r"\{const P2PCDN_\w+=(.*?);\n", client.get(name)[1].decode())
    assert match
    found: dict[str, object] = json.loads(match[1])
    return found


def test_the_loader_knows_its_settings_and_leaves_no_global(folder: Path) -> None:
    config = Config(mount="/a/b", coordinator_path="/peers", startup_wait=0.5, include=("/m/*.ts",))
    client = site(folder, config, socket=False)
    assert settings(client) == {
        "version": client.version,
        "coordinator": "../../peers",
        "scope": "../../",
        "key": "peerjs",
        "socket": False,
        "ice": [{"urls": ["stun:stun.l.google.com:19302", "stun:stun.cloudflare.com:3478"]}],
        "relayOnly": False,
        "uploadLimit": None,
        "memoryLimit": config.memory_limit,
        "diskLimit": config.disk_limit,
        "diskDays": config.disk_days,
        "startupWaitMs": 500,
        "hud": False,
        "patterns": [r"^\/m\/.*\.ts$"],
    }
    text = client.get("loader.js")[1].decode()
    assert text.startswith("{const ") and text.rstrip().endswith("}")
    assert settings(client, "worker.js")["path"] == "/a/b/worker.js"


def test_the_version_follows_code_and_settings_so_that_no_stale_copy_stays(folder: Path) -> None:
    first = Assets(Config(), socket=True, folder=folder).version
    assert re.fullmatch("[0-9a-f]{8}", first)
    assert Assets(Config(), socket=True, folder=folder).version == first
    assert Assets(Config(hud=True), socket=True, folder=folder).version != first
    assert Assets(Config(), socket=False, folder=folder).version != first
    (folder / "worker.js").write_bytes(b"changed")
    assert Assets(Config(), socket=True, folder=folder).version != first


def test_only_the_very_version_asked_for_is_kept_for_ever(folder: Path) -> None:
    client = site(folder)
    version = client.version
    right = client.get(f"loader.js?v={version}")[0].headers["cache-control"]
    assert right == "public, max-age=31536000, immutable"
    for path in ("loader.js", "loader.js?v=00000000", f"worker.js?v={version}", "worker.js"):
        assert client.get(path)[0].headers["cache-control"] == "no-cache", path


def test_the_worker_may_serve_the_whole_site(folder: Path) -> None:
    client = site(folder)
    assert client.get("worker.js")[0].headers["service-worker-allowed"] == "/"
    assert "service-worker-allowed" not in client.get("loader.js")[0].headers


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_a_browser_that_has_a_file_is_not_sent_it_again(
    name: str, coding: str, folder: Path
) -> None:
    client = site(folder)
    first, _ = client.get(name, accept_encoding=coding)
    assert first.status_code == 200
    etag = first.headers["etag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again, body = client.get(name, accept_encoding=coding, if_none_match=known)
        assert (again.status_code, body, again.headers["etag"]) == (304, b"", etag)
    assert client.get(name, if_none_match='"old"')[0].status_code == 200


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("GZIP", True),
        ("*", True),
        ("", False),
        ("br", False),
        ("gzip;q=0, *", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzipped", False),
    ],
)
def test_gzip_goes_only_to_who_takes_it(accepted: str, packed: bool, folder: Path) -> None:
    client = site(folder)
    answer, body = client.get("hud.js", accept_encoding=accepted)
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) == len(body)
    plain = (folder / "hud.js").read_bytes()
    assert (gzip.decompress(body) if packed else body) == plain


def test_both_codings_of_a_file_have_their_own_etag(folder: Path) -> None:
    client = site(folder)
    tags = {
        client.get("hud.js", accept_encoding=coding)[0].headers["etag"]
        for coding in ("gzip", "identity")
    }
    assert len(tags) == 2


def test_a_turn_server_without_credentials_would_break_every_link_so_it_is_left_out(
    folder: Path,
) -> None:
    stun = {"urls": "stun:stun.example.org"}
    whole = {"urls": ["turn:t.example.org"], "username": "u", "credential": "c"}
    config = Config(ice_servers=(stun, {"urls": "turn:t.example.org"}, whole), turn_secret="s")
    assert settings(site(folder, config))["ice"] == [stun, whole]
    assert settings(site(folder, Config(ice_servers=())))["ice"] == []


def test_settings_cannot_break_out_of_the_script(folder: Path) -> None:
    nasty = "</script>\u2028;alert(1)//\"'"
    config = Config(peerjs_key=nasty, include=(f"/{nasty}",))
    assert settings(site(folder, config))["key"] == nasty
    assert site(folder, config).get("loader.js")[1].isascii()


def test_head_and_health_answer_and_other_methods_do_not(folder: Path) -> None:
    client = site(folder)
    head, body = client.ask("HEAD", "worker.js")
    assert (head.status_code, body) == (200, b"")
    assert json.loads(client.get("health")[1]) == {"status": "ok"}
    assert client.ask("POST", "loader.js")[0].status_code == 405


def test_a_checkout_that_was_not_built_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(P2PCDNError, match=r"node js/build\.mjs"):
        Assets(Config(), socket=True, folder=tmp_path)
