"""A site's policy decides: a script that would be blocked must leave the videos alone."""

from __future__ import annotations

import pytest

from p2pcdn.page.csp import judge

SCRIPT = "/p2pcdn/loader.js?v=1"
PAGE = "http://www.example.org/watch"


@pytest.mark.parametrize(
    "policies",
    [
        [],
        [""],
        ["img-src 'none'; upgrade-insecure-requests"],
        ["default-src 'self'"],
        ["DEFAULT-SRC 'SELF'; default-src 'none'"],
        ["script-src * ; connect-src *"],
        ["default-src https:"],
        ["default-src http://www.example.org"],
        ["default-src *.example.org"],
        ["default-src https://www.example.org/p2pcdn/"],
        ["script-src-elem 'self'; script-src 'none'; worker-src 'self'"],
        ["script-src 'nonce-abc=' 'strict-dynamic'"],
        ["script-src 'nonce-abc'; worker-src 'self'"],
        ["script-src 'nonce-abc'; child-src 'self'"],
        ["script-src 'self', script-src https:"],
        ["script-src 'nonce-a' 'strict-dynamic'", "script-src 'self'"],
        ["script-src 'nonce-a' 'nonce-b' 'self'", "script-src 'nonce-b' 'self'"],
        ["sandbox allow-scripts allow-same-origin"],
        ["default-src 'none'; script-src 'self'; connect-src 'self'"],
        ["default-src http://www.example.org:80"],
    ],
)
def test_a_policy_that_allows_the_loader(policies: list[str]) -> None:
    assert judge(policies, script_url=SCRIPT, page_url=PAGE).allowed


@pytest.mark.parametrize(
    ("policies", "reason"),
    [
        (["script-src 'none'; worker-src 'self'"], "script-src"),
        (["script-src; worker-src 'self'"], "script-src"),
        (["default-src 'none'"], "connect-src"),
        (["script-src https://cdn.example"], "worker-src"),
        (["script-src https://cdn.example; worker-src 'self'"], "script-src"),
        (["script-src 'sha256-abc' 'strict-dynamic'"], "script-src"),
        (["script-src 'self' 'strict-dynamic'"], "script-src"),
        (["script-src 'nonce-abc'"], "worker-src"),
        (
            ["script-src 'nonce-a' 'strict-dynamic', script-src 'nonce-b' 'strict-dynamic'"],
            "script-src",
        ),
        (["script-src 'self'", "script-src 'none'; worker-src 'self'"], "script-src"),
        (["script-src 'self'; connect-src 'none'"], "connect-src"),
        (["script-src 'self'; connect-src https://api.example"], "connect-src"),
        (["script-src 'self'; worker-src blob:"], "worker-src"),
        (["sandbox"], "sandbox"),
        (["sandbox allow-scripts"], "sandbox"),
        (["default-src *.other.org"], "connect-src"),
        (["default-src example.org"], "connect-src"),
        (["default-src http://www.example.org:8443"], "connect-src"),
        (
            ["script-src 'self'; connect-src 'self'; worker-src www.example.org/other/"],
            "worker-src",
        ),
        (["default-src x:" + "9" * 9000], "connect-src"),
        (["script-src 'nonce-\"><b>' 'strict-dynamic'"], "script-src"),
    ],
)
def test_a_policy_that_stops_it_is_named(policies: list[str], reason: str) -> None:
    verdict = judge(policies, script_url=SCRIPT, page_url=PAGE)
    assert not verdict.allowed
    assert reason in verdict.reason


def test_a_nonce_is_used_only_where_it_is_needed() -> None:
    def nonce(*policies: str) -> str | None:
        return judge(policies, script_url=SCRIPT, page_url=PAGE).nonce

    assert nonce("script-src 'self' 'nonce-a'") is None
    assert nonce("script-src 'nonce-a' 'strict-dynamic'") == "a"
    assert nonce("script-src 'self'", "script-src 'nonce-a_-/+=' 'strict-dynamic'") == "a_-/+="
    policy = "script-src 'nonce-%s' 'nonce-b' 'strict-dynamic'"
    assert nonce(policy % "a", policy % "c") == "b"


@pytest.mark.parametrize(
    ("policy", "handlers", "scripts"),
    [
        ("img-src *", True, True),
        ("script-src 'self'", False, False),
        ("script-src 'self' 'unsafe-inline'", True, True),
        ("script-src 'self' 'unsafe-inline' 'nonce-a'", False, False),
        ("script-src 'self' 'unsafe-inline' 'sha256-x'", False, False),
        ("script-src 'self'; script-src-attr 'unsafe-inline'", True, False),
        ("script-src 'self' 'unsafe-inline'; script-src-attr 'none'", False, True),
        ("script-src 'self'; script-src-elem 'self' 'unsafe-inline'", False, True),
    ],
)
def test_inline_code_is_used_only_where_it_runs(policy: str, handlers: bool, scripts: bool) -> None:
    alone = judge([policy], script_url=SCRIPT, page_url=PAGE)
    assert (alone.inline, alone.scripts) == (handlers, scripts)
    both = judge([policy, "default-src 'self'"], script_url=SCRIPT, page_url=PAGE)
    assert (both.inline, both.scripts) == (False, False)


def test_an_address_that_cannot_be_read_allows_nothing_but_self() -> None:
    for url in ("http://[x", "", "http://a:b/"):
        assert judge(["default-src 'self'"], script_url=SCRIPT, page_url=url).allowed
        assert not judge(["default-src a.org"], script_url=SCRIPT, page_url=url).allowed
