"""Peers that lie: a visitor's video must not show it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.eyes import Watch
from tests.servers.proxy import Proxy
from tests.sites import media

pytestmark = [pytest.mark.browser, pytest.mark.server]

# Put before the loader of the hostile page: what becomes of each DATA message it sends.
_DATA = """(() => {
  const send = RTCDataChannel.prototype.send;
  let count = 0;
  window.attacks = 0;
  RTCDataChannel.prototype.send = function (data) {
    const view = data instanceof ArrayBuffer ? new Uint8Array(data)
      : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (view[0] !== 5) return send.call(this, data);
    count++;
    const bytes = view.slice();
    const body = bytes.subarray(9);
    const attack = () => window.attacks++;
    %s
  };
})();"""

ATTACKS = {
    "wrong bytes": "attack(); body[body.length >> 1] ^= 1; return send.call(this, bytes);",
    "one wrong byte in a hundred messages": (
        "if (count % 100 === 7) { attack(); body[0] ^= 255; } return send.call(this, bytes);"
    ),
    "silence": "attack();",
    "half of the messages": ("if (count % 2) { attack(); return; } return send.call(this, bytes);"),
    "everything twice": "attack(); send.call(this, bytes); return send.call(this, bytes);",
    "truncated": "attack(); return send.call(this, bytes.slice(0, 9 + (body.length >> 1)));",
    "another place": (
        "attack(); new DataView(bytes.buffer).setUint32(5, 0x7fffffff); "
        "return send.call(this, bytes);"
    ),
    "no header": "attack(); return send.call(this, bytes.slice(0, 3));",
    "slow drip": (
        "attack(); setTimeout(() => { try { send.call(this, bytes) } catch {} }, 3000 * count);"
    ),
}
_QUICK = {"wrong bytes", "silence", "slow drip"}


@pytest.mark.parametrize(
    "attack",
    [pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow) for name in ATTACKS],
)
def test_a_hostile_peer_cannot_spoil_the_video(
    attack: str, site: Callable[..., Proxy], watch: Callable[..., Watch]
) -> None:
    proxy = site("starlette-uvicorn")
    hostile = watch(proxy, scripts=(_DATA % ATTACKS[attack],))
    hostile.open("watch/one").shared().play().end()
    visitor = watch(proxy).open("watch/one").shared().play(1)
    visitor.end()
    visitor.no_error()
    visitor.delivered("one.mp4")
    assert hostile.visitor.eval("attacks") > 0, "nothing was attacked"
    assert visitor.stalls == []


def test_a_liar_spoils_no_third_visitor_through_the_second(
    site: Callable[..., Proxy], watch: Callable[..., Watch]
) -> None:
    proxy = site("starlette-uvicorn")
    script = _DATA % ATTACKS["wrong bytes"]
    hostile = watch(proxy, scripts=(script,)).open("watch/one").shared().play().end()
    second = watch(proxy).open("watch/one").shared().play(2).end()
    alone = proxy.sent(r"/media/one\.mp4")
    third = watch(proxy).open("watch/one").shared().play(2).end()
    for visitor in (second, third):
        visitor.no_error()
        visitor.delivered("one.mp4")
    # The honest second visitor still saves the origin something.
    size = (media.folder() / "one.mp4").stat().st_size
    assert proxy.sent(r"/media/one\.mp4") - alone < size * 0.7
    assert hostile.visitor.eval("attacks") > 0
