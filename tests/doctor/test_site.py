"""What `p2pcdn doctor` says about real sites behind real servers, and what it advises."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from p2pcdn.doctor import Finding, Report, Status, examine
from tests.browser.fixtures import missing
from tests.servers.nginx import Nginx
from tests.servers.process import Missing
from tests.servers.proxy import Proxy
from tests.servers.python import Gunicorn, Uvicorn

pytestmark = pytest.mark.server

Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(scope="module")
def site() -> Iterator[Uvicorn]:
    """The site of tests/doctor/site.py."""
    try:
        server = Uvicorn("tests.doctor.site:make", arguments=["--factory"])
    except Missing as error:
        missing(error)
        raise
    with server:
        yield server


def look(url: str, **options: Any) -> Report:
    return examine(url, timeout_s=8, **options)


def one(report: Report, code: str) -> Finding:
    found = [finding for finding in report.findings if finding.code == code]
    assert found, f"no {code}:\n{report.as_text()}"
    return found[0]


def codes(report: Report, status: Status) -> set[str]:
    return {finding.code for finding in report.findings if finding.status is status}


# --- all well --------------------------------------------------------------------------------


def test_a_site_in_order_gets_no_complaint_but_that_it_has_no_stun_server(site: Uvicorn) -> None:
    report = look(site.url + "/page/good")
    assert codes(report, Status.PROBLEM) == set(), report.as_text()
    assert codes(report, Status.WARNING) == {"ice-none"}, report.as_text()
    assert {
        "page-taken", "secure-context", "video-taken", "loader", "worker", "manifest",
        "media-range", "media-bytes", "coordinator", "websocket", "mailbox", "workers",
    } <= codes(report, Status.OK)  # fmt: skip
    assert report.exit_code == 1


def test_four_gunicorn_workers_are_seen_to_share_one_coordinator(run: Run) -> None:
    server = run(lambda: Gunicorn("tests.sites.flask_app:wrapped()", workers=4))
    report = look(server.url + "/watch/one")
    assert codes(report, Status.PROBLEM) == set(), report.as_text()
    assert {"websocket", "mailbox", "workers"} <= codes(report, Status.OK), report.as_text()


def test_a_prefix_and_nginx_gzip_are_no_reason_to_complain(run: Run) -> None:
    server = run(
        lambda: Uvicorn(
            "tests.sites.asgi_app:starlette", arguments=["--factory", "--root-path", "/videos"]
        )
    )
    nginx = run(lambda: Nginx(server.url, prefix="/videos", extra="gzip on; gzip_min_length 1;"))
    report = look(nginx.url + "/watch/one")
    assert codes(report, Status.PROBLEM) == set(), report.as_text()
    assert {"page-taken", "worker", "websocket"} <= codes(report, Status.OK)
    assert "/videos/" in one(report, "worker").text


def test_djangos_middleware_on_asgi_is_told_how_to_have_websockets(run: Run) -> None:
    server = run(lambda: Uvicorn("tests.sites.django_site.asgi:application"))
    report = look(server.url + "/watch/one")
    finding = one(report, "websocket-none")
    assert "P2PCDN(get_asgi_application())" in finding.remedy
    assert one(report, "mailbox").status is Status.OK


# --- the page --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "code", "says", "remedy"),
    [
        ("br", "page-compressed", "compressed with br", "outside of it"),
        ("no-transform", "page-no-transform", "no-transform", "Take no-transform away"),
        ("utf-16", "page-charset", "utf-16", "UTF-8"),
        ("json", "page-type", "application/json", "text/html"),
        ("download", "page-attachment", "attachment", "without that header"),
        ("handed-over", "page-handed-over", "x-accel-redirect", "send the page's bytes itself"),
        ("policy", "page-policy", "script-src", "'self'"),
        ("policy-connect", "page-policy", "connect-src", "'self'"),
        ("policy-meta", "page-policy-meta", "worker-src", "'self'"),
        ("fragment", "page-fragment", "fragment", "<!DOCTYPE html>"),
        ("doubtful", "page-no-video", "no <video>", "--browser"),
        ("unclosed", "page-doubtful", "ambiguous", "validator"),
        ("misnested", "video-left", "/media/one.mp4", "ambiguous"),
        ("left", "video-left", "/private/two.mp4", "`exclude`"),
        ("other-host", "video-other-host", "https://cdn.example/a.mp4", "this site's own address"),
        ("blob", "video-script", "blob:nothing", "a file on this site"),
        ("none", "page-no-video", "no <video>", "--browser"),
        ("cached", "page-cached", "came from a cache", "Empty that cache"),
        ("protected", "manifest-protected", "401", "Cache-Control: public"),
        ("gone", "manifest-unknown", "does not share it", "through p2pcdn"),
        ("broken", "manifest-broken", "answers 500", "own log"),
        ("notes", "manifest-not-media", "text/plain", "video/mp4"),
        ("nowhere", "page-status", "404", "anybody can see"),
    ],
)
def test_a_page_that_is_not_shared_is_told_why_and_what_to_do(
    site: Uvicorn, page: str, code: str, says: str, remedy: str
) -> None:
    report = look(f"{site.url}/page/{page}")
    finding = one(report, code)
    assert finding.status is not Status.OK
    assert says in finding.text and remedy in finding.remedy, finding
    assert report.exit_code == (2 if codes(report, Status.PROBLEM) else 1)
    last = report.as_text().splitlines()[-1]
    assert ("This page shares" in last) == ("manifest" in codes(report, Status.OK)
                                            and not codes(report, Status.PROBLEM))  # fmt: skip


def test_what_the_owner_switched_off_is_no_fault(site: Uvicorn) -> None:
    report = look(site.url + "/page/off")
    assert one(report, "video-off").status is Status.OK
    assert codes(report, Status.PROBLEM) == set()


def test_a_redirect_is_followed_and_named(site: Uvicorn) -> None:
    report = look(site.url + "/page/moved")
    assert "/page/good" in one(report, "page-redirect").text
    assert codes(report, Status.PROBLEM) == set()


def test_the_rest_of_a_site_is_looked_at_even_where_one_page_is_not_taken(site: Uvicorn) -> None:
    report = look(site.url + "/page/no-transform")
    assert {"loader", "worker", "coordinator", "websocket", "manifest"} <= codes(report, Status.OK)


def test_http_on_another_host_is_named_as_what_stops_browsers(run: Run) -> None:
    server = run(lambda: Uvicorn("tests.doctor.site:make", arguments=["--factory"], port=None))
    report = look(f"http://[::ffff:127.0.0.1]:{server.port}/page/good")
    finding = one(report, "secure-context")
    assert finding.status is Status.PROBLEM and "https" in finding.remedy


def test_a_site_without_p2pcdn_is_told_to_add_it(run: Run) -> None:
    server = run(lambda: Uvicorn("tests.sites.asgi_app:plain", arguments=["--factory"]))
    report = look(server.url + "/watch/one")
    assert "Add the middleware" in one(report, "middleware-missing").remedy
    assert report.exit_code == 2


def test_a_page_of_another_application_beside_p2pcdn_is_told_apart(site: Uvicorn, run: Run) -> None:
    nginx = run(
        lambda: Nginx(
            site.url,
            extra='} location = /static.html { default_type text/html; return 200 "<!DOCTYPE html>'
            '<html><head></head><body><video src=/media/one.mp4></video></body></html>";',
        )
    )
    report = look(nginx.url + "/static.html")
    assert "did not go through it" in one(report, "page-passed-by").text


# --- what stands in front --------------------------------------------------------------------


def test_nginx_without_upgrades_is_told_the_lines_that_are_missing(site: Uvicorn, run: Run) -> None:
    nginx = run(lambda: Nginx(site.url, websockets=False))
    report = look(nginx.url + "/page/good")
    finding = one(report, "websocket")
    assert finding.status is Status.WARNING
    assert "proxy_set_header Upgrade $http_upgrade" in finding.remedy
    assert one(report, "mailbox").status is Status.OK


def test_a_coordinator_answered_502_is_named_with_its_address(site: Uvicorn, run: Run) -> None:
    proxy = run(lambda: Proxy(site.url))
    proxy.status("/peerjs", 502)
    finding = one(look(proxy.url + "/page/good"), "coordinator")
    assert finding.status is Status.PROBLEM
    assert "502" in finding.text and f"{proxy.url}/peerjs/" in finding.text
    assert "/peerjs/" in finding.remedy and "502" in finding.remedy


def test_a_uvicorn_without_a_websocket_library_is_told_to_install_one(run: Run) -> None:
    site = run(lambda: Uvicorn("tests.doctor.site:make", arguments=["--factory", "--ws", "none"]))
    finding = one(look(site.url + "/page/good"), "websocket")
    assert finding.status is Status.WARNING
    assert "pip install websockets" in finding.remedy and "nginx" not in finding.remedy


def test_a_mailbox_that_is_blocked_counts_less_where_websockets_work(
    site: Uvicorn, run: Run
) -> None:
    proxy = run(lambda: Proxy(site.url))
    proxy.status("/peerjs/mailbox", 405)
    report = look(proxy.url + "/page/good")
    finding = one(report, "mailbox")
    assert finding.status is Status.WARNING and "405" in finding.text
    assert "POST" in finding.remedy


def test_neither_websocket_nor_mailbox_is_a_problem(site: Uvicorn, run: Run) -> None:
    nginx = run(lambda: Nginx(site.url, websockets=False))
    proxy = run(lambda: Proxy(nginx.url))
    proxy.status("/peerjs/mailbox", 413)
    assert one(look(proxy.url + "/page/good"), "mailbox").status is Status.PROBLEM


def test_a_policy_added_by_nginx_is_found_although_p2pcdn_never_saw_it(
    site: Uvicorn, run: Run
) -> None:
    policy = "add_header Content-Security-Policy \"script-src 'none'; worker-src 'self'\";"
    nginx = run(lambda: Nginx(site.url, extra=policy))
    finding = one(look(nginx.url + "/page/good"), "page-policy-front")
    assert "script-src" in finding.text and "where it is added" in finding.remedy


def test_a_nonce_added_in_front_is_found_too(site: Uvicorn, run: Run) -> None:
    policy = "add_header Content-Security-Policy \"script-src 'nonce-abc123'; worker-src 'self'\";"
    nginx = run(lambda: Nginx(site.url, extra=policy))
    assert "nonce" in one(look(nginx.url + "/page/good"), "page-policy-front").text


def test_a_cache_of_manifests_is_a_problem(site: Uvicorn, run: Run) -> None:
    cache = 'proxy_hide_header Cache-Control; add_header Cache-Control "public, max-age=600";'
    nginx = run(lambda: Nginx(site.url, extra=cache))
    finding = one(look(nginx.url + "/page/good"), "manifest-cached")
    assert "max-age=600" in finding.text and "p2pcdn's mount" in finding.remedy


def test_a_swallowed_worker_header_is_missed(site: Uvicorn, run: Run) -> None:
    nginx = run(lambda: Nginx(site.url, extra="proxy_hide_header Service-Worker-Allowed;"))
    finding = one(look(nginx.url + "/page/good"), "worker-scope")
    assert "Service-Worker-Allowed" in finding.text and "proxy_hide_header" in finding.remedy


def test_a_redirected_worker_is_a_problem(site: Uvicorn, run: Run) -> None:
    nginx = run(
        lambda: Nginx(site.url, extra="} location = /p2pcdn/worker.js { return 301 /other.js;")
    )
    assert "redirects" in one(look(nginx.url + "/page/good"), "worker").text


def test_scripts_caught_by_a_static_folder_are_a_problem(site: Uvicorn, run: Run) -> None:
    nginx = run(lambda: Nginx(site.url, extra="} location ~ [.]js$ { return 404;"))
    finding = one(look(nginx.url + "/page/good"), "loader")
    assert finding.status is Status.PROBLEM and "404" in finding.text
    assert "*.js" in finding.remedy


def test_a_dropped_range_is_told_from_a_site_in_order(site: Uvicorn, run: Run) -> None:
    nginx = run(lambda: Nginx(site.url, extra='proxy_set_header Range "";'))
    finding = one(look(nginx.url + "/page/good"), "media-range")
    assert finding.status is Status.WARNING and "proxy_set_header Range" in finding.remedy


def test_bytes_that_a_cache_changed_are_found(site: Uvicorn, run: Run) -> None:
    nginx = run(lambda: Nginx(site.url, extra='proxy_set_header Range "";'))
    proxy = run(lambda: Proxy(nginx.url))
    proxy.change("^/media/one", lambda body: b"\0" * len(body))
    finding = one(look(proxy.url + "/page/good"), "media-bytes")
    assert finding.status is Status.PROBLEM and "empty the cache" in finding.remedy


def test_media_that_are_compressed_on_the_way_are_found(site: Uvicorn, run: Run) -> None:
    nginx = run(
        lambda: Nginx(
            site.url, extra="} location /media/ { return 200 x; add_header Content-Encoding gzip;"
        )
    )
    finding = one(look(nginx.url + "/page/good"), "media-encoded")
    assert "gzip" in finding.text and "compression off" in finding.remedy


def test_one_id_for_two_visitors_betrays_a_cache(site: Uvicorn, run: Run) -> None:
    nginx = run(
        lambda: Nginx(site.url, extra="} location /peerjs/peerjs/id { return 200 the-same;")
    )
    assert "caches" in one(look(nginx.url + "/page/good"), "coordinator-cached").text


def test_a_host_that_the_web_server_replaced_is_found(site: Uvicorn, run: Run) -> None:
    class Renaming(Nginx):
        def command(self) -> list[str]:
            made = super().command()
            config = self.folder / "nginx.conf"
            config.write_text(config.read_text().replace("Host $http_host", "Host app.internal"))
            return made

    nginx = run(lambda: Renaming(site.url))
    finding = one(look(nginx.url + "/page/good"), "coordinator-origin")
    assert "proxy_set_header Host" in finding.remedy and "allowed_origins" in finding.remedy


def test_server_workers_without_a_common_folder_are_found_out(run: Run) -> None:
    env = {"P2PCDN_DATA_DIR": "/proc/nowhere", "P2PCDN_SECRET": "the same one everywhere"}
    server = run(lambda: Gunicorn("tests.sites.flask_app:wrapped()", workers=4, env=env))
    finding = one(look(server.url + "/watch/one"), "workers")
    assert finding.status is Status.PROBLEM
    assert "`data_dir`" in finding.remedy


# --- no site at all ----------------------------------------------------------------------------


def test_a_site_that_is_down_is_said_to_be_down() -> None:
    report = look("http://127.0.0.1:9/")
    assert "nothing listens there" in one(report, "page-unreachable").text
    assert report.exit_code == 2


def test_a_site_that_hangs_is_given_up(site: Uvicorn, run: Run) -> None:
    proxy = run(lambda: Proxy(site.url))
    proxy.hang("/page/good")
    report = examine(proxy.url + "/page/good", timeout_s=0.5)
    assert "in time" in one(report, "page-unreachable").text


def test_the_owners_numbers_are_told_with_the_token_and_asked_for_without(run: Run) -> None:
    env = {"P2PCDN_STATS_TOKEN": "a long random text"}
    server = run(lambda: Uvicorn("tests.doctor.site:make", arguments=["--factory"], env=env))
    told = one(look(server.url + "/page/good", token="a long random text"), "stats")
    assert told.status is Status.OK and re.search("no viewer|views", told.text)
    refused = one(look(server.url + "/page/good", token="a wrong one"), "stats")
    assert refused.status is Status.WARNING and "stats_token" in refused.remedy
