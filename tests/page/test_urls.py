"""The address on a page and the path that the browser would ask for are the same thing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcdn.page.patterns import compile_patterns
from p2pcdn.page.urls import Resolver, attribute_text, normal_path


def resolver(
    page: str = "https://example.org/a/b?q", prefix: str = "", charset: str = "utf-8"
) -> Resolver:
    return Resolver(page, charset=charset, shareable=lambda url: True, prefix=prefix)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (b"c.mp4", "/a/c.mp4"),
        (b"/c.mp4?x=1&amp;y=2#t=5", "/c.mp4?x=1&y=2"),
        (b" \n/c\t.mp4 ", "/c.mp4"),
        (b"../../../c", "/c"),
        (b"./x/%2E%2e/c", "/a/c"),
        (b"..", "/"),
        (b"x/..", "/a/"),
        (b"\\c\\d", "/c/d"),
        (b"?v=2", "/a/b?v=2"),
        (b"https://EXAMPLE.org/c", "/c"),
        (b"http://example.org:80/c", "/c"),
        (b"//example.org/c", "/c"),
        (b"\\\\example.org\\c", "/c"),
        (b"//example.org", "/"),
        ("/ü \"<>`{}^'.mp4".encode(), "/%C3%BC%20%22%3C%3E%60%7B%7D%5E'.mp4"),
        ("/c?ü '\"".encode(), "/c?%C3%BC%20%27%22"),
        (b"/a&#x2F;b&copy;&copy=1&copya&#47", "/a/b%C2%A9&copy=1&copya/"),
        (b"/100%.mp4", "/100%.mp4"),
        (b"/a%2fb", "/a%2fb"),
    ],
)
def test_an_address_becomes_the_path_that_a_browser_asks_for(value: bytes, path: str) -> None:
    assert resolver().media_of(value) == path


@pytest.mark.parametrize(
    "value",
    [b"https://other.org/c", b"//other.org/c", b"https://example.org:8443/c", b"ftp://example.org/c",
     b"data:video/mp4,", b"blob:https://example.org/x", b"javascript:1", b"https:c", b"https:/c",
     b"https://user@example.org/c", b"https://user:pw@example.org/c", b"https://example.org.evil/c",
     b"https://example.org%2eevil/c", b"https:///example.org/c", b"/\xff\xfe", b"/" + b"x" * 5000,
     b"https://example.org:99999999999/c", b"https://[::1/c", b"mailto:x", b"about:blank"],
)  # fmt: skip
def test_an_address_of_somebody_else_or_of_no_use_is_left_alone(value: bytes) -> None:
    assert resolver().media_of(value) is None


def test_a_site_below_a_prefix_does_not_claim_its_neighbours() -> None:
    below = resolver("https://example.org/site/watch", prefix="/site")
    assert below.media_of(b"m.mp4") == "/site/m.mp4"
    assert below.media_of(b"/other/m.mp4") is None
    assert below.media_of(b"../sitemap/m.mp4") is None


def test_a_base_moves_relative_addresses() -> None:
    moved = resolver()
    moved.set_base(b"/m/x?y")
    assert moved.media_of(b"c") == "/m/c"
    foreign = resolver()
    foreign.set_base(b"//cdn.org/")
    assert foreign.media_of(b"c") is None and foreign.media_of(b"/c") is None
    assert foreign.media_of(b"https://example.org/c") == "/c"
    broken = resolver()
    broken.set_base(b"data:,x")
    assert broken.media_of(b"c") is None


@pytest.mark.parametrize("page", ["", "x", "ftp://a/b", "http://", "http://a b/", "http://u@a/"])
def test_a_page_whose_own_address_is_odd_shares_nothing(page: str) -> None:
    assert resolver(page).media_of(b"/c") is None


def test_a_query_in_an_old_encoding_is_left_alone() -> None:
    assert resolver(charset="cp1252").media_of(b"/c?\xe9") is None
    assert resolver(charset="cp1252").media_of(b"/\xe9") == "/%C3%A9"
    assert resolver(charset="ascii").media_of(b"/\xe9") is None


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_attribute_makes_it_fail(value: bytes) -> None:
    for charset in ("utf-8", "shift_jis", "hex", "ascii"):
        found = resolver(charset=charset).media_of(value)
        assert found is None or (found.startswith("/") and found.isascii() and " " not in found)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_text_without_references_stays(text: str) -> None:
    assert attribute_text(text.replace("&", "")) == text.replace("&", "")
    attribute_text(text)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", ".", "..", "%2e", "%2E%2e", ""]), max_size=8))
def test_a_normal_path_never_climbs(parts: list[str]) -> None:
    path = normal_path("/" + "/".join(parts))
    assert path.startswith("/")
    assert not {".", "..", "%2e", "%2E%2e"} & set(path.split("/"))


# --- include and exclude -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("include", "exclude", "url", "allowed"),
    [
        ([], [], "/a", True),
        (["/media/*"], [], "/media/a/b.mp4?x", True),
        (["/media/*"], [], "/media", False),
        (["/media/*"], [], "/other/media/a", False),
        (["media/*"], [], "/media/a", True),
        (["*.mp4"], [], "/x/a.mp4?sig=1", True),
        (["*.mp4"], [], "/x/a.mp4x", False),
        (["/a*b*c"], [], "/aXbYc", True),
        (["/a*b*c"], [], "/acb", False),
        (["/ab*ba"], [], "/aba", False),
        (["/a?x=*"], [], "/a?x=1", True),
        (["/a?x=*"], [], "/a", False),
        ([], ["/private/*"], "/private/a", False),
        ([], ["/private/*"], "/%70rivate/a", False),
        ([], ["/private/*"], "/x/%2e%2e/private/a", False),
        ([], ["/private/*"], "/x/..%2fprivate/a", False),
        ([], ["/private/*"], "/x\\..\\..\\private/a", False),
        (["/media/*"], [], "/media/%2e%2e/secret", False),
        (["/media/*"], ["*/raw/*"], "/media/raw/a", False),
        (["/media/[a]*"], [], "/media/a", False),
        (["/media/(a+)+$"], [], "/media/(a+)+$", True),
    ],
)
def test_a_pattern_means_what_its_owner_wrote(
    include: list[str], exclude: list[str], url: str, allowed: bool
) -> None:
    assert compile_patterns(include, exclude)(url) is allowed


def test_no_pattern_can_be_made_slow() -> None:
    class Counted(str):
        finds = 0

        def find(self, *args: object) -> int:  # type: ignore[override]
            Counted.finds += 1
            return super().find(*args)  # type: ignore[arg-type]

    stars = 50
    from p2pcdn.page.patterns import _pattern

    _, match = _pattern("/" + "*a" * stars + "*b")
    assert not match(Counted("/" + "a" * 10_000 + "c"))
    assert match(Counted("/" + "a" * 10_000 + "b"))
    assert Counted.finds <= stars
