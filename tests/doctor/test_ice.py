"""STUN and TURN against a real coturn."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from p2pcdn.doctor import Report, Status, examine, stun
from p2pcdn.doctor.ice import check_ice
from tests.servers.process import Server, program
from tests.servers.python import Uvicorn

pytestmark = pytest.mark.server

Run = Callable[[Callable[[], Any]], Any]


class Coturn(Server):
    """coturn on loopback, UDP and TCP."""

    name = "coturn"

    def __init__(self, *arguments: str, **server: Any) -> None:
        super().__init__(**server)
        self.arguments = arguments or ("--lt-cred-mech", "--user=visitor:secret")
        self._program = program("turnserver", "coturn")

    def command(self) -> list[str]:
        return [
            self._program, "-n", "--no-cli", "--no-tls", "--no-dtls", "--log-file=stdout",
            "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--realm=test",
            f"--listening-port={self.port}", f"--pidfile={self.folder}/pid",
            f"--userdb={self.folder}/db", *self.arguments,
        ]  # fmt: skip

    def ready(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            probe.connect(("127.0.0.1", self.port))
            try:
                probe.send(stun.Message(stun.BINDING, bytes(12)).encode())
                return stun.decode(probe.recv(2048)) is not None
            except OSError:
                return False


def ask(ice: list[dict[str, Any]], *, relay_only: bool = False, timeout_s: float = 5) -> Report:
    report = Report("https://example.org/")
    check_ice(report, ice, relay_only=relay_only, timeout_s=timeout_s)
    return report


def told(report: Report) -> list[tuple[str, Status]]:
    return [(finding.code, finding.status) for finding in report.findings]


def test_stun_and_turn_that_work_are_said_to_work(run: Run) -> None:
    port = run(Coturn).port
    user = {"username": "visitor", "credential": "secret"}
    report = ask(
        [
            {"urls": f"stun:127.0.0.1:{port}"},
            {
                "urls": [f"turn:127.0.0.1:{port}", f"turn:127.0.0.1:{port}?transport=tcp"],
                **user,
            },
        ]
    )
    assert told(report) == [("stun", Status.OK), ("turn", Status.OK), ("turn", Status.OK)]
    assert "127.0.0.1:" in report.findings[0].text


def test_credentials_that_are_wrong_or_missing_are_told_from_a_server_that_is_down(
    run: Run,
) -> None:
    port = run(Coturn).port
    wrong = ask(
        [{"urls": f"turn:127.0.0.1:{port}", "username": "visitor", "credential": "guessed"}]
    )
    assert told(wrong) == [("turn-credentials", Status.PROBLEM)]
    assert "401" in wrong.findings[0].text and "ice_servers" in wrong.findings[0].remedy
    missing = ask([{"urls": f"turn:127.0.0.1:{port}"}])
    assert told(missing) == [("turn-credentials", Status.PROBLEM)]
    assert "visitors are given none" in missing.findings[0].text


def test_a_relay_that_is_open_to_everybody_is_a_warning(run: Run) -> None:
    port = run(lambda: Coturn("--no-auth")).port
    report = ask([{"urls": f"turn:127.0.0.1:{port}"}])
    assert told(report) == [("turn-open", Status.WARNING)]
    assert "use-auth-secret" in report.findings[0].remedy


def test_servers_that_do_not_answer_are_named_with_what_is_lost() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        turn = {"urls": f"turn:127.0.0.1:{port}", "username": "a", "credential": "b"}
        report = ask([{"urls": f"stun:127.0.0.1:{port}"}, turn], timeout_s=0.3)
        assert told(report) == [
            ("stun-unreachable", Status.WARNING),
            ("turn-unreachable", Status.WARNING),
        ]
        assert "firewalls" in report.findings[0].remedy
        # Where links go through it alone, nothing works without it.
        assert told(ask([turn], relay_only=True, timeout_s=0.3)) == [
            ("turn-unreachable", Status.PROBLEM)
        ]


def test_no_server_at_all_is_said(run: Run) -> None:
    assert told(ask([])) == [("ice-none", Status.WARNING)]
    assert ("turn-missing", Status.PROBLEM) in told(ask([], relay_only=True))


def test_an_address_that_is_none_is_said_to_be_none() -> None:
    report = ask([{"urls": "stun://example.org"}, {"urls": ["turn:"]}, "nonsense"])
    assert told(report)[:2] == [("ice-url", Status.PROBLEM)] * 2
    assert "stun:host:port" in report.findings[0].remedy


@pytest.mark.parametrize("word", ["the same word", "another word"])
def test_credentials_that_the_site_makes_are_tried_as_a_visitor_gets_them(
    run: Run, word: str
) -> None:
    turn = run(lambda: Coturn("--use-auth-secret", "--static-auth-secret=the same word"))
    ice = [{"urls": f"turn:127.0.0.1:{turn.port}"}]
    env = {
        "P2PCDN_ICE_SERVERS": json.dumps(ice),
        "P2PCDN_TURN_SECRET": word,
        "P2PCDN_RELAY_ONLY": "1",
    }
    site = run(lambda: Uvicorn("tests.doctor.site:make", arguments=["--factory"], env=env))
    report = examine(site.url + "/page/good", timeout_s=8)
    found = {finding.code: finding for finding in report.findings}
    if word == "the same word":
        assert found["turn"].status is Status.OK and report.exit_code == 0, report.as_text()
    else:
        assert found["turn-credentials"].status is Status.PROBLEM
        assert "turn_secret" in found["turn-credentials"].remedy
