"""A media URL is read once, and whatever could be read otherwise is refused."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.media.manifest import Refusal
from p2pcdn.media.urls import MAX_URL_CHARS, MediaUrl, parse_target

MOUNTS = ("/p2pcdn", "/peerjs")

HOSTILE = {
    "/media/../secret.mp4": "outside",
    "/..": "outside",
    "/media/./a.mp4": "outside",
    "/media/%2e%2e/secret.mp4": "outside",
    "/media/%2E./secret.mp4": "outside",
    "/media/%252e%252e/secret.mp4": "outside",
    "/media/%25252e%25252e/secret.mp4": "outside",
    "/media/%252e%252e%252fsecret.mp4": "outside",
    "/media/%255c..%255csecret.mp4": "outside",
    "/media/a%2500.mp4": "outside",
    "/media/..%2fsecret.mp4": "bad-url",
    "/media/..%5csecret.mp4": "bad-url",
    "/media/a%00.mp4": "bad-url",
    "/media/a\0.mp4": "bad-url",
    "/media\\..\\secret.mp4": "bad-url",
    "\\\\host\\share\\a.mp4": "bad-url",
    "/\\host/a.mp4": "bad-url",
    "//host/a.mp4": "outside",
    "///host/a.mp4": "outside",
    "/%2fhost/a.mp4": "bad-url",
    "http://other/a.mp4": "outside",
    "HTTP://other/a.mp4": "outside",
    "HtTpS://localhost/media/a.mp4": "outside",
    "file:///etc/passwd": "outside",
    "data:video/mp4;base64,AAAA": "outside",
    "javascript:alert(1)": "outside",
    "media/a.mp4": "bad-url",
    "": "bad-url",
    "?": "bad-url",
    "/media/a%0d%0aSet-Cookie:x.mp4": "bad-url",
    "/media/a\r\nHost: x": "bad-url",
    "/media/a b.mp4": "bad-url",
    "/media/a\x7f.mp4": "bad-url",
    "/media/a\ud800.mp4": "bad-url",
    "/media/%ff%fe.mp4": "bad-url",
    "/media/%c0%ae%c0%ae/a.mp4": "bad-url",  # overlong UTF-8 for ".."
    "/media/a%zz.mp4": "bad-url",
    "/media/a%2": "bad-url",
    "/media/a.mp4?x=\r\nHost: x": "bad-url",
    "/p2pcdn/manifest": "outside",
    "/p2pcdn": "outside",
    "/P2PCDN/loader.js": "outside",
    "/%702pcdn/loader.js": "outside",
    "/peerjs/mailbox": "outside",
    "/" + "a" * MAX_URL_CHARS: "bad-url",
}


@pytest.mark.parametrize(("target", "code"), HOSTILE.items(), ids=ascii)
def test_no_attackers_url_reaches_the_site_or_its_files(target: str, code: str) -> None:
    found = parse_target(target, mounts=MOUNTS)
    assert isinstance(found, Refusal) and found.code == code
    assert found.status in (400, 403)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/media/a.mp4", "/media/a.mp4", ""),
        ("/media/a%20b.mp4?sig=1&e=%2F", "/media/a b.mp4", "sig=1&e=%2F"),
        ("/media/%C3%A9t%C3%A9.mp4", "/media/été.mp4", ""),
        ("/media/été.mp4", "/media/été.mp4", ""),
        ("/media/a.mp4#t=10,20", "/media/a.mp4", ""),
        ("/media/100%25.mp4", "/media/100%.mp4", ""),
        ("/media/a%2520b.mp4", "/media/a%20b.mp4", ""),
        ("/media/a..b...mp4", "/media/a..b...mp4", ""),
        ("/video?name=../x&u=http://y", "/video", "name=../x&u=http://y"),
        ("/p2pcdn-films/a.mp4", "/p2pcdn-films/a.mp4", ""),
    ],
)
def test_an_honest_url_is_understood(target: str, path: str, query: str) -> None:
    assert parse_target(target, mounts=MOUNTS) == MediaUrl(path, query)


def test_different_spellings_of_one_url_are_one_content() -> None:
    spellings = ["/media/%61%2emp4", "/media/a.mp4", "/media/a.mp4#t=1", "/media/%61.mp4"]
    found = {parse_target(spelling) for spelling in spellings}
    assert found == {MediaUrl("/media/a.mp4")}


@given(st.text(max_size=60))
def test_what_is_accepted_stays_the_same_when_read_again(target: str) -> None:
    found = parse_target("/" + quote(target), mounts=MOUNTS)
    if isinstance(found, MediaUrl):
        assert parse_target(found.target, mounts=MOUNTS) == found
        assert found.target.isascii()
        assert ".." not in found.path.split("/")


@given(st.text(max_size=60))
def test_nothing_that_a_client_sends_makes_it_raise(target: str) -> None:
    for start in ("", "/", "//", "/media/"):
        found = parse_target(start + target, mounts=MOUNTS)
        if isinstance(found, MediaUrl):
            assert found.path.startswith("/") and not found.path.startswith("//")
            assert "\0" not in found.path and "\\" not in found.path
