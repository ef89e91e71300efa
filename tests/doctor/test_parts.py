"""The parts of the doctor that need no site: its words, its rules, its messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn import cli
from p2pcdn.doctor import Report, Status, stun
from p2pcdn.doctor.markup import read_markup
from p2pcdn.doctor.obstacles import obstacles
from p2pcdn.doctor.visitor import Answer, is_local, origin_of
from p2pcdn.page.options import PageOptions
from p2pcdn.page.transform import plan

_OPTIONS = PageOptions(
    loader_url="/p2pcdn/loader.js?v=0", noscript_url="/n.css", shareable=lambda _: True
)
_HEADERS = st.sampled_from(
    [
        ("Content-Type", "text/html"),
        ("Content-Type", "text/html; charset=utf-16"),
        ("Content-Type", "image/png"),
        ("Content-Encoding", "br"),
        ("Content-Encoding", "gzip"),
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "public, no-transform"),
        ("Content-Disposition", "attachment; filename=a"),
        ("Content-Disposition", "inline"),
        ("Content-Security-Policy", "default-src 'self'"),
        ("Content-Security-Policy", "script-src 'none'"),
        ("Content-Security-Policy", "script-src 'nonce-abc'; worker-src 'self'"),
        ("X-Sendfile", "/a.html"),
        ("Server", "nginx"),
        ("Content-Range", "bytes 0-1/2"),
    ]
)


@given(st.lists(_HEADERS, max_size=5, unique_by=lambda pair: pair[0]))
def test_a_reason_is_given_exactly_where_the_middleware_leaves_a_page_alone(
    headers: list[tuple[str, str]],
) -> None:
    url = "https://example.org/watch"
    left = plan(
        method="GET", page_url=url, request_headers={}, status=200, headers=headers,
        options=_OPTIONS,
    )  # fmt: skip
    found = obstacles(Answer(url, 200, tuple(headers), b""))
    assert (left is None) == bool(found)
    assert all(code and text and remedy for code, text, remedy in found)


def test_what_browsers_do_not_run_is_not_read_either() -> None:
    found = read_markup(
        '<!DOCTYPE html><html data-p2p=OFF><base href="/b/"><script nonce=n src=" a.js"></script>'
        "<template><video src=t></video></template><!-- <video src=c></video> -->"
        '<video src=one src=two><source src="x&amp;y"></video><source src=stray>'
        "<noscript><video src=n></video></noscript><video data-src=d data-p2p=' Off '></video>"
    )
    assert found.complete and found.off and found.base == "/b/"
    assert found.scripts == [("a.js", "n")]
    assert [(v.src, v.data_src, v.off) for v in found.videos] == [
        (["one", "x&y"], [], False),
        ([], ["d"], True),
    ]


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost/", True),
        ("http://a.localhost:8000/", True),
        ("http://127.0.0.2/", True),
        ("http://[::1]:80/", True),
        ("http://localhost.example/", False),
        ("http://192.168.0.2/", False),
    ],
)
def test_only_this_machine_needs_no_https(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_an_origin_is_written_as_browsers_write_it() -> None:
    assert origin_of("https://Example.org:443/a?b") == "https://example.org"
    assert origin_of("http://[::1]:8000/") == "http://[::1]:8000"


# --- the report ------------------------------------------------------------------------------


def test_the_report_shows_what_to_do_and_what_it_is_called() -> None:
    report = Report("https://example.org/")
    report.ok("loader", "The loader is served.")
    assert report.exit_code == 0 and report.as_text().endswith("0 problems, 0 warnings, 1 fine.")
    report.warning("websocket", "A WebSocket is refused.", "Pass upgrades on.")
    assert report.exit_code == 1
    report.problem("page-type", "It is no page.", "Send text/html.")
    assert report.exit_code == 2
    text = report.as_text()
    assert "-> Pass upgrades on." in text and "[page-type]" in text and "\x1b" not in text
    assert "1 problem, 1 warning, 1 fine." in text
    assert "\x1b[31m" in report.as_text(colours=True)
    assert report.to_json()["findings"][2] == {
        "status": "problem",
        "code": "page-type",
        "text": "It is no page.",
        "remedy": "Send text/html.",
    }


def test_what_a_site_says_cannot_drive_the_terminal() -> None:
    report = Report("https://example.org/\x1b[2J")
    report.problem("manifest", "It says \x1b]0;owned\x07.", "\x1b[31mrun this\r")
    assert not any(c < " " and c != "\n" for c in report.as_text())


# --- the command -----------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["example.org", "ftp://example.org/", "http://", "http://a:b/"])
def test_what_is_no_pages_address_is_one_line_of_error(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    assert cli.main(["doctor", url]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("p2pcdn doctor: ") and len(err.splitlines()) == 1


def test_json_is_json_also_for_a_site_that_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json", "http://127.0.0.1:9/"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == 2
    assert [f["code"] for f in said["findings"]] == ["page-unreachable"]


def test_a_missing_browser_is_said_to_be_missing() -> None:
    from p2pcdn.doctor.browser import check_browser

    report = Report("http://127.0.0.1:9/")
    check_browser(report, report.url, wait_s=1, chromium="no-such-browser")
    (finding,) = report.findings
    assert finding.status is Status.WARNING
    assert "no-such-browser was not found" in finding.text and "--chromium" in finding.remedy


# --- STUN ------------------------------------------------------------------------------------


def test_the_test_vector_of_rfc_5769_is_read_and_signed() -> None:
    # RFC 5769, section 2.2: a response, and the address in it.
    transaction = bytes.fromhex("b7e7a701bc34d686fa87dfae")
    attributes = "802200 0b 7465737420766563746f7220 002000080001a147e112a643"
    body = bytes.fromhex(attributes.replace(" ", ""))
    data = bytes.fromhex("0101") + len(body).to_bytes(2, "big") + bytes.fromhex("2112a442")
    message = stun.decode(data + transaction + body)
    assert message is not None and message.succeeded and message.transaction == transaction
    assert stun.mapped_address(message) == "192.0.2.1:32853"
    # Section 2.4: a request with long-term credentials.
    request = stun.Message(
        stun.BINDING,
        bytes.fromhex("78ad3433c6ad72c029da412e"),
        (
            (stun.USERNAME, "\u30de\u30c8\u30ea\u30c3\u30af\u30b9".encode()),
            (stun.NONCE, b"f//499k954d6OL34oL9FSTvy64sA"),
            (stun.REALM, b"example.org"),
        ),
    )
    import hashlib

    key = hashlib.md5(
        "\u30de\u30c8\u30ea\u30c3\u30af\u30b9:example.org:TheMatrIX".encode()
    ).digest()
    assert request.encode(key=key).hex().endswith("f67024656dd64a3e02b8e0712e85c9a28ca89666")


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for prefix in (b"", bytes.fromhex("01010010") + bytes.fromhex("2112a442") + bytes(12)):
        message = stun.decode(prefix + data)
        if message is not None:
            stun.error_code(message)
            stun.mapped_address(message)
