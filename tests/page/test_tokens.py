"""A quick search finds what the expression finds."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from p2pcdn.page.tokens import VIDEO_END, has_video_end

PIECES = [
    b"</v",
    b"</V",
    b"</",
    b"<",
    b"v",
    b"V",
    b"ideo",
    b"IDEO",
    b"iDeO",
    b"</Video",
    b" ",
    b"x",
]


@given(st.lists(st.sampled_from([*PIECES, 40 * b"V"]), max_size=9).map(b"".join))
@example(b"</video></var>")
@example(40 * b"V" + b"</VIDEO>")
@example(b"</V" + 40 * b"V" + b"</vIDEO")
@example(b"V</V</VIDEO")
def test_the_end_of_a_video_is_found_in_any_case(page: bytes) -> None:
    assert has_video_end(page) is (VIDEO_END.search(page) is not None)
