"""`p2pcdn seed` as a person runs it."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pcdn import cli
from p2pcdn.peer import command
from tests.servers.process import environment, free_port
from tests.servers.proxy import Proxy
from tests.sites import media

pytestmark = pytest.mark.server


@contextlib.contextmanager
def seed(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "p2pcdn.cli", "seed", *arguments],
        env=environment(folder),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(folder: Path, *arguments: str) -> tuple[int, str]:
    with seed(folder, *arguments) as process:
        said = process.communicate(timeout=60)[1]
        return process.returncode, said


def test_once_fills_a_cache_folder_and_a_second_time_fetches_nothing(
    origin: Proxy, tmp_path: Path
) -> None:
    arguments = ("--once", "--cache", str(tmp_path / "cache"), f"{origin.url}/several")
    code, said = ended(tmp_path, *arguments)
    assert code == 0 and "2 of 2 contents, 100 % held" in said
    assert origin.sent(r"/media/one\.mp4") == (media.folder() / "one.mp4").stat().st_size
    origin.reset()
    code, said = ended(tmp_path, *arguments)
    assert code == 0 and "2 of 2 contents, 100 % held" in said
    assert origin.sent(r"/media/") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_goodbye_and_ends_well(origin: Proxy, tmp_path: Path, number: int) -> None:
    with seed(tmp_path, f"{origin.url}/watch/one") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("1 of 1 contents, 100 % held"):
                break
        os.kill(process.pid, number)
        rest = process.communicate(timeout=30)[1]
        assert process.returncode == 0 and "Traceback" not in rest
    final = [e for e in origin.requests("/report") if e.status == 204]
    assert final, "its last counts were lost"


def test_a_file_that_cannot_be_had_is_a_failure_with_a_reason(
    origin: Proxy, tmp_path: Path
) -> None:
    origin.status(r"/media/two\.mp4", 404)
    code, said = ended(tmp_path, "--once", f"{origin.url}/watch/one", f"{origin.url}/media/one.mp4")
    assert code == 0, said
    code, said = ended(tmp_path, "--once", "--quiet", f"{origin.url}/watch/two")
    assert code == 1
    assert said.startswith("p2pcdn seed: /media/two.mp4: ") and "404" in said


def test_an_end_can_be_set(origin: Proxy, tmp_path: Path) -> None:
    origin.hang(r"/media/one\.mp4")
    code, said = ended(tmp_path, "--duration", "1", f"{origin.url}/watch/one")
    assert code == 1 and "there was not enough time to fetch it" in said


def test_a_site_without_p2pcdn_or_without_an_answer_is_said(origin: Proxy, tmp_path: Path) -> None:
    code, said = ended(tmp_path, f"http://127.0.0.1:{free_port()}/")
    assert code == 2 and "does not answer" in said and "Traceback" not in said
    code, said = ended(tmp_path, f"{origin.url}/watch/one", f"{origin.url}/")
    assert code == 2 and "shows no video" in said
    origin.status(r"loader\.js", 404)
    code, said = ended(tmp_path, f"{origin.url}/watch/one")
    assert code == 2 and "--mount" in said
    code, said = ended(tmp_path, "https://127.0.0.1:1/a.mp4", "--cache-limit", "many")
    assert code == 2 and "500M" in said


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiortc", None)
    assert cli.main(["seed", "http://127.0.0.1:1/"]) == 2
    assert 'pip install "p2pcdn[peer]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, size", [("500M", 500_000_000), ("20Gi", 20 * 2**30), ("1.5k", 1500), ("7", 7)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert command._size(text) == size


@pytest.mark.parametrize("text", ["0", "-1", "M", "1T", "ten", "1e9", "0.0001"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command._size(text)
