"""The report, statistics and metrics endpoints, through a real Starlette app."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from p2pcdn.config import Config
from p2pcdn.stats import Recorder
from p2pcdn.stats.sqlite_schema import FILE_NAME
from p2pcdn.web.access import Throttle
from tests.stats.day import VIDEOS, Clock, key_of, play
from tests.web.stats_site import app, serve

PATH = next(iter(VIDEOS))
TOKEN = "owner's token"


class Http:
    """The mounted app, asked without a network."""

    def __init__(self, recorder: Recorder, config: Config, **options: Any) -> None:
        self.recorder = recorder
        self.app = app(recorder, config, **options)

    def __call__(
        self,
        method: str,
        path: str,
        *,
        client: tuple[str, int] = ("203.0.113.5", 5),
        **options: Any,
    ) -> httpx.Response:

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=client)
            async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
                return await http.request(method, path, **options)

        return anyio.run(ask)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Http]]:
    made: list[Recorder] = []

    def make(*, live: Any = lambda: {"peers": 3}, throttle: Any = None, **settings: Any) -> Http:
        config = Config(data_dir=str(tmp_path), **settings)
        made.append(Recorder(config, folder=tmp_path, flush_every_s=3600))
        return Http(made[-1], config, live=live, throttle=throttle)

    yield make
    for recorder in made:
        recorder.close()


def report(view: str = "view-0001", **numbers: Any) -> bytes:
    content = {"key": key_of(PATH), "url": PATH, **numbers}
    return json.dumps({"view": view, "seq": 1, "contents": [content]}).encode()


BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("type", ["application/json", "text/plain;charset=UTF-8", ""])
def test_a_report_is_taken_as_fetch_and_as_a_beacon_send_it(site: Any, type: str) -> None:
    http = site(stats_token=TOKEN)
    sent = http("POST", "/p2pcdn/report", content=report(from_origin=77),
                headers={"Content-Type": type})  # fmt: skip
    assert (sent.status_code, sent.content) == (204, b"")
    found = http("GET", "/p2pcdn/stats", headers=BEARER).json()
    assert found["totals"]["origin_reported"] == 77
    assert found["contents"][0]["path"] == PATH


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b"\xff\xfe", 400),
        (b"[" * 10_000, 400), (b"{" + b" " * 16 * 1024 + b"}", 413), (b"{}", 204),
        (b'{"view": 1}', 204), (b'{"view": "' + b"v" * 20 + b'", "contents": {}}', 204),
    ],
)  # fmt: skip
def test_a_report_that_is_none_is_refused_and_breaks_nothing(
    site: Any, body: bytes, status: int
) -> None:
    http = site(stats_token=TOKEN)
    answer = http("POST", "/p2pcdn/report", content=body)
    assert answer.status_code == status
    if status != 204:
        assert set(answer.json()) == {"error", "message"}
    assert http("GET", "/p2pcdn/stats", headers=BEARER).json()["totals"]["views"] == 0


def test_only_post_reports(site: Any) -> None:
    assert site()("GET", "/p2pcdn/report").status_code == 405


def test_another_sites_pages_cannot_report(site: Any) -> None:
    def from_page(http: Http, origin: str, **more: str) -> int:
        headers = {"Origin": origin, "Host": "site.example", **more}
        return http("POST", "/p2pcdn/report", content=report(), headers=headers).status_code

    http = site()
    assert from_page(http, "https://site.example") == 204
    assert from_page(http, "https://evil.example") == 403
    assert from_page(http, "null") == 403
    assert from_page(site(allowed_origins=("https://partner.example",)),
                     "https://partner.example") == 204  # fmt: skip


def strict() -> Throttle:
    """Ten reports an address, on a clock that stands."""
    return Throttle(rate=1, burst=10, total_rate=1000, clock=Clock(0.0))


def post(http: Http, address: str, *, forwarded: str | None = None) -> int:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    answer = http("POST", "/p2pcdn/report", content=b"{}", client=(address, 1), headers=headers)
    return answer.status_code


def test_one_address_cannot_flood_but_others_report_on(site: Any) -> None:
    http = site(throttle=strict())
    assert [post(http, "8.8.8.8") for _ in range(12)] == [204] * 10 + [429] * 2
    assert post(http, "8.8.4.4") == 204
    assert http.recorder.summary(0).dropped["too many reports"] == 2


def test_all_addresses_together_cannot_flood_either(site: Any) -> None:
    http = site(throttle=Throttle(rate=1, burst=10, total_rate=10, clock=Clock(0.0)))
    codes = [post(http, f"8.8.8.{n}") for n in range(30)]
    assert codes == [204] * 20 + [429] * 10


def test_behind_the_sites_own_proxy_the_visitors_are_told_apart(site: Any) -> None:
    http = site(throttle=strict())
    for n in range(11):
        # What stands before the proxy's own entry is the visitor's invention.
        last = post(http, "127.0.0.1", forwarded=f"9.9.9.{n}, 8.8.8.8")
    assert last == 429
    assert post(http, "127.0.0.1", forwarded="8.8.4.4") == 204


def test_without_a_proxy_a_visitor_cannot_invent_other_addresses(site: Any) -> None:
    http = site(throttle=strict())
    codes = [post(http, "8.8.8.8", forwarded=f"9.9.9.{n}") for n in range(12)]
    assert codes[-1] == 429


def test_the_throttle_forgets_addresses_when_there_are_too_many() -> None:
    clock = Clock(0.0)
    throttle = Throttle(rate=1, burst=2, total_rate=1e9, addresses=50, clock=clock)
    for n in range(1000):
        assert throttle.take(f"address {n}")
    assert len(throttle._buckets) == 50
    assert [throttle.take("same") for _ in range(3)] == [True, True, False]
    clock.now = 1.0
    assert throttle.take("same")


# --- reading -----------------------------------------------------------------------------------

PAGES = ["/p2pcdn/stats", "/p2pcdn/metrics"]


@pytest.mark.parametrize("path", [*PAGES, "/p2pcdn/dashboard"])
def test_without_a_token_in_the_settings_nobody_reads(site: Any, path: str) -> None:
    answer = site()("GET", f"{path}?token=")
    assert answer.status_code == 404
    assert "stats_token" in answer.json()["message"]


@pytest.mark.parametrize("path", PAGES)
def test_only_the_owner_reads(site: Any, path: str) -> None:
    http = site(stats_token=TOKEN)
    assert http("GET", path).status_code == 401
    assert http("GET", path, params={"token": "wrong"}).status_code == 401
    assert http("GET", path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert http("GET", path, headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
    assert http("GET", path, params={"token": TOKEN}).status_code == 200
    assert http("GET", path, headers=BEARER).status_code == 200


def test_a_token_cannot_be_guessed_by_trying_yet_the_owner_is_let_in(site: Any) -> None:
    http = site(stats_token=TOKEN)
    codes = [
        http("GET", "/p2pcdn/stats", params={"token": f"guess{n}"}).status_code for n in range(40)
    ]
    assert codes[0] == 401 and codes[-1] == 429
    assert http("GET", "/p2pcdn/stats", headers=BEARER).status_code == 200


def test_wrong_tokens_are_logged_once_and_never_in_full(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    http = site(stats_token=TOKEN)
    http("GET", "/p2pcdn/stats")  # without one: an owner who is about to be asked
    assert caplog.records == []
    for n in range(5):
        http("GET", "/p2pcdn/stats", params={"token": f"guess{n}"})
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("p2pcdn.stats", "WARNING")
    assert "/p2pcdn/stats" in record.getMessage() and "guess" not in record.getMessage()


@pytest.mark.parametrize("path", PAGES)
def test_a_developer_reads_without_a_token(site: Any, path: str) -> None:
    assert site(debug=True)("GET", path).status_code == 200
    assert site(debug=True, stats_token=TOKEN)("GET", path).status_code == 401


@pytest.mark.parametrize("query", ["since=soon", "until=soon", "top=-1", "top=many", "top=10000"])
def test_a_wrong_question_is_answered_with_what_is_allowed(site: Any, query: str) -> None:
    answer = site(debug=True)("GET", f"/p2pcdn/stats?{query}")
    allowed = "0 to 1000" if "top" in query else "24h"
    assert answer.status_code == 400 and allowed in answer.json()["message"]


def test_statistics_may_not_be_cached(site: Any) -> None:
    for path in PAGES:
        assert site(debug=True)("GET", path).headers["Cache-Control"] == "no-store"


def test_addresses_that_the_coordinator_knows_are_not_passed_on(site: Any) -> None:
    def live() -> Any:
        return {
            "peers": 2,
            "state": "leading",
            "addresses": ["203.0.113.1"],
            "x": {"ip": "1.2.3.4"},
        }

    answer = site(debug=True, live=live)("GET", "/p2pcdn/stats")
    assert answer.json()["coordinator"] == {"peers": 2}
    assert "203.0.113.1" not in answer.text


def test_a_coordinator_in_trouble_does_not_take_the_statistics_with_it(site: Any) -> None:
    def live() -> Any:
        raise RuntimeError("no coordinator")

    for path in PAGES:
        assert site(debug=True, live=live)("GET", path).status_code == 200


def test_a_coordinator_may_answer_later(site: Any) -> None:
    async def live() -> Any:
        return {"peers": 9}

    assert site(debug=True, live=live)("GET", "/p2pcdn/stats").json()["coordinator"] == {"peers": 9}


def test_a_store_that_cannot_be_read_is_said_in_plain_words(site: Any, tmp_path: Path) -> None:
    http = site(debug=True)
    http("GET", "/p2pcdn/stats")
    http.recorder._store._connection.execute("PRAGMA busy_timeout = 10")
    http.recorder._store._connection.execute("PRAGMA journal_mode = DELETE")
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        for path in PAGES:
            answer = http("GET", path)
            assert (answer.status_code, answer.json()["error"]) == (503, "store")
            assert "locked" in answer.json()["message"]
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert http("GET", "/p2pcdn/stats").status_code == 200


def test_a_day_of_a_site_reconciles_within_two_percent(tmp_path: Path) -> None:
    clock = Clock(1_780_000_000.0)
    recorder = Recorder(Config(), folder=tmp_path, clock=clock, flush_every_s=3600)
    play(recorder, clock, until=clock.now + 3 * 3600, peak=9)
    totals = recorder.summary(0).totals
    recorder.close()
    assert totals.views > 100
    assert abs(totals.origin_counted - totals.origin_reported) < 0.02 * totals.origin_counted
    assert totals.unconfirmed == 0
    assert abs(totals.uploaded - totals.from_peers) < 0.02 * totals.uploaded


def test_prometheus_gets_its_content_type_over_a_real_server(tmp_path: Path) -> None:
    with serve(tmp_path, stats_token=TOKEN) as (port, recorder):
        recorder.origin(PATH, sent=9, whole=True, aborted=False, status=200)
        answer = httpx.get(f"http://127.0.0.1:{port}/p2pcdn/metrics", headers=BEARER)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "p2pcdn_origin_sent_bytes_total 9\n" in answer.text
