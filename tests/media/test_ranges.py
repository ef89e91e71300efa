"""A player gets the bytes it asked for, from a route that ignores `Range`."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.media.ranges import RangePlan, content_length, plan_range

BODY = bytes(range(256)) * 4


def headers(size: int = len(BODY), **extra: str) -> list[tuple[str, str]]:
    fields = {"content-type": "video/mp4", "content-length": str(size)}
    fields.update({name.replace("_", "-"): value for name, value in extra.items()})
    return list(fields.items())


def plan(
    range_header: str | None,
    fields: list[tuple[str, str]] | None = None,
    *,
    method: str = "GET",
    status: int = 200,
    if_range: str | None = None,
) -> RangePlan | None:
    return plan_range(
        method=method,
        range_header=range_header,
        if_range=if_range,
        status=status,
        headers=headers() if fields is None else fields,
    )


def model(header: str, size: int) -> tuple[int, bytes] | None:
    """RFC 9110, section 14, byte by byte: the status and which positions are wanted."""
    unit, equals, spec = header.partition("=")
    if unit.lower() != "bytes" or not equals:
        return None
    first, dash, last = spec.strip().partition("-")
    digits = set("0123456789")
    if not dash or not set(first) <= digits or not set(last) <= digits or not (first or last):
        return None
    body = [index % 251 for index in range(size)]
    if not first:
        wanted = [index for index in range(size) if size - index <= int(last)]
    elif last and int(last) < int(first):
        return None
    else:
        wanted = [
            index
            for index in range(size)
            if index >= int(first) and (not last or index <= int(last))
        ]
    return (206, bytes(body[index] for index in wanted)) if wanted else (416, b"")


positions = st.one_of(st.integers(0, 80), st.sampled_from([10**6, 2**63, 10**18]))
range_headers = st.one_of(
    st.builds("bytes={}-{}".format, positions, positions),
    st.builds("bytes={}-".format, positions),
    st.builds("bytes=-{}".format, positions),
    st.builds("BYTES= {}-{} ".format, positions, positions),
    st.sampled_from(["bytes=", "bytes=-", "bytes=a-b", "items=0-1", "bytes 0-1", "bytes=--1"]),
    st.text(max_size=12),
)


@given(st.integers(1, 64), range_headers, st.integers(1, 9))
def test_every_range_gives_the_bytes_that_the_rfc_says(size: int, header: str, step: int) -> None:
    found = plan(header, headers(size))
    wanted = model(header.strip(), size) if header else None
    if wanted is None:
        assert found is None
        return
    assert found is not None
    body = bytes(index % 251 for index in range(size))
    got = b"".join(found.slice(body[at : at + step]) for at in range(0, size, step))
    fields = dict(found.headers)
    assert (found.status, got) == wanted
    assert fields["Content-Length"] == str(len(got))
    assert found.done
    assert found.stop - found.start == len(got)
    if found.status == 206:
        assert fields["Content-Range"] == f"bytes {found.start}-{found.stop - 1}/{size}"
        assert body[found.start : found.stop] == got
    else:
        assert fields["Content-Range"] == f"bytes */{size}"


def test_the_adapter_can_stop_reading_as_soon_as_the_range_is_complete() -> None:
    found = plan("bytes=10-19")
    assert found is not None
    read = itertools.takewhile(lambda _: not found.done, range(0, len(BODY), 5))
    assert [at for at in read if found.slice(BODY[at : at + 5]) is not None][-1] == 15


def test_a_player_that_probes_with_an_open_range_gets_the_whole_as_206() -> None:
    found = plan("bytes=0-")
    assert found is not None and found.status == 206
    assert dict(found.headers)["Content-Range"] == f"bytes 0-{len(BODY) - 1}/{len(BODY)}"


def test_the_answers_other_fields_survive_and_none_is_doubled() -> None:
    found = plan(
        "bytes=0-1", headers(etag='"a"', cache_control="public", content_md5="x", x_own="1")
    )
    assert found is not None
    names = [name.lower() for name, _ in found.headers]
    assert len(names) == len(set(names))
    assert {"etag", "cache-control", "x-own", "content-type"} <= set(names)
    assert "content-md5" not in names


@pytest.mark.parametrize(
    ("case", "fields"),
    {
        "the app knows ranges": headers(accept_ranges="bytes"),
        "the app says it has none": headers(accept_ranges="none"),
        "the app answered one": headers(content_range="bytes 0-1/9"),
        "compressed": headers(content_encoding="gzip"),
        "chunked": headers(transfer_encoding="chunked"),
        "no length": [("content-type", "video/mp4")],
        "two lengths": [*headers(), ("Content-Length", "3")],
        "a length that is none": headers(content_length="1e3"),
        "a negative length": headers(content_length="-5"),
        "nothing to cut": headers(0),
    }.items(),
)
def test_an_answer_that_is_not_ours_to_cut_is_left_alone(
    case: str, fields: list[tuple[str, str]]
) -> None:
    assert plan("bytes=0-1", fields) is None


@pytest.mark.parametrize("method", ["HEAD", "POST", "get"])
def test_range_means_something_for_get_only(method: str) -> None:
    assert plan("bytes=0-1", method=method) is None


@pytest.mark.parametrize("status", [204, 206, 304, 404, 500])
def test_only_a_complete_answer_is_cut(status: int) -> None:
    assert plan("bytes=0-1", status=status) is None


def test_several_ranges_are_answered_whole() -> None:
    assert plan("bytes=0-1,4-5") is None


MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("if_range", "fields", "cut"),
    [
        ('"a"', headers(etag='"a"'), True),
        ('"a"', headers(etag='"b"'), False),
        ('"a"', headers(), False),
        ('W/"a"', headers(etag='W/"a"'), False),
        ('"a"', headers(etag='W/"a"'), False),
        (MODIFIED, headers(last_modified=MODIFIED), True),
        (MODIFIED, headers(last_modified="Sun, 06 Nov 1994 08:49:38 GMT"), False),
        (MODIFIED, headers(last_modified=MODIFIED, date=MODIFIED), False),
        (MODIFIED, headers(last_modified=MODIFIED, date="Mon, 07 Nov 1994 08:49:37 GMT"), True),
        (MODIFIED, headers(last_modified=MODIFIED, date="Mon, 07 Nov 1994 08:49:37 -0000"), True),
        (MODIFIED, headers(), False),
        ("garbage", headers(last_modified=MODIFIED), False),
        ("garbage", headers(last_modified="garbage"), False),
        ("", headers(etag='"a"'), False),
    ],
)
def test_a_resumed_download_is_never_glued_to_another_version(
    if_range: str, fields: list[tuple[str, str]], cut: bool
) -> None:
    assert (plan("bytes=5-9", fields, if_range=if_range) is not None) is cut


@pytest.mark.parametrize("length", ["", "-1", "+5", "1e3", "\u00b2", "9" * 5000, "1, 2"])
def test_a_length_that_no_file_has_is_none(length: str) -> None:
    assert content_length(length) is None
    assert plan("bytes=0-1", [("content-type", "video/mp4"), ("content-length", length)]) is None
