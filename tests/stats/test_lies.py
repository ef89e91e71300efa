"""Clients lie and flood: the numbers stay believable, the memory bounded."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcdn.config import Config
from p2pcdn.stats import Recorder, batch, inbox, write
from p2pcdn.stats.ledger import TOLERANCE, Entry, match
from p2pcdn.stats.report import Malformed, display_path, parse
from tests.stats.support import KEY, SIZE, MakeSite, Site, report, size_of

BOTH_STORES = True

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = [
    "key", "url", "from_peers", "from_origin", "uploaded", "stalls", "startup_ms", "causes",
    "held", "segments", "peers", "watched_s",
]  # fmt: skip


@given(VALUES)
def test_no_report_whatsoever_raises_more_than_malformed(value: Any) -> None:
    with contextlib.suppress(Malformed):
        list(parse(value))


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUES),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("seq", "links", "direct", "idle_s"), VALUES)),
)
def test_whatever_stands_in_a_report_the_store_takes_it_or_leaves_it(
    content: dict[str, Any], top: dict[str, Any]
) -> None:
    kept = Recorder(Config(), folder=None, flush_every_s=3600)
    whole = {"view": "view-1234", "seq": 1, "contents": [{"key": KEY, **content}], **top}
    kept.report(whole, content_size=size_of)
    totals = kept.summary(0).totals
    assert 0 <= totals.origin_reported <= SIZE * 3 and totals.from_peers == 0
    kept.close()


def test_a_content_that_the_site_does_not_have_is_dropped(site: Site) -> None:
    site.tell("a", key="e" * 32, from_origin=10)
    summary = site.recorder.summary(0)
    assert summary.contents == () and summary.dropped == {"unknown content": 1}


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"from_origin": SIZE * 4}, "more bytes than the content has"),
        ({"from_cache": SIZE * 40}, "more bytes from the cache than the content has"),
        ({"uploaded": 10**13}, "uploads faster than allowed"),
        ({"watched_s": 10**6}, "more time than has passed"),
        ({"stall_ms": 10**9}, "more time than has passed"),
        ({"stalls": 10**6}, "more stalls than a player can have"),
        ({"causes": {"no-peer": 10**9}}, "more causes than segments"),
        ({"rejected": 10**12}, "more wrong segments than the content has"),
    ],
)
def test_impossible_numbers_are_dropped_and_counted(site: Site, lie: Any, reason: str) -> None:
    site.tell("liar", 1, **lie)
    site.tell("honest", 1, from_origin=1000)
    summary = site.recorder.summary(0)
    assert summary.dropped == {reason: 1}
    assert (summary.totals.views, summary.totals.from_origin) == (1, 1000)
    assert not summary.totals.stalls and not summary.causes and not summary.totals.rejected


def test_why_reports_are_not_believed_is_logged_once_for_each_reason(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(5):
        site.tell(f"liar{n}", from_origin=10**12)
        site.tell(f"idler{n}", watched_s=10**6)
        site.tell(f"stranger{n}", key="e" * 32)  # a file that was edited meanwhile: no news
        site.recorder.flush()
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(said) == 2 and all("p2pcdn stats" in text for text in said)
    assert any("more bytes than the content has" in text for text in said)
    assert site.recorder.summary(0).dropped["more bytes than the content has"] == 5


def test_a_mistake_of_an_honest_page_does_not_silence_it_for_good(site: Site) -> None:
    site.tell("a", 1, from_origin=SIZE * 100)
    site.recorder.flush()
    site.tell("a", 2, from_origin=SIZE * 100 + 5000)
    assert site.totals().origin_reported == 5000


def test_numbers_that_go_down_and_up_again_do_not_count_twice(site: Site) -> None:
    for seq, n in enumerate([5000, 0, 5000, 0, 5000]):
        site.tell("a", seq + 1, from_origin=n)
        site.recorder.flush()
    assert site.totals().origin_reported == 5000


def test_uploads_above_the_sites_own_cap_are_not_believed(make_site: MakeSite) -> None:
    site = make_site(upload_limit=100_000)
    site.tell("a", uploaded=20_000_000, from_origin=1000)
    site.recorder.flush()
    assert site.recorder.summary(0).dropped == {"uploads faster than allowed": 1}
    site.later(60)
    site.tell("b", uploaded=5_000_000, from_origin=1000)
    assert site.totals().uploaded == 5_000_000


def test_bytes_from_peers_that_no_peer_sent_are_never_counted_as_saved(site: Site) -> None:
    site.tell("liar", from_peers=SIZE)
    site.tell("other", uploaded=1_000_000, from_origin=1000)
    assert site.totals().from_peers == int(1_000_000 * TOLERANCE)
    site.later(3600)
    site.send(1)
    totals = site.totals()
    assert totals.from_peers == int(1_000_000 * TOLERANCE)
    assert totals.unconfirmed == SIZE - totals.from_peers


def test_nobody_can_vouch_for_himself(site: Site) -> None:
    site.tell("liar", from_peers=SIZE, uploaded=SIZE)
    assert site.totals().from_peers == 0


def test_a_senders_report_may_come_after_the_receivers(site: Site) -> None:
    site.tell("receiver", from_peers=5000)
    site.later(30)
    assert site.totals().from_peers == 0
    site.tell("sender", uploaded=5000, from_origin=5000)
    site.recorder.flush()
    assert site.totals().from_peers == 5000
    # ... and it counts for the minute in which it was received.
    assert site.recorder.summary(0, site.clock.now - 25).totals.from_peers == 5000


def test_what_one_swarm_sent_does_not_confirm_another(site: Site) -> None:
    other = "f" * 32
    sizes = {KEY: SIZE, other: SIZE}
    for view, key, path, numbers in (
        ("sender", KEY, "/a.mp4", {"uploaded": 5000}),
        ("liar", other, "/b.mp4", {"from_peers": 5000}),
    ):
        whole = report(view, key=key, url=path, **numbers)
        site.recorder.report(whole, content_size=sizes.get)
    assert site.totals().from_peers == 0


ENTRIES = st.lists(
    st.builds(
        Entry,
        ts=st.integers(0, 9),
        view=st.sampled_from([b"a", b"b", b"c", b"d"]),
        received=st.integers(0, 1000),
        sent=st.integers(0, 1000),
    ),
    max_size=12,
)


@given(ENTRIES)
def test_confirmed_bytes_never_exceed_what_others_sent_and_none_get_lost(
    entries: list[Entry],
) -> None:
    result = match(entries)
    credited = sum(result.credited.values())
    received, sent = sum(e.received for e in entries), sum(e.sent for e in entries)
    assert credited <= min(received, sent)
    assert sum(e.received for e in result.left) == received - credited
    assert sum(e.sent for e in result.left) == sent - credited
    for view in {e.view for e in entries}:
        own_r = sum(e.received for e in entries if e.view == view)
        own_s = sum(e.sent for e in entries if e.view == view)
        # The others received at most `received - own_r` from this view and so on: no flow
        # from a view to itself.
        assert credited <= (received - own_r) + (sent - own_s)


@given(ENTRIES)
def test_when_all_tell_the_truth_every_byte_is_confirmed(entries: list[Entry]) -> None:
    # Each receives from exactly one other, who says so.
    honest = []
    for entry in entries:
        honest.append(Entry(entry.ts, entry.view + b"r", entry.received, 0))
        honest.append(Entry(entry.ts, entry.view + b"s", 0, entry.received))
    result = match(honest)
    assert sum(result.credited.values()) == sum(e.received for e in entries)
    assert result.left == ()


def test_a_flood_of_paths_has_a_ceiling_and_loses_no_byte(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "MAX_CONTENTS", 20)
    monkeypatch.setattr(batch, "MAX_PATHS", 50)
    for n in range(200):
        site.send(1, f"/media/{n}.mp4")
    summary = site.recorder.summary(0)
    assert summary.totals.origin_counted == 200
    assert len(summary.contents) <= 20
    assert summary.contents[0].path == "(others)"


def test_a_flood_of_views_has_a_ceiling_and_the_honest_stay_counted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "MAX_VIEWS", 10)
    site.tell("honest", 1, from_origin=100)
    for n in range(50):
        site.tell(f"fake{n}", 1, from_origin=1)
        site.recorder.flush()
    site.tell("honest", 2, from_origin=300)
    totals = site.totals()
    assert len(site.dump()["views"]) == 10
    assert totals.origin_reported == 300 + 9
    assert site.recorder.summary(0).dropped == {"flood": 41}


def test_reports_that_wait_for_the_disk_have_a_ceiling(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_PARTS", 10)
    for n in range(30):
        site.tell(f"view{n}", from_origin=1)
    assert site.totals().views == 10
    assert site.recorder.summary(0).dropped == {"flood": 20}


def test_reports_that_come_over_a_socket_cost_its_loop_nothing_and_have_a_ceiling(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_MOST_UNREAD", 10)
    asked = []

    def slow(key: str) -> int | None:
        asked.append(key)  # a look into a file that may be locked
        return size_of(key)

    for n in range(30):
        site.recorder.report_later(report(f"view{n}", from_origin=5), content_size=slow)
    assert asked == []
    assert site.totals().views == 10
    assert site.recorder.summary(0).dropped == {"flood": 20} and asked


def test_a_report_with_too_many_contents_or_names_is_dropped(site: Site) -> None:
    many = report("a")
    many["contents"] = many["contents"] * 33
    site.recorder.report(many, content_size=size_of)
    site.tell("b", causes={f"cause{n}": 1 for n in range(100)})
    assert site.recorder.summary(0).dropped == {"malformed": 2}


def test_a_path_cannot_carry_control_characters_into_a_terminal_or_page() -> None:
    shown = display_path("/media/%1b%5b2J%0a%00evil\u202e.mp4")
    assert shown.isprintable() and "\x1b" not in shown
    assert len(display_path("/" + "a" * 5000)) == 300
    assert json.dumps(display_path("http://[bad"))
