"""What an owner reads must be what happened."""

from __future__ import annotations

import pytest

from tests.stats.support import KEY, SIZE, MakeSite, Site, size_of

BOTH_STORES = True


def test_every_byte_of_the_origin_is_counted_by_kind_of_answer(site: Site) -> None:
    site.send(1000, whole=True, status=200)
    site.send(500, "/media/a.mp4?signature=x")
    site.send(20, aborted=True)
    totals = site.totals()
    assert (totals.origin_requests, totals.origin_whole, totals.origin_aborted) == (3, 1, 1)
    assert totals.origin_counted == totals.from_origin == totals.delivered == 1520
    assert totals.offload == 0.0


def test_an_error_page_is_no_media_delivered(site: Site) -> None:
    for status in (304, 404, 416, 500):
        site.send(1000, status=status)
    assert site.totals().origin_requests == 0


def test_signed_urls_are_one_content_and_their_signatures_are_not_kept(site: Site) -> None:
    for n in range(5):
        site.send(10, f"/media/a.mp4?signature=secret{n}")
    assert [c.path for c in site.recorder.summary(0).contents] == ["/media/a.mp4"]
    assert "secret" not in str(site.dump())


def test_a_path_is_the_same_content_however_it_is_escaped(site: Site) -> None:
    site.send(1, "/media/K%C3%B6ln.mp4")
    site.send(1, "/media/Köln.mp4")
    assert [c.path for c in site.recorder.summary(0).contents] == ["/media/Köln.mp4"]


def test_offload_is_the_part_that_peers_delivered(site: Site) -> None:
    site.send(1_000_000)
    site.tell("first", from_origin=1_000_000, uploaded=3_000_000, watched_s=5)
    site.tell("second", from_peers=3_000_000, watched_s=5)
    totals = site.totals()
    assert (totals.from_peers, totals.from_origin) == (3_000_000, 1_000_000)
    assert totals.offload == 0.75
    assert totals.saved(0.1) == pytest.approx(0.0003)
    assert totals.views == totals.viewers_now == 2


def test_a_lost_late_or_repeated_report_changes_nothing(site: Site) -> None:
    site.tell("a", 1, from_origin=100)
    site.tell("a", 3, from_origin=300)  # the second one was lost
    site.recorder.flush()
    site.tell("a", 2, from_origin=200)  # and comes late
    site.tell("a", 3, from_origin=300)  # and this one twice
    site.recorder.flush()
    site.tell("a", 3, from_origin=300)
    assert site.totals().origin_reported == 300


def test_reports_of_one_view_may_reach_any_server_worker(make_site: MakeSite) -> None:
    one, two = make_site(), make_site()
    one.tell("a", 1, from_origin=100, watched_s=10)
    one.recorder.flush()
    two.tell("a", 2, from_origin=250, watched_s=20)
    two.recorder.flush()
    one.tell("a", 3, from_origin=400, watched_s=30)
    totals = one.totals()
    assert (totals.origin_reported, totals.views, totals.watched_s) == (400, 1, 30)
    assert two.totals() == totals


def test_counts_survive_a_restart(make_site: MakeSite) -> None:
    before = make_site()
    before.send(700)
    before.tell("a", 1, from_origin=700)
    before.recorder.close()
    after = make_site()
    after.tell("a", 2, from_origin=900)
    assert after.totals().origin_counted == 700
    assert after.totals().origin_reported == 900


def test_a_view_that_only_opened_the_page_is_no_view(site: Site) -> None:
    site.tell("a", 1, from_origin=0, watched_s=0)
    assert site.totals().views == 0
    site.tell("a", 2, from_origin=10)
    assert site.totals().views == 1


def test_who_left_is_not_watching_now(site: Site) -> None:
    site.tell("a", 1, from_origin=10)
    site.tell("b", 1, from_origin=10)
    assert site.totals().viewers_now == 2
    site.tell("a", 2, from_origin=10, final=True)
    assert site.totals().viewers_now == 1
    site.later(60)
    assert site.totals().viewers_now == 0


def test_start_up_percentiles_are_those_of_the_views(site: Site) -> None:
    for n in range(100):
        site.tell(f"view{n}", 1, from_origin=1, startup_ms=190 if n < 90 else 1900)
        site.tell(f"view{n}", 2, from_origin=2, startup_ms=190 if n < 90 else 1900)
    totals = site.totals()
    assert totals.startups == 100
    assert 150 <= (totals.startup_p50_ms or 0) <= 200
    assert 1600 <= (totals.startup_p95_ms or 0) <= 2000


def test_the_causes_are_told_apart(site: Site) -> None:
    site.tell("a", 1, from_origin=10, causes={"no-peer": 2, "urgent": 1, "<script>": 5})
    site.recorder.flush()
    site.tell("a", 2, from_origin=10, causes={"no-peer": 7, "urgent": 1, "<script>": 5})
    assert site.recorder.summary(0).causes == {"no-peer": 7, "other": 5, "urgent": 1}


def test_videos_that_played_without_us_are_counted_with_the_reason(site: Site) -> None:
    bare = {"view": "insecure1", "seq": 1, "contents": [], "direct": {"insecure": 2, "magic": 1}}
    site.recorder.report(bare, content_size=size_of)
    site.recorder.flush()
    more = {**bare, "seq": 2, "direct": {"insecure": 3, "magic": 1}}
    site.recorder.report(more, content_size=size_of)
    summary = site.recorder.summary(0)
    assert summary.direct == {"insecure": 3, "other": 1}
    assert summary.totals.views == summary.totals.viewers_now == 0


def test_the_server_knows_the_path_of_a_content_better_than_a_client(site: Site) -> None:
    lie = {
        "view": "liar-1234",
        "seq": 1,
        "contents": [{"key": KEY, "url": "/lie", "from_origin": 5}],
    }
    site.recorder.report(lie, content_size=size_of, content_url=lambda key: "/media/a.mp4?x=1")
    assert [c.path for c in site.recorder.summary(0).contents] == ["/media/a.mp4"]


def test_the_first_name_of_a_content_stands(site: Site) -> None:
    site.tell("a", url="https://example.org/media/a.mp4?x", from_origin=5)
    site.tell("b", url="/media/other.mp4", from_origin=5)
    site.tell("c", url="(site)", from_origin=5)
    assert [c.path for c in site.recorder.summary(0).contents] == ["/media/a.mp4"]


def test_an_edited_file_is_counted_under_its_path_on(site: Site) -> None:
    other = "f" * 32
    sizes = {KEY: SIZE, other: SIZE}
    for n, key in enumerate([KEY, other]):
        one = {"key": key, "url": "/media/a.mp4", "from_origin": 100}
        site.recorder.report(
            {"view": "same-view", "seq": n + 1, "contents": [one]}, content_size=sizes.get
        )
    contents = site.recorder.summary(0).contents
    assert [(c.path, c.counts.origin_reported) for c in contents] == [("/media/a.mp4", 200)]


def test_loaders_and_origin_reconcile_within_two_percent_without_a_remark(site: Site) -> None:
    site.send(1_000_000)
    site.tell("a", from_origin=985_000)
    assert site.recorder.summary(0).notes == ()


def test_an_owner_is_told_of_bytes_that_no_loader_saw(site: Site) -> None:
    site.send(1_000_000)
    site.tell("a", from_origin=400_000, watched_s=1)
    summary = site.recorder.summary(0)
    assert [note.code for note in summary.notes] == ["direct"]
    assert "60%" in summary.notes[0].text


def test_a_web_server_in_front_does_not_make_the_offload_look_better(site: Site) -> None:
    # nginx serves the media: the application never sees these bytes.
    site.tell("a", from_origin=1_000_000, uploaded=1_000_000)
    site.tell("b", from_peers=1_000_000)
    summary = site.recorder.summary(0)
    assert summary.totals.offload == 0.5
    assert [note.code for note in summary.notes] == ["front"]
    assert sum(p.from_origin for p in summary.series) == 1_000_000


def test_the_series_adds_up_to_the_totals(site: Site) -> None:
    for minute in range(200):
        site.send(1000 + minute)
        site.tell("a", minute + 1, from_origin=1000 * (minute + 1), watched_s=60 * minute)
        site.later(60)
    summary = site.recorder.summary(site.clock.now - 86400)
    assert sum(p.from_origin for p in summary.series) == summary.totals.from_origin
    assert len(summary.series) <= 150
    assert {b.t - a.t for a, b in zip(summary.series, summary.series[1:], strict=False)} == {
        summary.step_s
    }


def test_a_range_of_time_holds_only_what_happened_in_it(site: Site) -> None:
    site.send(100)
    site.later(3600)
    site.send(10)
    now = site.clock.now
    assert site.recorder.summary(now - 600).totals.origin_counted == 10
    assert site.recorder.summary(0, now - 1800).totals.origin_counted == 100
    assert site.recorder.summary(now - 2400, now - 1200).totals.origin_counted == 0


def test_the_least_delivered_are_left_out_of_a_short_table_but_not_of_the_total(site: Site) -> None:
    for n in range(10):
        site.send(100 + n, f"/media/{n}.mp4")
    summary = site.recorder.summary(0, top=3)
    assert [c.path for c in summary.contents] == ["/media/9.mp4", "/media/8.mp4", "/media/7.mp4"]
    assert summary.more_contents == 7
    assert summary.totals.origin_counted == sum(range(100, 110))


def test_the_picture_of_the_swarm_shows_links_and_no_ids(site: Site) -> None:
    site.tell("a", held=64, segments=128, links=[["ab12", 500], ["ff", 1]], peers=2, uploaded=9)
    site.tell("b", held=0, segments=128, links=[["ab12", 700]], peers=1, from_peers=9)
    site.tell("c", final=True, links=[["ff", 1]])
    site.recorder.flush()
    live = site.recorder.live()
    assert live["viewers"] == 2
    assert [(a, b, n) for a, b, n in live["links"]] == [(0, 1, 700)]
    assert sorted(node["held"] for node in live["nodes"]) == [0.0, 0.5]
    assert "a_______" not in str(live) and "ab12" not in str(live)


def test_nothing_about_a_visitor_outlives_the_session(site: Site) -> None:
    site.tell("a", from_origin=10, from_peers=10, uploaded=10, links=[["ab12", 5]])
    site.recorder.flush()
    assert site.sessions() == 2
    site.idle(3600)
    site.send(1)
    assert site.sessions() == 0
    assert site.totals().views == 1


def test_a_view_that_went_on_after_a_long_pause_is_not_counted_twice(site: Site) -> None:
    site.tell("a", 1, from_origin=5_000_000, startup_ms=100)
    site.idle(3 * 3600)
    site.tell("a", 2, from_origin=5_100_000, startup_ms=100, idle_s=3 * 3600)
    site.recorder.flush()
    site.tell("a", 3, from_origin=5_300_000, startup_ms=100, idle_s=10)
    totals = site.totals()
    assert totals.origin_reported == 5_200_000  # what was said at its return is lost, not doubled
    assert totals.views == totals.startups == 1
