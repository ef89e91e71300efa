"""The nginx configurations of docs/deployment.md, tried with a real nginx."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pcdn.doctor import Status, examine
from tests.browser.fixtures import missing
from tests.docs.pages import blocks
from tests.servers.process import Missing, Server, program
from tests.servers.python import Uvicorn

pytestmark = pytest.mark.server

Run = Callable[[Callable[[], Any]], Any]

_AROUND = """daemon off; worker_processes 1; pid {folder}/pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
{text}
}}
"""


def config(text: str, folder: Path) -> Path:
    file = folder / "nginx.conf"
    file.write_text(_AROUND.format(folder=folder, text=text))
    return file


def samples() -> list[str]:
    found = [block.text for block in blocks("nginx")]
    assert len(found) == 2
    return found


@pytest.mark.parametrize("number", [0, 1])
def test_nginx_accepts_what_is_shown(number: int, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    try:
        nginx = program("nginx")
        if openssl is None:
            raise Missing("openssl is not installed: apt-get install openssl")
    except Missing as error:
        missing(error)
        raise
    assert openssl is not None
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=example.org", "-keyout", tmp_path / "privkey.pem",
         "-out", tmp_path / "fullchain.pem"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    text = samples()[number].replace("/etc/letsencrypt/live/example.org", str(tmp_path))
    done = subprocess.run(
        [nginx, "-t", "-p", tmp_path, "-c", config(text, tmp_path), "-e", "stderr"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


class Sample(Server):
    """nginx with a sample of the documentation, in front of a site on another port."""

    name = "nginx"

    def __init__(self, text: str, site: str, **server: Any) -> None:
        super().__init__(**server)
        self.text, self.site = text, site
        self._program = program("nginx")

    def command(self) -> list[str]:
        text = self.text.replace("http://127.0.0.1:8000", self.site)
        text = re.sub(r"listen [^;]+;", f"listen 127.0.0.1:{self.port};", text)
        text = re.sub(r"ssl_certificate\w* [^;]+;", "", text)
        file = config(text, self.folder)
        return [self._program, "-p", str(self.folder), "-c", str(file), "-e", "stderr"]


@pytest.mark.parametrize(("number", "prefix"), [(0, ""), (1, "/videos")])
def test_a_site_behind_the_shown_configuration_has_nothing_to_complain_of(
    number: int, prefix: str, run: Run
) -> None:
    root = ["--root-path", prefix] if prefix else []
    site = run(lambda: Uvicorn("tests.sites.asgi_app:starlette", arguments=["--factory", *root]))
    nginx = run(lambda: Sample(samples()[number], site.url))
    report = examine(f"{nginx.url}{prefix}/watch/one", timeout_s=8)
    complaints = {f.code for f in report.findings if f.status is not Status.OK}
    assert complaints == {"ice-none"}, report.as_text()
    assert "websocket" in {f.code for f in report.findings if f.status is Status.OK}
