"""The command line: `p2pcdn demo`, `p2pcdn hash`, and what it says when something is wrong."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from p2pcdn import __version__, cli
from p2pcdn.demo import library
from tests.examples.crawl import crawl

ROOT = Path(__file__).parents[1]
FILM = ROOT / "p2pcdn" / "demo" / "media" / "northern-light.mp4"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of this machine or folder."""
    for name in [name for name in os.environ if name.startswith("P2PCDN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


# --- the command itself ------------------------------------------------------------------


def test_help_lists_the_commands_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "demo" in said and "hash" in said


@pytest.mark.parametrize("command", cli._COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(
    capsys: pytest.CaptureFixture[str], command: cli._Command
) -> None:
    if not cli._exists(command):
        pytest.skip("not part of this version")
    with pytest.raises(SystemExit) as ended:
        cli.main([command.name, "--help"])
    assert ended.value.code == 0
    assert f"usage: p2pcdn {command.name}" in capsys.readouterr().out


def test_a_command_that_is_not_there_is_not_offered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = cli._Command("gone", "p2pcdn.gone.command", "be missing")
    monkeypatch.setattr(cli, "_COMMANDS", (*cli._COMMANDS, gone))
    with pytest.raises(SystemExit) as ended:
        cli.main(["gone"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "invalid choice: 'gone'" in said and "hash" in said


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"p2pcdn {__version__}\n"


def test_one_command_does_not_wait_for_the_libraries_of_another() -> None:
    code = (
        "import sys; from p2pcdn.cli import main; main(['hash', sys.argv[1]]); "
        "print([m for m in ('aiortc', 'uvicorn', 'rich', 'redis', 'starlette', 'flask', 'django')"
        " if m in sys.modules], file=sys.stderr)"
    )
    done = _python("-c", code, str(FILM))
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


def _python(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )


# --- hash --------------------------------------------------------------------------------


def test_hash_says_what_a_loader_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hash", "--json", "--prefix", "/media/", str(FILM)]) == 0
    (manifest,) = json.loads(capsys.readouterr().out)
    data = FILM.read_bytes()
    step = manifest["segment_bytes"]
    expected = b"".join(
        hashlib.sha256(data[start : start + step]).digest() for start in range(0, len(data), step)
    )
    assert base64.b64decode(manifest["hashes"]) == expected
    assert (manifest["size"], manifest["type"]) == (len(data), "video/mp4")
    assert manifest["url"] == "/media/northern-light.mp4"
    assert re.fullmatch("[0-9a-f]{32}", manifest["key"])


def test_hash_keeps_to_the_sites_own_segment_length(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PCDN_SEGMENT_BYTES", "1MiB")
    cli.main(["hash", str(FILM)])
    assert "5 of 1,048,576 bytes" in capsys.readouterr().out


def test_the_same_bytes_at_another_address_are_another_content(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "copy of a film.mp4"
    shutil.copy(FILM, copy)
    cli.main(["hash", str(FILM), str(copy)])
    said = capsys.readouterr().out
    assert len(set(re.findall(r"version +(\S+)", said))) == 1
    assert len(set(re.findall(r"key +(\S+)", said))) == 2
    assert "/copy%20of%20a%20film.mp4" in said


def test_one_bad_file_does_not_cost_the_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    bad = [str(tmp_path / "missing.mp4"), str(tmp_path), str(tmp_path / "pipe.mp4")]
    assert cli.main(["hash", *bad, str(tmp_path / "empty.mp4"), str(FILM)]) == 1
    out, err = capsys.readouterr()
    assert out.count("  key ") == 2 and "0 of 65,536 bytes" in out
    assert "missing.mp4: No such file or directory" in err
    assert f"{tmp_path}: not a file" in err and "pipe.mp4: not a file" in err


def test_hash_says_what_would_not_be_shared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("x")
    cli.main(["hash", "notes.txt"])
    assert "not shared: no audio or video" in capsys.readouterr().out


def test_a_prefix_that_leads_elsewhere_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hash", "--prefix", "/a/../b/", str(FILM)]) == 1
    assert "climbs out" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line_and_no_traceback() -> None:
    done = _python("-m", "p2pcdn.cli", "hash", str(FILM), P2PCDN_HUD="maybe")
    assert done.returncode == 2
    assert done.stderr.startswith("p2pcdn hash: p2pcdn option `hud` is 'maybe'")
    assert len(done.stderr.splitlines()) == 1


# --- demo --------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["-1", "65536", "http", "\uff18\uff10"])
def test_a_port_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str], port: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", f"--port={port}"])
    assert ended.value.code == 2 and "allowed is 0 to 65535" in capsys.readouterr().err


def test_a_port_in_use_is_named_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["demo", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"port {port} (" in said and "choose another with --port" in said


def test_without_uvicorn_the_demo_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["demo", "--port", "0"]) == 2
    assert 'pip install "p2pcdn[cli]"' in capsys.readouterr().err


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_a_folder_without_videos_is_an_error_that_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
        (folder / "notes.txt").touch()
    elif what == "file":
        folder.touch()
    assert cli.main(["demo", "--port", "0", "--media", str(folder)]) == 2
    said = capsys.readouterr().err
    assert ("no video in" if what == "empty" else "is not a folder") in said


def test_two_films_whose_names_are_alike_are_both_shown(tmp_path: Path) -> None:
    for name in ("My Film.mp4", "my-film.webm", "<b>.mp4", "notes.txt", "日本.mp4"):
        (tmp_path / name).write_bytes(b"x")
    films = library.find_films(tmp_path)
    assert len({film.slug for film in films}) == len(films) == 4
    assert all(re.fullmatch("[a-z0-9-]+", film.slug) for film in films)


def test_a_greeting_to_other_machines_says_what_will_not_work() -> None:
    from p2pcdn.demo import command

    assert "https or on localhost" in command._greeting("0.0.0.0", 80, local=False)
    assert "http://localhost:80/" in command._greeting("0.0.0.0", 80, local=False)
    assert "http://[2001:db8::1]:80/" in command._greeting("2001:db8::1", 80, local=False)
    assert "https" not in command._greeting("127.0.0.1", 80, local=True)


@contextlib.contextmanager
def demo(tmp_path: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pcdn.cli", "demo", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "P2PCDN_DATA_DIR": str(tmp_path / "data")},
    )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], 60)
        line = process.stdout.readline() if ready else ""
        found = re.search(r"http://localhost:(\d+)/", line)
        assert found, line + (process.stdout.read() if process.poll() is not None else "")
        yield f"http://127.0.0.1:{found[1]}", process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.server
def test_the_demo_shows_its_film_and_shares_it(tmp_path: Path) -> None:
    with demo(tmp_path) as (url, process), httpx.Client(base_url=url, timeout=30) as visitor:
        manifest = visitor.get("/p2pcdn/manifest", params={"url": "/media/northern-light.mp4"})
        answers = crawl(visitor)
        assert not {path: a.status_code for path, a in answers.items() if a.is_error}
        assert answers["/media/northern-light.mp4"].content == FILM.read_bytes()
        assert visitor.get("/nothing").status_code == 404
        assert visitor.get("/media/northern-light.py").status_code == 404
        # Ready before the first tab: its visitor is already a source for the second one.
        assert manifest.status_code == 200
        assert manifest.json()["size"] == FILM.stat().st_size
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)
        assert process.stdout is not None
        said = process.stdout.read()
        assert "two tabs" in said and "Traceback" not in said


@pytest.mark.server
def test_the_demo_shows_somebodys_own_films(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    shutil.copy(FILM, films / "Our <b>holiday & more.mp4")
    shutil.copy(FILM, films / "other.mp4")
    with (
        demo(tmp_path, "--media", str(films)) as (url, _),
        httpx.Client(base_url=url, timeout=30) as visitor,
    ):
        answers: dict[str, Any] = crawl(visitor)
        assert not {path: a.status_code for path, a in answers.items() if a.is_error}
        assert "Our &lt;b&gt;holiday &amp; more" in answers["/"].text
        assert answers["/media/our-b-holiday-more.mp4"].content == FILM.read_bytes()
