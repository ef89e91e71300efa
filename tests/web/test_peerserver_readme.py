"""What the README of npm's `peer` tells people to run, run against it and against ours.

The examples are read from the installed package, so that a newer one is tried as it is.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.process import environment, free_port
from tests.web.coordinator_site import ROOT, client, peerjs_pair
from tests.web.coordinator_site import serve as serve_site

pytestmark = pytest.mark.server

PACKAGE = ROOT / "tests/browser/node_modules/peer"
INFO = {
    "name": "PeerJS Server",
    "description": "A server side element to broker connections between PeerJS clients.",
    "website": "https://peerjs.com/",
}


@pytest.fixture(scope="module")
def readme() -> str:
    if shutil.which("node") is None or not PACKAGE.exists():
        pytest.skip("needs Node and npm's `peer` in tests/browser/node_modules")
    return (PACKAGE / "README.md").read_text()


def documented_command(readme: str) -> list[str]:
    """The arguments of `$ peerjs --port 9000 --key peerjs --path /myapp`."""
    found = re.search(r"^\s*\$ peerjs (.+)$", readme, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


def documented_client(readme: str) -> tuple[str, str]:
    """Id and path of `new Peer("someid", {host: "localhost", port: 9000, path: "/myapp"})`."""
    found = re.search(r'new Peer\("(\w+)", \{.*?path: "([^"]+)"', readme, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def documented_options(readme: str) -> list[str]:
    """Every option of the table `CLI option`."""
    return re.findall(r"^\| `(--[^`]+)`", readme, re.MULTILINE)


@contextmanager
def command(which: str, arguments: list[str], folder: Path) -> Iterator[int]:
    """npm's `peerjs` or `p2pcdn serve` with exactly these arguments but for the port."""
    port = free_port()
    at = arguments.index("--port") + 1
    given = [*arguments[:at], str(port), *arguments[at + 1 :]]
    start = {
        "npm peer": [shutil.which("node"), str(PACKAGE / "dist/bin/peerjs.js")],
        "p2pcdn serve": [sys.executable, "-m", "p2pcdn.cli", "serve"],
    }[which]
    process = subprocess.Popen(
        [*start, *given],  # type: ignore[list-item]
        cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert re.match(rf"Started PeerServer on ::, port: {port}, path: ", said), said
        yield port
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module", params=["npm peer", "p2pcdn serve"])
def documented(
    request: pytest.FixtureRequest, readme: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("serve")
    with command(request.param, documented_command(readme), folder) as port:
        yield port


def test_check_it(documented: int, readme: str) -> None:
    """ "3. Check it: http://127.0.0.1:9000/myapp It should returns JSON with name, ..." """
    (path,) = set(re.findall(r"Check it: http://127.0.0.1:9000(/\w+)", readme))
    for end in ("", "/"):
        answer = httpx.get(f"http://127.0.0.1:{documented}{path}{end}", timeout=20)
        assert answer.status_code == 200 and answer.json() == INFO


def test_open_the_address_to_see_a_new_random_id(documented: int, readme: str) -> None:
    (path,) = set(re.findall(r"Open http://127.0.0.1:9000(/\w+/\w+/id)", readme))
    ids = {httpx.get(f"http://127.0.0.1:{documented}{path}", timeout=20).text for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch(r"[0-9a-f-]{36}", id) for id in ids)


def test_the_documented_client_connects(documented: int, readme: str) -> None:
    id, path = documented_client(readme)
    said = peerjs_pair(documented, PEER_NAME=id, PEER_PATH=path)
    assert said == ["open", "echo hello", "peer-unavailable", "unavailable-id"]


def test_the_list_of_peers_is_off_until_it_is_allowed(
    documented: int, readme: str, tmp_path: Path
) -> None:
    _, path = documented_client(readme)
    refused = httpx.get(f"http://127.0.0.1:{documented}{path}/peerjs/peers", timeout=20)
    assert refused.status_code == 401


@pytest.mark.parametrize("which", ["npm peer", "p2pcdn serve"])
@pytest.mark.parametrize("spelling", [["--allow_discovery"], ["--allow_discovery", "true"]])
def test_the_list_of_peers_is_an_array_of_all_ids(
    which: str, spelling: list[str], readme: str, tmp_path: Path
) -> None:
    arguments = ["--port", "9000", "--path", "/peerjs", *spelling]
    with command(which, arguments, tmp_path) as port, client(port, "one"), client(port, "two"):
        answer = httpx.get(f"http://127.0.0.1:{port}/peerjs/peerjs/peers", timeout=20)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        assert sorted(answer.json()) == ["one", "two"]
        # npm's does not look at the key over HTTP, either.
        other = httpx.get(f"http://127.0.0.1:{port}/peerjs/whatever/peers", timeout=20)
        assert (other.status_code, sorted(other.json())) == (200, ["one", "two"])


VALUES = {
    "--port": "9000", "--key": "mine", "--path": "/peerjs", "--proxied": "true",
    "--expire_timeout": "1500", "--alive_timeout": "61000", "--concurrent_limit": "3",
    "--allow_discovery": "true", "--cors": "https://example.org",
}  # fmt: skip


@pytest.mark.parametrize("which", ["npm peer", "p2pcdn serve"])
def test_every_documented_option_is_taken_by_both_its_names(
    which: str, readme: str, tmp_path: Path
) -> None:
    """(TLS has a test of its own in test_serve.py, with a certificate.)"""
    long: list[str] = []
    short: list[str] = []
    for option in documented_options(readme):
        name, _, letter = option.partition(", ")
        if not name.startswith("--ssl"):
            long += [name, VALUES[name]]
            short += [name if letter in ("", "-p") else letter, VALUES[name]]
    assert len(long) == 2 * len(VALUES)
    for arguments in (long, short):
        with command(which, arguments, tmp_path) as port, client(port, "a", key="mine"):
            with (
                client(port, "b", key="mine"),
                client(port, "c", key="mine"),
                client(port, "d", key="mine", opened=False) as fourth,
            ):
                assert fourth.hear()["type"] == "ERROR"
            with client(port, "e", opened=False) as other_key:
                assert other_key.hear()["payload"]["msg"] == "Invalid key provided"


EXPRESS = """
const { createRequire } = require("node:module");
const required = createRequire(process.argv[1] + "/package.json");
const express = createRequire(required.resolve("peer"))("express");
const { ExpressPeerServer } = required("peer");
const app = express();
app.get("/", (req, res, next) => res.send("Hello world!"));
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
const peerServer = ExpressPeerServer(server, { path: "/myapp" });
app.use("/peerjs", peerServer);
"""


@contextmanager
def combined(which: str, folder: Path) -> Iterator[int]:
    """ "Combining with existing express app": under /peerjs/myapp of a site; ours in a site of its
    own, too."""
    if which == "p2pcdn":
        with serve_site(folder, coordinator_path="/peerjs/myapp") as port:
            yield port
        return
    process = subprocess.Popen(
        [str(shutil.which("node")), "-e", EXPRESS, str(ROOT / "tests/browser")],
        stdout=subprocess.PIPE, text=True, env=os.environ.copy(),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("which", ["npm peer", "p2pcdn"])
def test_combined_with_a_site_it_stands_below_the_documented_path(
    which: str, readme: str, tmp_path: Path
) -> None:
    (path,) = re.findall(r"check http://127.0.0.1:9000(/\S+)", readme)
    with combined(which, tmp_path) as port:
        assert httpx.get(f"http://127.0.0.1:{port}{path}", timeout=20).json() == INFO
        said = peerjs_pair(port, PEER_PATH=path)
        assert said == ["open", "echo hello", "peer-unavailable", "unavailable-id"]


# Documented in src/api/README.md of its repository, and gone from the program since 1.0.
GONE = ["offer", "candidate", "answer", "leave"]


@pytest.mark.parametrize("method", GONE)
def test_what_is_documented_and_is_not_there_is_not_there(documented: int, method: str) -> None:
    url = f"http://127.0.0.1:{documented}/myapp/peerjs/someid/token/{method}"
    assert httpx.post(url, content=json.dumps({}), timeout=20).status_code == 404


def test_the_examples_were_found(readme: str) -> None:
    assert documented_command(readme) == ["--port", "9000", "--key", "peerjs", "--path", "/myapp"]
    assert documented_client(readme) == ("someid", "/myapp")
    found: list[Any] = documented_options(readme)
    assert len(found) == 11
