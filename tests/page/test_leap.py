"""A leap over many tags ends where reading them one by one would have come by."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2pcdn.page.leap import leap
from p2pcdn.page.tokens import SKIP
from tests.page.test_oracle import NASTY

ICON = b'<svg viewBox="0 0 9 9"><path d="M0"/><use href="#a"></svg>'
TRAPS = [
    b'="', b"='", b'= "', b"=\n'", b'<a b="', b"<a b='", b"<a ", b'<a b="c">', b"<a b=x'c>",
    b'<a ="b>">', b'<a b==">', b'<input value="=">', b"<a href='/x?y=z'>", b"don't", b"<section>",
    ICON, b'<svg><path d="', b'<path d="<script>">', b'<svg><path d="<svg>"/></svg>', b"<colgroup>",
]  # fmt: skip


@settings(deadline=None, max_examples=2000)
@given(st.lists(st.sampled_from(NASTY + 3 * TRAPS), max_size=24).map(b"".join))
@example(b'<a b="><script>"><p>')
@example(b"<a b='=\"'><b>")
@example(b'<a b="<svg><path d="M0"/></svg>">')
@example(b'<svg><path d="<script>"/></svg><p>')
@example(b'<a b=\n "<b>')
@example(b"<a b=" + 99 * b" " + b'"<b>')
def test_a_leap_ends_between_two_tokens_that_change_nothing(document: bytes) -> None:
    ahead = leap(document, 0)
    read = SKIP.match(document[:ahead] + b" ")
    assert read is not None and read.end() == ahead + 1


@pytest.mark.parametrize(
    "easy",
    [
        b"<div class='a'><p>Don't <b>stop</b></p><hr></div>",
        b'<p title="x > y" lang=en>' + ICON + b"</p><!-- <script> -->",
        b"<img alt=\"\" src='/a?b=c'><br><td><li><span></span></td>",
    ],
)
def test_ordinary_pages_are_passed_in_leaps(easy: bytes) -> None:
    assert leap(easy * 100, 0) == len(easy) * 100
    assert leap(bytearray(easy), 0) == len(easy)
    assert leap(easy + b"<video><b>", 0) == len(easy)
