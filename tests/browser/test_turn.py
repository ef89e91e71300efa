"""Visitors who must not learn each other's address meet through a real coturn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.eyes import Watch
from tests.servers.coturn import Coturn
from tests.servers.proxy import Proxy
from tests.sites import media

pytestmark = [pytest.mark.browser, pytest.mark.server]

# Keeps every connection of the page, and every candidate that the other side could see.
CONNECTIONS = """(() => {
  window.connections = [];
  window.candidates = [];
  const Native = RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) {
      super(...given);
      connections.push(this);
      this.addEventListener("icecandidate", ({candidate}) => {
        if (candidate?.candidate) candidates.push(candidate.candidate);
      });
    }
  };
})()"""

# The kinds of candidates at both ends of every pair that carried something.
PAIRS = """(async () => {
  const pairs = [];
  for (const connection of connections) {
    const stats = await connection.getStats();
    for (const pair of stats.values())
      if (pair.type === "candidate-pair" && pair.bytesSent + pair.bytesReceived > 10000)
        pairs.push([stats.get(pair.localCandidateId).candidateType,
                    stats.get(pair.remoteCandidateId).candidateType]);
  }
  return pairs;
})()"""

SECRET = "a shared secret"


@pytest.fixture
def relay_site(site: Callable[..., Proxy], run: Callable[..., Any]) -> Callable[..., Proxy]:
    def relay_site(*, believed: str) -> Proxy:
        coturn: Coturn = run(lambda: Coturn(SECRET))
        return site(
            "starlette-uvicorn",
            ice_servers=json.dumps([{"urls": coturn.turn}]),
            turn_secret=believed,
            relay_only="1",
        )

    return relay_site


def size(name: str) -> int:
    return (media.folder() / name).stat().st_size


def test_with_relay_only_the_video_comes_through_turn_and_no_address_is_told(
    relay_site: Callable[..., Proxy], watch: Callable[..., Watch]
) -> None:
    proxy = relay_site(believed=SECRET)
    first = watch(proxy, scripts=(CONNECTIONS,)).open("watch/one").shared().play().end()
    second = watch(proxy, scripts=(CONNECTIONS,)).open("watch/one").shared().play(1)
    second.visitor.wait_for("eyes.received > 300000", timeout=40)
    for visitor in (first, second):
        pairs = visitor.visitor.eval(PAIRS)
        assert pairs and all(pair == ["relay", "relay"] for pair in pairs), pairs
        told = visitor.visitor.eval("candidates")
        assert told and all(" typ relay " in candidate for candidate in told), told
    second.play().end()
    second.no_error()
    second.delivered("one.mp4")


def test_a_turn_server_that_refuses_us_costs_no_visitor_the_video(
    relay_site: Callable[..., Proxy], watch: Callable[..., Watch]
) -> None:
    proxy = relay_site(believed="another secret")
    watch(proxy, scripts=(CONNECTIONS,)).open("watch/one").shared().play().end()
    second = watch(proxy, scripts=(CONNECTIONS,)).open("watch/one").shared()
    second.visitor.wait_for("connections.length > 0", timeout=20)
    second.play().end()
    second.no_error()
    second.delivered("one.mp4")
    assert second.received == 0
    assert second.visitor.eval("candidates") == [], "an address was told in spite of relay_only"
    assert proxy.sent(r"/media/one\.mp4") >= 2 * size("one.mp4")
