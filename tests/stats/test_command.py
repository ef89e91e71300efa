"""`p2pcdn stats` as a person, a pipe and another program run it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.stats.fit import fit_columns, fit_rows
from p2pcdn.stats.render import HEADER, as_text, human_bytes, sparkline
from p2pcdn.stats.sqlite_schema import FILE_NAME
from p2pcdn.stats.when import parse_when
from tests.stats.support import MakeSite, Site
from tests.web.stats_site import serve

ROOT = Path(__file__).parents[2]


def stats(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("P2PCDN_")}
    return subprocess.run(
        [sys.executable, "-m", "p2pcdn.stats.command", *arguments],
        cwd=ROOT,
        env={**clean, "PYTHONIOENCODING": "utf-8", **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def store(make_site: MakeSite, tmp_path: Path) -> Path:
    site = make_site(now=time.time() - 1800)
    for minute in range(6):
        site.send(1_000_000)
        site.tell("a", minute + 1, from_origin=1_000_000 * (minute + 1), startup_ms=140,
                  uploaded=3_000_000 * (minute + 1), causes={"no-peer": minute + 1})  # fmt: skip
        site.tell("b", minute + 1, from_peers=3_000_000 * (minute + 1), stalls=1)
        site.send(500_000, "/media/=evil()\x1b[31m.mp4", whole=True, status=200)
        site.later(300)
    site.recorder.close()
    return tmp_path


def test_a_pipe_gets_a_plain_table_with_everything_in_it(store: Path) -> None:
    done = stats("--data-dir", str(store), "--price-per-gb", "1000", "--currency", "€")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("/media/a.mp4"))
    assert re.split(r"\s{2,}", row) == [
        "/media/a.mp4", "2", "0", "24 MB", "18 MB", "6 MB", "75.0 %", "125 ms", "148 ms", "1",
        "€18.00",
    ]  # fmt: skip
    assert "offload 66.7 %" in done.stdout
    assert "peers   " in done.stdout and "█" in done.stdout
    assert "No peer had it 100%" in done.stdout


def test_a_terminal_gets_colours_and_no_line_is_wider_than_it(store: Path) -> None:
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pcdn.stats.command", "--data-dir", str(store)],
        cwd=ROOT, env=env, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    out = b""
    with contextlib.suppress(OSError):  # Linux: EIO where others say end of file
        while piece := os.read(master, 65536):
            out += piece
    assert process.wait(30) == 0
    os.close(master)
    text = out.decode()
    assert "\x1b[" in text and "/media/a.mp4" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "").split("\n")
    assert "evil" in text and "\x1b[31m.mp4" not in text
    assert max(map(len, lines)) <= 120


TABLES = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.tuples(st.text("abc/é.", min_size=1, max_size=60),
                  *[st.text("0123456789", min_size=1, max_size=11)] * (len(HEADER) - 1)),
        min_size=n, max_size=n,
    )
)  # fmt: skip


@given(TABLES, st.integers(40, 160))
def test_a_narrow_terminal_loses_whole_columns_never_part_of_a_number(
    rows: list[tuple[str, ...]], width: int
) -> None:
    (header, *lines), left_out = fit_columns([HEADER, *rows], width)
    assert [name for name in HEADER if name not in left_out] == header
    assert {"content", "delivered", "offload"} <= set(header)
    kept = [HEADER.index(name) for name in header[1:]]
    for row, line in zip(rows, lines, strict=True):
        assert line[1:] == [row[i] for i in kept]
        assert row[0] == line[0] or line[0][-5:] == row[0][-5:]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    assert sum(widths) + 2 * (len(widths) - 1) <= max(width, 46)
    # What fits is shown.
    assert bool(left_out) <= (22 + sum(max(len(r[i]) for r in [HEADER, *rows]) + 2
                                       for i in range(1, len(HEADER))) > width)  # fmt: skip


def test_a_screen_that_is_watched_does_not_scroll(site: Site) -> None:
    for n in range(30):
        site.send(100 + n, f"/media/{n}.mp4")
    summary = fit_rows(site.recorder.summary(0), 24)
    assert len(summary.contents) == 11 and summary.more_contents == 19
    text = as_text(summary, price=0.08, currency="$", width=80)
    assert len(text.splitlines()) <= 24
    assert fit_rows(summary, 100) is summary


def test_an_output_without_unicode_still_gets_a_table(store: Path) -> None:
    done = stats("--data-dir", str(store), env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stdout.isascii() and "offload" in done.stdout


def test_json_has_the_numbers_in_full(store: Path) -> None:
    found = json.loads(stats("--data-dir", str(store), "--json").stdout)
    assert found["totals"]["from_peers"] == 18_000_000
    assert found["totals"]["offload"] == pytest.approx(18 / 27)
    assert found["saved"] == pytest.approx(0.018 * found["price_per_gb"])
    assert len(found["series"]) > 3


def test_csv_has_a_row_for_each_content_and_runs_nothing_in_a_spreadsheet(store: Path) -> None:
    done = stats("--data-dir", str(store), "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["content"] for row in rows][0::2] == ["/media/a.mp4", "total"]
    assert rows[0]["from_peers"] == "18000000" and rows[-1]["delivered"] == "27000000"
    assert not any(row["content"][0] in "=+-@" for row in rows)
    assert "\x1b" not in done.stdout


def test_top_and_since_choose_what_is_shown(store: Path) -> None:
    done = stats("--data-dir", str(store), "--top", "1")
    assert "... and 1 more" in done.stdout and "evil" not in done.stdout
    assert stats("--data-dir", str(store), "--since", "12m", "--json").returncode == 0
    less = json.loads(stats("--data-dir", str(store), "--since", "12m", "--json").stdout)
    assert less["totals"]["origin_requests"] < 12


def test_nothing_counted_in_that_time_is_exit_code_one(store: Path) -> None:
    done = stats("--data-dir", str(store), "--since", "1m")
    assert done.returncode == 1 and "--since 7d" in done.stderr


def test_no_store_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    done = stats("--data-dir", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert str(tmp_path / "nowhere") in done.stderr and "--data-dir" in done.stderr
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("arguments", "say"),
    [
        (("--since", "yesterdayish"), "24h"),
        (("--since", "2026-13-45"), "2026-03-01"),
        (("--since", "1h", "--until", "2h"), "not after"),
        (("--top", "-1"), "0 to 1000"),
        (("--watch", "0"), "0.2 to 3600"),
        (("--price-per-gb", "nan"), "not a number"),
        (("--since", "2999-01-01"), "in the future"),
        (("--url", "ftp://example.org"), "https://example.org"),
        (("--url", "https://[half"), "https://example.org"),
        (("--url", "https://example.org:99999"), "--url"),
        (("--url", "http://127.0.0.1:9", "--token", "half\na-secret"), "copied in full"),
        (("--url", "http://127.0.0.1:9", "--token", "five €"), "copied in full"),
        (("--json", "--csv"), "not allowed with"),
    ],
)
def test_wrong_usage_says_what_is_allowed(arguments: tuple[str, ...], say: str) -> None:
    done = stats(*arguments)
    assert done.returncode == 2 and say in done.stderr and "Traceback" not in done.stderr
    assert "a-secret" not in done.stderr


def test_a_corrupt_store_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 500)
    done = stats("--data-dir", str(tmp_path))
    assert done.returncode == 2 and "corrupt" in done.stderr
    assert (tmp_path / FILE_NAME).read_bytes().startswith(b"no database")


def test_a_store_that_is_written_to_can_be_read(store: Path) -> None:
    writer = sqlite3.connect(store / FILE_NAME, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert stats("--data-dir", str(store)).returncode == 0
    finally:
        writer.execute("ROLLBACK")
        writer.close()


def test_watch_writes_again_and_again_until_it_is_told_to_stop(store: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pcdn.stats.command", "--data-dir", str(store), "--watch", "0.2",
         "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    seen = [json.loads(process.stdout.readline())["totals"]["from_peers"] for _ in range(3)]
    process.send_signal(2)
    assert process.wait(30) == 0 and process.stderr.read() == ""
    process.stdout.close()
    process.stderr.close()
    assert seen == [18_000_000] * 3


def test_watch_goes_on_when_the_site_is_back(store: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pcdn.stats.command", "--data-dir", str(store), "--watch", "0.2",
         "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())["totals"]["from_peers"] == 18_000_000
    away = store.with_name("away")
    store.rename(away)
    assert "no statistics yet" in process.stderr.readline()  # ... and no end
    away.rename(store)
    assert json.loads(process.stdout.readline())["totals"]["from_peers"] == 18_000_000
    process.send_signal(2)
    assert process.wait(30) == 0
    process.stdout.close()
    process.stderr.close()


def test_a_reader_that_goes_away_is_no_error(store: Path) -> None:
    script = f"{sys.executable} -m p2pcdn.stats.command --data-dir {store} --watch 0.2 | head -n 1"
    done = subprocess.run(script, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


# --- another machine ---------------------------------------------------------------------------


def test_a_running_site_tells_the_same_as_its_store(store: Path) -> None:
    with serve(store, stats_token="right") as (port, _):
        done = stats("--url", f"http://127.0.0.1:{port}", "--token", "right", "--json")
        mount = stats("--url", f"http://127.0.0.1:{port}/p2pcdn/", "--json",
                      env={"P2PCDN_STATS_TOKEN": "right"})  # fmt: skip
    here = json.loads(stats("--data-dir", str(store), "--json").stdout)
    for there in (json.loads(done.stdout), json.loads(mount.stdout)):
        assert there["totals"] == here["totals"]
        assert there["contents"] == here["contents"]


def test_a_wrong_token_and_statistics_that_are_off_are_told_apart(store: Path) -> None:
    with serve(store, stats_token="right") as (port, _):
        wrong = stats("--url", f"http://127.0.0.1:{port}", "--token", "wrong")
    with serve(store) as (port, _):
        off = stats("--url", f"http://127.0.0.1:{port}", "--token", "right")
    assert wrong.returncode == off.returncode == 2
    assert "refuses the token" in wrong.stderr and "right" not in wrong.stderr
    assert "Statistics over HTTP are off" in off.stderr


class Elsewhere(BaseHTTPRequestHandler):
    seen: ClassVar[list[str | None]] = []
    where = ""

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        if self.where:
            self.send_response(302)
            self.send_header("Location", self.where)
        else:
            self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Elsewhere.seen, Elsewhere.where = [], ""
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_site_is_not_taken_for_ours(elsewhere: int) -> None:
    done = stats("--url", f"http://127.0.0.1:{elsewhere}")
    assert done.returncode == 2 and "did not answer with statistics" in done.stderr


def test_the_token_is_not_handed_on_to_where_a_site_redirects(elsewhere: int) -> None:
    Elsewhere.where = f"http://localhost:{elsewhere}/other"
    done = stats("--url", f"http://127.0.0.1:{elsewhere}", "--token", "t")
    assert done.returncode == 2 and "redirects to" in done.stderr
    assert Elsewhere.seen == ["Bearer t"]


def test_nobody_there_is_said_in_one_line() -> None:
    done = stats("--url", "http://127.0.0.1:9", "--token", "t")
    assert done.returncode == 2 and "does not answer" in done.stderr
    assert "Is the site running" in done.stderr and len(done.stderr.splitlines()) == 1
    assert "begin --url with http://" in stats("--url", "127.0.0.1:9").stderr


# --- small parts -------------------------------------------------------------------------------


def test_times_are_understood_as_people_write_them() -> None:
    now = 1_780_000_000.0
    assert parse_when("24h", now=now) == now - 86400
    assert parse_when("7d", now=now) == now - 7 * 86400
    assert parse_when("1.5h", now=now) == now - 5400
    assert parse_when("all", now=now) == 0
    assert parse_when("2026-03-01T12:00:00+00:00", now=now) == 1_772_366_400
    assert parse_when("1772366400", now=now) == 1_772_366_400
    for wrong in ("", "h", "-3h", "3 years", "nan", "9" * 400 + "d" * 2, "2026"):
        with pytest.raises(ValueError, match="is not a time span"):
            parse_when(wrong, now=now)


def test_sizes_read_as_on_a_bill() -> None:
    assert [human_bytes(n) for n in (0, 999, 1000, 12_345_678, 10**9, 5 * 10**15)] == [
        "0 B", "999 B", "1 kB", "12.3 MB", "1 GB", "5 PB",
    ]  # fmt: skip


def test_a_sparkline_shows_little_as_more_than_nothing() -> None:
    assert sparkline([0, 1, 500, 1000]) == "▁▂▅█"
    assert sparkline([0, 0]) == "▁▁" and sparkline([]) == ""
