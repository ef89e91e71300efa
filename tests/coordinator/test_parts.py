"""The small parts: tokens, origins, bitmaps, buckets, networks, ranking."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.config import Config
from p2pcdn.coordinator import (
    Admission,
    Candidate,
    DefaultRanker,
    Limits,
    Verdict,
    holdings,
    origin_allowed,
)
from p2pcdn.coordinator.limits import Bucket
from p2pcdn.coordinator.peers import network_of
from p2pcdn.coordinator.ranking import closeness

KEY = "0" * 32


def test_a_token_admits_its_peer_to_its_content_until_it_expires() -> None:
    now = 1000.0
    admission = Admission(b"s", "site", lifetime_s=60, clock=lambda: now)
    token, expires = admission.issue(KEY, "alice")
    assert expires == 1060
    assert admission.check(token, KEY, "alice") is Verdict.GOOD
    assert admission.check(token, KEY, "bob") is Verdict.BAD
    assert admission.check(token, "1" * 32, "alice") is Verdict.BAD
    assert Admission(b"s", "other").check(token, KEY, "alice") is Verdict.BAD
    assert Admission(b"other", "site").check(token, KEY, "alice") is Verdict.BAD
    now = 1060
    assert admission.check(token, KEY, "alice") is Verdict.EXPIRED


@given(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()), st.binary()))
def test_anything_but_a_token_is_refused(token: object) -> None:
    assert Admission(b"s", "site").check(token, KEY, "alice") is Verdict.BAD


def test_no_single_changed_character_is_accepted() -> None:
    admission = Admission(b"s", "site")
    token, _ = admission.issue(KEY, "alice")
    for at in range(len(token)):
        for other in "A_z":
            if token[at] != other:
                forged = token[:at] + other + token[at + 1 :]
                assert admission.check(forged, KEY, "alice") is Verdict.BAD


def test_parts_of_a_token_cannot_be_shifted_into_one_another() -> None:
    admission = Admission(b"s", "site")
    token, _ = admission.issue("ab", "c")
    assert admission.check(token, "a", "bc") is Verdict.BAD


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "good"),
    [
        (None, "a.example", (), True),
        ("https://a.example", "a.example", (), True),
        ("http://a.example", "a.example:80", (), True),
        ("https://a.example", "a.example:443", (), True),
        ("https://A.example", "a.EXAMPLE", (), True),
        ("http://a.example:8000", "a.example:8000", (), True),
        ("http://[::1]:8000", "[::1]:8000", (), True),
        ("http://a.example:8000", "a.example", (), False),
        ("https://evil.example", "a.example", (), False),
        ("https://a.example.evil.example", "a.example", (), False),
        ("https://evil.example", "a.example", ("https://evil.example",), True),
        ("http://evil.example", "a.example", ("https://evil.example",), False),
        ("https://evil.example", "a.example", ("*",), True),
        ("null", "a.example", (), False),
        ("null", "a.example", ("*",), True),
        ("", "", (), False),
        ("https://a.example/x", "a.example", (), False),
        ("https://u@a.example", "a.example", (), False),
        ("https://a.example:99999999", "a.example", (), False),
        ("https://[", "[", (), False),
        ("file://", None, (), False),
        ("chrome-extension://abc", "abc", (), False),
    ],
)
def test_only_the_sites_own_pages_and_named_ones_are_let_in(
    origin: str | None, host: str | None, allowed: tuple[str, ...], good: bool
) -> None:
    assert origin_allowed(origin, hosts=(host,), allowed=allowed) is good


@given(st.integers(1, 30_000), st.data())
def test_a_bitmap_gives_back_what_was_put_in(segments: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, segments), max_size=12)))
    runs = [(a, b - a) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    bits = holdings.cells(runs, segments)
    assert bits.bit_length() <= holdings.MOST_CELLS
    back = holdings.runs(bits, segments, most=100)
    assert back is not None
    held = {n for first, count in runs for n in range(first, first + count)}
    named = {n for first, count in back for n in range(first, first + count)}
    assert named <= held
    touched = holdings.runs(holdings.cells(runs, segments, touching=True), segments, most=100)
    assert touched is not None
    assert held <= {n for first, count in touched for n in range(first, first + count)}
    if holdings.scale(segments) == 1:
        assert named == held


def test_a_whole_content_is_whole_however_big() -> None:
    for segments in (1, 4096, 4097, 10_000, 1 << 22):
        bits = holdings.cells([(0, segments)], segments)
        assert holdings.runs(bits, segments, most=1) == [[0, segments]]


def test_too_many_runs_are_not_listed() -> None:
    assert holdings.runs(0b10101, 5, most=2) is None


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(3, now=0)
    taken = [bucket.take(1, rate=2, burst=3, now=0) for _ in range(4)]
    assert taken == [True, True, True, False]
    assert bucket.take(1, rate=2, burst=3, now=0.5)
    assert not bucket.take(1, rate=2, burst=3, now=0.5)
    assert not bucket.take(4, rate=2, burst=3, now=1000)
    assert bucket.take(3, rate=2, burst=3, now=1000)
    assert not bucket.take(1, rate=2, burst=3, now=0)  # a clock that goes back gives nothing


def test_networks_know_near_from_far() -> None:
    home, same, street, city, far = (
        network_of(a)
        for a in ("93.184.216.34", "::ffff:93.184.216.34", "93.184.216.9", "93.184.1.1", "8.8.8.8")
    )
    assert closeness(home, same) == 1
    assert 1 > closeness(home, street) > closeness(home, city) > closeness(home, far) == 0
    six = network_of("2606:4700:10:20::1")
    assert closeness(six, network_of("2606:4700:10:20:ffff::2")) == 1
    assert closeness(six, network_of("2606:4700:10:21::1")) == 0.6
    for nowhere in ("127.0.0.1", "10.0.0.1", "::1", "local", "", "fe80::1%eth0", "x" * 1000):
        assert network_of(nowhere) is None
        assert closeness(network_of(nowhere), network_of(nowhere)) == 0


def test_ranking_prefers_the_near_the_idle_and_those_that_hold_what_is_wanted() -> None:
    base = Candidate("base", 0.5, 0.0, 60.0, 0.0, 0.0)
    ranker, random = DefaultRanker(), Random(1)
    for better, worse in [
        (base._replace(overlap=1.0), base),
        (base._replace(closeness=1.0), base),
        (base, base._replace(busy=1.0)),
        (base, base._replace(named=8.0)),
    ]:
        better, worse = better._replace(id="better"), worse._replace(id="worse")
        firsts = [ranker.rank([worse, better], limit=1, random=random)[0].id for _ in range(200)]
        assert firsts.count("better") >= 180


def test_limits_follow_the_settings_and_a_poll_is_never_too_slow_to_be_alive() -> None:
    for silence in (1, 2, 5, 60):
        limits = Limits.of(Config(silence_timeout=silence, concurrent_limit=10, peerjs_key="k"))
        assert limits.wait_slow_s * 2 < limits.silence_timeout_s <= limits.mailbox_timeout_s
        assert (limits.concurrent, limits.key) == (10, "k")
