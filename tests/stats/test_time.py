"""Minutes become hours and days, clocks jump both ways: sums stay true, nothing counts twice."""

from __future__ import annotations

import pytest

from p2pcdn.stats import tidy
from tests.stats.support import NOON, MakeSite, Site

BOTH_STORES = True
DAY = 86400


def fill(site: Site, days: int) -> int:
    total = 0
    for day in range(days):
        for hour in (0, 6, 12):
            site.send(100)
            site.tell(f"{day}-{hour}", from_origin=50, startup_ms=120, causes={"urgent": 1})
            total += 100
            site.later(6 * 3600)
        site.later(6 * 3600)
    return total


def test_minutes_become_hours_and_days_and_the_sums_stay_the_same(
    site: Site,
) -> None:
    total = fill(site, 60)
    summary = site.recorder.summary(0)
    assert {60, 3600, 86400} <= site.kept_rows().keys()
    assert site.kept_rows()[60] < 20 and site.kept_rows()[3600] < 200
    assert summary.totals.origin_counted == total == 60 * 300
    assert summary.totals.views == summary.startup["150"] == summary.causes["urgent"] == 180
    assert sum(p.from_origin for p in summary.series) == total
    assert summary.step_s % 86400 == 0


def test_statistics_end_after_the_retention_time_and_counters_never_go_down(
    make_site: MakeSite,
) -> None:
    site = make_site(stats_retention_days=10)
    total = fill(site, 30)
    everything = site.recorder.all_time().totals
    site.tidy()
    assert site.totals().origin_counted <= 11 * 300
    kept = site.recorder.all_time().totals
    assert kept.origin_counted == everything.origin_counted == total
    assert kept.views == everything.views == 90


def test_a_content_that_is_gone_for_long_gives_its_place_away(make_site: MakeSite) -> None:
    site = make_site(stats_retention_days=1)
    for n in range(20):
        site.send(5, f"/media/old-{n}.mp4")
    site.later(5 * DAY)
    site.send(1, "/media/new.mp4")
    site.tidy()
    assert site.paths() == {"/media/new.mp4"}
    assert site.recorder.all_time().totals.origin_counted == 101


def test_the_store_has_a_ceiling_however_many_contents_there_are(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy, "MAX_ROWS", 500)
    for _ in range(30):
        for n in range(20):
            site.send(1, f"/media/{n}.mp4")
        site.later(1800)
    site.tidy()
    assert sum(site.kept_rows().values()) <= 500
    assert site.totals().origin_counted == 600


def test_a_clock_that_jumps_far_ahead_deletes_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.send(100)
    site.recorder.flush()
    site.clock.now += 70 * 365 * DAY
    site.send(1)
    site.tidy()
    site.clock.now = NOON + 60
    assert site.totals().origin_counted == 100
    assert "clock" in caplog.text


@pytest.mark.parametrize("jump", [-2 * DAY, -3600, 3600, 9 * DAY, 70 * 365 * DAY])
def test_a_clock_that_jumps_makes_no_view_count_twice(site: Site, jump: int) -> None:
    site.tell("a", 1, from_origin=100_000, startup_ms=90)
    site.tell("b", 1, from_origin=100_000, startup_ms=90)
    site.recorder.flush()
    site.clock.now += jump
    site.tell("a", 2, from_origin=150_000, startup_ms=90, idle_s=10)
    site.recorder.flush()  # b is silent yet
    site.tell("b", 2, from_origin=150_000, startup_ms=90, idle_s=10)
    site.recorder.flush()
    totals = site.recorder.all_time().totals
    assert (totals.origin_reported, totals.views, totals.startups) == (300_000, 2, 2)
    assert totals.viewers_now == 2
    # And back again, as when a wrong time server is corrected.
    site.clock.now -= jump
    for view in "ab":
        site.tell(view, 3, from_origin=200_000, idle_s=10)
    site.recorder.flush()
    assert site.recorder.all_time().totals.origin_reported == 400_000


def test_an_owner_is_told_when_the_clock_was_set_back(site: Site) -> None:
    site.send(100)
    site.tell("a", 1, from_origin=100)
    site.recorder.flush()
    site.clock.now -= 2 * 3600
    site.send(50)
    site.tell("a", 2, from_origin=150)
    summary = site.recorder.summary(0)
    assert summary.totals.origin_counted == 50
    assert "clock" in [note.code for note in summary.notes]
    site.clock.now += 3 * 3600
    assert site.totals().origin_counted == site.totals().origin_reported == 150


def test_a_site_that_was_off_for_a_season_tidies_up_a_day_later(make_site: MakeSite) -> None:
    site = make_site(stats_retention_days=30)
    site.send(100)
    site.later(90 * DAY)
    site.tidy()
    assert site.kept_rows()
    site.later(3600)
    site.tidy()
    assert site.kept_rows()
    site.later(DAY)
    site.tidy()
    assert not site.kept_rows()
    assert site.recorder.all_time().totals.origin_counted == 100
