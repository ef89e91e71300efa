"""Redis goes away, hangs, fills up and comes back: every byte counts once, no page waits."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.stats import batch as batches
from p2pcdn.stats.redis_store import connect
from p2pcdn.stats.store import StoreError, shared_name
from tests.servers.redis import Redis
from tests.stats.gate import Gate
from tests.stats.support import Site

pytestmark = pytest.mark.server


def test_counts_wait_while_redis_is_away_and_are_counted_once_when_it_is_back(
    machine: Any, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = machine(redis.url), machine(redis.url)
    one.send(100)
    one.tell("a", 1, from_origin=100, startup_ms=70)
    one.recorder.flush()
    redis.kill()
    with caplog.at_level(logging.WARNING, "p2pcdn.stats"):
        for seq in range(2, 7):
            one.send(10)
            one.tell("a", seq, from_origin=100 + 10 * seq)
            two.send(1)
            one.recorder.flush()
            two.recorder.flush()
        with pytest.raises(StoreError):
            one.recorder.summary(0)
        assert (
            sum("wait in memory" in record.message for record in caplog.records) == 2
        )  # each once
        redis.start()
        one.recorder.flush()
    assert sum("are written to" in record.message for record in caplog.records) == 1
    two.recorder.flush()
    totals = one.totals()
    assert (totals.origin_counted, totals.origin_reported) == (100 + 50 + 5, 160)
    assert (totals.views, totals.startups) == (1, 1)


def test_a_view_goes_on_over_an_outage_that_is_longer_than_its_memory(
    machine: Any, redis: Redis
) -> None:
    one, two = machine(redis.url), machine(redis.url)
    one.tell("a", 1, from_origin=1000, startup_ms=70)
    two.tell("b", 1, from_origin=1000, startup_ms=70)
    one.recorder.flush()
    two.recorder.flush()
    redis.kill()
    for minute in range(1, 61):
        for site, view in ((one, "a"), (two, "b")):
            site.clock.now += 60
            site.tell(view, 1 + minute, from_origin=1000 * (1 + minute), watched_s=60 * minute,
                      idle_s=60)  # fmt: skip
        if minute % 10 == 0:
            one.recorder.flush()
            two.recorder.flush()
    two.tell("late", 1, from_origin=1000, watched_s=1)  # came during the outage
    redis.start()
    one.recorder.flush()
    two.recorder.flush()
    totals = one.totals()
    assert totals.origin_reported == 2 * 61_000 + 1000
    assert (totals.views, totals.startups) == (3, 2)
    assert one.recorder.summary(0).dropped == {}


def test_one_machine_that_was_cut_off_loses_its_views_rather_than_count_them_twice(
    machine: Any, redis_server: Redis
) -> None:
    with Gate(redis_server.port) as gate:
        far, near = machine(gate.url), machine()
        far.tell("a", 1, from_origin=1000)
        far.recorder.flush()
        gate.shut()
        for _ in range(12):  # meanwhile the others tidy up
            near.clock.now += 300
            near.send(1)
            near.recorder.flush()
        far.clock.now += 60
        far.tell("a", 2, from_origin=1100, idle_s=60)
        far.recorder.flush()
        far.clock.now = near.clock.now
        gate.open()
        far.recorder.flush()
        far.tell("a", 3, from_origin=1300, idle_s=10)
    summary = near.recorder.summary(0)
    assert summary.totals.origin_reported == 1000
    far.recorder.flush()
    assert near.totals().origin_reported in (1000, 1200)
    assert near.recorder.summary(0).dropped == {"forgotten view": 1}


def test_what_waits_for_redis_has_a_ceiling(
    machine: Any, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_PARTS", 20)
    monkeypatch.setattr(batches, "MAX_PATHS", 10)
    site = machine(redis.url)
    redis.kill()
    for n in range(200):
        site.send(1, f"/media/{n}.mp4")
        site.tell(f"view{n}", from_origin=1)
        if n % 50 == 0:
            site.recorder.flush()
    waiting = site.recorder._batch
    assert len(waiting.parts) == 20 and len(waiting.origin) <= 11
    redis.start()
    summary = site.recorder.summary(0)
    assert summary.totals.origin_counted == 200 and summary.totals.views == 20
    assert summary.dropped == {"flood": 180}


def test_a_batch_whose_answer_got_lost_is_not_counted_twice(
    machine: Any, redis_server: Redis
) -> None:
    with Gate(redis_server.port) as gate:
        site = machine(gate.url)
        site.send(1)
        site.recorder.flush()
        site.send(100)
        gate.lose_answer_to = b"p2pcdn:stats-sites"  # stands in the MULTI that writes
        site.recorder.flush()
        assert gate.lost.is_set() and site.recorder._unsure is not None
        site.send(10)
        site.recorder.flush()
        assert site.recorder._unsure is None
        assert site.totals().origin_counted == 111
    assert machine().totals().origin_counted == 111


def test_a_worker_that_was_too_slow_for_its_lock_does_not_write_over_another(
    machine: Any, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = machine(), machine()
    slow.send(1)
    slow.recorder.flush()
    slow.send(10)
    store: Any = slow.recorder._store
    write = store._write

    def stopped(batch: Any, now: float) -> None:
        from p2pcdn.stats import redis_tables

        load = redis_tables.RedisTables.load

        def overtaken(tables: Any, *arguments: Any) -> bool:
            with monkeypatch.context() as undone:
                undone.setattr(redis_tables.RedisTables, "load", load)
                with connect(redis_server.url) as client:  # the lock's time is over...
                    client.delete(f"{store._at}lock")
                quick.send(100)  # ... and another one writes
                quick.recorder.flush()
            return load(tables, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(redis_tables.RedisTables, "load", overtaken)
            write(batch, now)

    monkeypatch.setattr(store, "_write", stopped)
    slow.recorder.flush()
    assert quick.totals().origin_counted == 101
    monkeypatch.setattr(store, "_write", write)
    slow.recorder.flush()
    assert quick.totals().origin_counted == 111


def test_a_redis_that_hangs_holds_up_neither_page_nor_report(machine: Any, redis: Redis) -> None:
    site = machine(redis.url)
    site.send(1)
    site.recorder.flush()
    assert redis.process is not None
    os.kill(redis.process.pid, signal.SIGSTOP)
    flushing = threading.Thread(target=site.recorder.flush)
    try:
        site.send(1)
        flushing.start()
        for n in range(50):
            site.send(1)
            site.tell("a", n + 1, from_origin=n)
        assert flushing.is_alive()  # nothing above waited for it
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    flushing.join(60)
    assert site.totals().origin_counted == 52


def test_a_redis_that_is_full_is_told_and_counts_wait(
    machine: Any, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    site = machine(redis.url)
    site.send(1)
    site.recorder.flush()
    with connect(redis.url) as client:
        client.config_set("maxmemory", "1mb")
        for _ in range(2):
            site.send(10)
            site.recorder.flush()
        assert sum("wait in memory" in record.message for record in caplog.records) == 1
        assert "maxmemory" in caplog.text
        client.config_set("maxmemory", "0")
    assert site.totals().origin_counted == 21


def test_nothing_stays_in_redis_for_ever_and_the_password_is_in_no_log(
    machine: Any, redis_server: Redis, tmp_path: Path
) -> None:
    site = machine()
    site.send(1)
    site.tell("a", from_peers=10, uploaded=5)
    site.recorder.flush()
    at = f"p2pcdn:stats:{{{shared_name(str(tmp_path).encode())}}}:"
    with connect(redis_server.url) as client:
        keys = list(client.scan_iter(f"{at}*"))
        assert len(keys) > 10
        assert [key for key in keys if client.ttl(key) < 0] == []
        # Of page views nothing, also where the site itself is switched off for good.
        for name in ("views", "last", "open", "open:2"):
            assert client.ttl(f"{at}{name}") <= 7200
    secret = Site(None, redis_url="redis://:pass-word@127.0.0.1:1/0", secret="x")
    assert "pass-word" not in secret.recorder._store.name
