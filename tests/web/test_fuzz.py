"""Arbitrary bytes and arbitrary JSON into every socket and endpoint of a real server: no unhandled
exception, nothing kept, and nobody else notices."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from p2pcdn.config import Config
from p2pcdn.hub import open_hub
from p2pcdn.web.coordinator import routes
from p2pcdn.web.openapi import DOCUMENT
from tests.coordinator.test_fuzz import FIELDS, TYPES, _json, _messages
from tests.web.coordinator_site import CONTENT
from tests.web.fuzz import KINDS, Attack, Target, Witness

pytestmark = pytest.mark.server

Run = Callable[[Any], Any]

_HASH = "h" * 20
_tracker = st.fixed_dictionaries(
    {"action": st.sampled_from(["announce", "scrape", "other"])},
    optional={
        name: st.one_of(st.just(_HASH), _json)
        for name in ("info_hash", "peer_id", "offers", "answer", "to_peer_id", "offer_id", "left")
    },
)
_bodies = st.dictionaries(
    st.sampled_from([*FIELDS, "id", "admission", "key", "messages", "serial", "again", "leave"]),
    _json,
    max_size=6,
)
_frames = st.tuples(
    st.integers(0, 255), st.integers(0, 255), st.binary(max_size=40)
).map(lambda parts: bytes(parts[:2]) + parts[2])  # fmt: skip
_anything = st.one_of(
    st.binary(max_size=300),
    _frames,
    st.one_of(_json, _messages, _tracker, _bodies).map(lambda said: json.dumps(said).encode()),
)


@pytest.fixture(params=["serve", pytest.param("uvicorn", marks=pytest.mark.slow)])
def target(request: pytest.FixtureRequest, run: Run) -> Iterator[Target]:
    target = run(lambda: Target(request.param))
    yield target
    target.unharmed()


def test_anything_anywhere_is_survived_and_nobody_else_notices(target: Target) -> None:
    attack = Attack(target)
    with Witness(target) as witness:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.tuples(st.sampled_from(KINDS), _anything), max_size=25))
        def attacked(parts: list[tuple[str, bytes]]) -> None:
            for kind, data in parts:
                status = attack.send(kind, data)
                assert status < 500 or status == 503, (kind, data, status)
            witness.undisturbed()
            target.unharmed()

        attacked()
    attack.close()


# What PeerServer and our own rules answer to a wrong question is a list without peers, or an ERROR
# in a 200: so nothing here asks for a refusal.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


@pytest.mark.parametrize(
    "phases, examples",
    [
        ("fuzzing", 12),
        pytest.param(
            "coverage,fuzzing,stateful", 300,
            marks=[pytest.mark.slow, pytest.mark.timeout(1800)],
        ),
    ],
)  # fmt: skip
def test_the_rest_part_does_what_its_openapi_document_says(
    target: Target, phases: str, examples: int, tmp_path: Path
) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text('[parameters]\n"path.key" = "peerjs"\n')
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run",
            f"{target.url}/peerjs/openapi.json", "--url", f"{target.url}/peerjs",
            "--phases", phases, "--max-examples", str(examples), "--checks", CHECKS,
            "--seed", "1", "--no-shrink", "--warnings", "off",
        ],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "10 selected / 10 total" in done.stdout


def test_the_openapi_document_names_every_route(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path))
    hub = open_hub(config, secret=b"s", site="site")
    served = {
        (re.sub(r":\w+", "", route.path), method.lower())
        for route in routes(hub, config)
        if isinstance(route, Route) and route.path != "/{path:path}"
        for method in (route.methods or set()) - {"HEAD"}
        if not route.path.endswith(("/id/", "/peers/"))
    }
    named = {
        (path, method)
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert named == served


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_hundred_thousand_hostile_messages_leave_no_trace(target: Target) -> None:
    """Valid messages in which something was changed, and noise; the same ones in each run."""
    chance = random.Random(4)
    attack = Attack(target)
    with Witness(target) as witness:

        def wave(count: int) -> None:
            for n in range(count):
                kind = chance.choice(KINDS)
                status = attack.send(kind, hostile(chance))
                assert status < 500 or status == 503, (kind, status)
                if n % 500 == 0:
                    witness.undisturbed()
            attack.close()
            witness.undisturbed()
            target.unharmed()

        wave(10_000)  # what a server takes once, it has taken
        target.forgets(peers=2)
        kib, descriptors = target.kib(), target.descriptors()
        wave(100_000)
        target.forgets(peers=2)
        assert attack.sent == 110_000
        assert target.descriptors() <= descriptors + 2
        # Less than a hundred bytes a message: what an allocator keeps, and nobody else.
        assert (target.kib() - kib) * 1024 <= 100 * 100_000, "memory that does not come back"


def hostile(chance: random.Random) -> bytes:
    """A message that is nearly right, or noise."""
    if chance.random() < 0.2:
        return chance.randbytes(chance.randrange(200))
    data = bytearray(json.dumps(_nearly(chance)).encode())
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = data[: chance.randrange(100)]
            case _:
                data[at:at] = chance.choice([b"{", b"[" * 50, b'"', b"\\ud800", b"1e999", b"\0"])
        data = data or bytearray(b"{")
    return bytes(data)


def _nearly(chance: random.Random) -> Any:
    def value(depth: int = 0) -> Any:
        if depth < 3 and chance.random() < 0.2:
            return [value(depth + 1) for _ in range(chance.randrange(5))]
        if depth < 3 and chance.random() < 0.2:
            return {chance.choice(FIELDS): value(depth + 1) for _ in range(chance.randrange(5))}
        return chance.choice(
            [None, True, 0, -1, 3, 10**30, 0.5, "", "x", CONTENT, _HASH, "main", "victim", "s",
             "t", "peerjs", f"box{chance.randrange(50)}", "y" * chance.randrange(3000),
             [[0, 3]], "\u20ac\U0001f600"]
        )  # fmt: skip

    made = {
        "type": chance.choice(TYPES),
        "payload": {
            "content": CONTENT, "segments": 8, "have": [[0, 3]], "stream": "s", "role": "main",
            "rid": 1, "token": "x" * 32,
        },
        "dst": chance.choice(["victim", "friend", "nobody", "mallory1"]),
        "action": chance.choice(["announce", "scrape"]), "info_hash": _HASH, "peer_id": "p" * 20,
        "offers": [{"offer": {"sdp": "o"}, "offer_id": "i"}], "numwant": 1,
        "id": f"box{chance.randrange(50)}", "token": "t", "key": "peerjs", "messages": [],
    }  # fmt: skip
    for _ in range(chance.randrange(4)):
        name = chance.choice([*made, *FIELDS])
        if chance.random() < 0.3:
            made.pop(name, None)
        else:
            made[name] = value()
    return made
