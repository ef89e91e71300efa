"""Settings: where they stand, which place wins, and what is said about a wrong one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcdn.config import Config, options
from p2pcdn.errors import ConfigError, P2PCDNError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """`Config.load` that sees nothing of this machine unless it is told to."""

    def load(keywords: Any = None, *, environ: Any = None, **places: Any) -> Config:
        return Config.load(keywords, environ=environ or {}, folder=tmp_path, **places)

    return load


# --- which place wins --------------------------------------------------------------------


def test_nothing_has_to_be_set(load: Any) -> None:
    assert load() == Config()


def test_every_option_has_a_text_for_the_documentation() -> None:
    assert set(options()) == {field.name for field in dataclasses.fields(Config)}
    assert all(option.help.endswith(".") for option in options().values())


PLACES = ["toml", "environment", "framework", "keyword"]


@pytest.mark.parametrize("count", range(1, 5))
def test_the_nearest_place_wins(load: Any, tmp_path: Path, count: int) -> None:
    places: dict[str, Any] = {}
    (tmp_path / "p2pcdn.toml").write_text('mount = "/toml"')
    if count > 1:
        places["environ"] = {"P2PCDN_MOUNT": "/environment"}
    if count > 2:
        places["framework"] = {"MOUNT": "/framework"}
    if count > 3:
        places["keywords"] = {"mount": "/keyword"}
    assert load(**places).mount == "/" + PLACES[count - 1]


def test_places_add_up(load: Any, tmp_path: Path) -> None:
    (tmp_path / "p2pcdn.toml").write_text("hud = true")
    config = load(
        {"upload_limit": 1},
        environ={"P2PCDN_DISK_LIMIT": "0", "PATH": "/bin"},
        framework={"P2PCDN_MOUNT": "/m"},
    )
    assert (config.hud, config.disk_limit, config.mount, config.upload_limit) == (True, 0, "/m", 1)


def test_a_django_dict_may_be_written_in_any_case(load: Any) -> None:
    assert load(framework={"HUD": True, "startup_wait": 2}).startup_wait == 2


def test_the_project_file_counts_where_there_is_no_file_of_our_own(
    load: Any, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.p2pcdn]\nhud = true\n[tool.other]\nx = 1")
    assert load().hud
    (tmp_path / "p2pcdn.toml").write_text("debug = true")
    assert not load().hud


@pytest.mark.parametrize("text", ["not toml [", "[tool]\nother = 1", "[project]\nname = 'x'", ""])
def test_a_project_file_without_us_changes_nothing(load: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert load() == Config()


@pytest.mark.parametrize("text", ["[tool]\np2pcdn = 3", "tool = 3"])
def test_settings_that_are_no_table_are_an_error_that_says_where(
    load: Any, tmp_path: Path, text: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"pyproject.toml are 3; allowed is a mapping"):
        load()


def test_a_django_setting_that_is_no_dict_is_an_error_that_says_where(load: Any) -> None:
    with pytest.raises(ConfigError, match=r"settings.P2PCDN are True; allowed is a mapping"):
        load(framework=True, framework_name="settings.P2PCDN")


@pytest.mark.parametrize("broken", [b"mount = ", b"\xff\xfe"])
def test_a_broken_file_of_ours_is_not_passed_over(load: Any, tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "p2pcdn.toml").write_bytes(broken)
    with pytest.raises(ConfigError, match=r"p2pcdn\.toml is not TOML"):
        load()


def test_a_folder_in_the_place_of_our_file_is_named(load: Any, tmp_path: Path) -> None:
    (tmp_path / "p2pcdn.toml").mkdir()
    with pytest.raises(ConfigError, match=r"p2pcdn\.toml cannot be read"):
        load()


def test_the_environment_and_folder_of_the_process_are_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("P2PCDN_ENABLED", "0")
    (tmp_path / "p2pcdn.toml").write_text("hud = true")
    config = Config.load()
    assert (config.enabled, config.hud) == (False, True)


# --- names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "source"),
    [
        ({"keywords": {"hudd": True}}, "keywords"),
        ({"framework": {"HUDD": True}, "framework_name": "app.config"}, "app.config"),
        ({"environ": {"P2PCDN_HUDD": "1"}}, "environment"),
    ],
)
def test_a_misspelt_option_is_named_with_its_place_and_what_was_meant(
    load: Any, places: Any, source: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**places)
    message = str(caught.value)
    assert message.startswith(f"unknown p2pcdn option `hudd` ({source}); did you mean `hud`?")
    assert "startup_wait" in message  # all that are allowed


def test_a_misspelt_option_in_a_file_names_the_file(load: Any, tmp_path: Path) -> None:
    (tmp_path / "p2pcdn.toml").write_text("[p2pcdn]\nhud = true")
    with pytest.raises(ConfigError, match=r"unknown p2pcdn option `p2pcdn` \(p2pcdn\.toml\)\. "):
        load()


def test_a_keyword_in_capitals_is_answered_with_the_right_name(load: Any) -> None:
    with pytest.raises(ConfigError, match="did you mean `hud`"):
        load({"HUD": True})


def test_a_config_error_is_ours_and_a_value_error() -> None:
    assert issubclass(ConfigError, P2PCDNError) and issubclass(ConfigError, ValueError)


# --- values ------------------------------------------------------------------------------

TURN = {"urls": "turn:turn.example:3478?transport=udp", "username": "u", "credential": "c"}

GOOD = [
    ("hud", "yes", True),
    ("hud", "Off", False),
    ("hud", 1, True),
    ("enabled", "0", False),
    ("mount", "/cdn/v1/", "/cdn/v1"),
    ("public_prefix", "/", ""),
    ("public_prefix", "", ""),
    ("public_prefix", "/shop/", "/shop"),
    ("include", "/media/*, /v/*", ("/media/*", "/v/*")),
    ("include", ["*.mp4"], ("*.mp4",)),
    ("exclude", "", ()),
    ("media_roots", {"/m/": Path("/srv/m")}, (("/m/", "/srv/m"),)),
    ("media_roots", '{"/m/": "/srv/m"}', (("/m/", "/srv/m"),)),
    ("secret", "", None),
    ("data_dir", Path("/srv/p"), "/srv/p"),
    ("redis_url", "rediss://:pw@h:1/0", "rediss://:pw@h:1/0"),
    ("segment_bytes", "64KiB", 65536),
    ("segment_bytes", 131072.0, 131072),
    ("segment_bytes", "", None),
    ("upload_limit", "2MB", 2_000_000),
    ("upload_limit", "1_000", 1000),
    ("startup_wait", "0.25", 0.25),
    ("startup_wait", 0, 0),
    ("ice_servers", "[]", ()),
    ("ice_servers", "", ()),
    ("ice_servers", [{"urls": ["stun:[::1]:3478"]}], ({"urls": ["stun:[::1]:3478"]},)),
    ("ice_servers", [TURN], (TURN,)),
    ("allowed_origins", "https://Shop.example/,*", ("https://shop.example", "*")),
]


@pytest.mark.parametrize(("name", "value", "result"), GOOD)
def test_a_value_comes_out_in_its_one_form(name: str, value: Any, result: Any) -> None:
    config = Config(**{name: value})
    assert getattr(config, name) == result
    assert dataclasses.replace(config) == config, "a second check must change nothing"


BAD = [
    ("hud", "maybe", "true or false"),
    ("hud", 2, "true or false"),
    ("hud", None, "true or false"),
    ("hud", 1.0, "true or false"),
    ("mount", "p2pcdn", "an absolute URL path"),
    ("mount", "/", "an absolute URL path"),
    ("mount", "/../etc", "an absolute URL path"),
    ("mount", "/./x", "an absolute URL path"),
    ("mount", "//evil.example", "an absolute URL path"),
    ("mount", '/"><script>', "an absolute URL path"),
    ("mount", "/a\n", "an absolute URL path"),
    ("mount", 7, "an absolute URL path"),
    ("public_prefix", "https://example.org", "an absolute URL path"),
    ("include", 3, "a list of texts"),
    ("include", [""], "a list of texts"),
    ("include", "media/*", "begin with / or"),
    ("media_roots", "nonsense", "a mapping of URL prefix to folder"),
    ("media_roots", {"/m": "/srv"}, "begin and end with a slash"),
    ("media_roots", {"m/": "/srv"}, "begin and end with a slash"),
    ("media_roots", {"/m/": ""}, "the folder has a name"),
    ("media_roots", {"/m/": None}, "a mapping of URL prefix to folder"),
    ("media_roots", 5, "a mapping of URL prefix to folder"),
    ("data_dir", "a\0b", "a non-empty text"),
    ("peerjs_key", "", "a non-empty text"),
    ("segment_bytes", 100_000, "a power of two"),
    ("segment_bytes", 1024, "a whole number from 16384 to 16777216"),
    ("segment_bytes", "64 KiBs", "a whole number from 16384 to 16777216"),
    ("segment_bytes", 65536.5, "a whole number"),
    ("segment_bytes", True, "a whole number"),
    ("segment_bytes", b"65536", "a whole number"),
    ("segment_bytes", float("inf"), "a whole number"),
    ("segment_bytes", float("nan"), "a whole number"),
    ("upload_limit", -1, "a whole number of at least 0"),
    ("upload_limit", "9" * 5000, "a whole number of at least 0"),
    ("startup_wait", 11, "a number from 0 to 10"),
    ("startup_wait", float("nan"), "a number from 0 to 10"),
    ("startup_wait", "soon", "a number from 0 to 10"),
    ("alive_timeout", float("inf"), "a number of at least 1"),
    ("alive_timeout", [], "a number of at least 1"),
    ("ice_servers", "stun:x", "as JSON"),
    ("ice_servers", 1, "a list of RTCIceServer"),
    ("ice_servers", ["stun:x"], "a list of RTCIceServer"),
    ("ice_servers", [{}], "urls look like"),
    ("ice_servers", [{"urls": []}], "a list of RTCIceServer"),
    ("ice_servers", [{"urls": "http://x"}], "urls look like"),
    ("ice_servers", [{"urls": "stun://x"}], "urls look like"),
    ("ice_servers", [{"urls": "stun:x?transport=udp"}], "urls look like"),
    ("ice_servers", [{"urls": "turn:x"}], "turn_secret"),
    ("ice_servers", [{"urls": "turn:x", "username": "u"}], "turn_secret"),
    ("ice_servers", [{"urls": "turn:x", "username": "u", "credential": 1}], "credential"),
    ("relay_only", True, "a TURN server"),
    ("allowed_origins", "shop.example", "origins such as"),
    ("allowed_origins", "https://shop.example/path", "origins such as"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_wrong_value_is_answered_with_its_name_itself_and_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"p2pcdn option `{name}` is ")
    assert allowed in message
    assert not isinstance(value, (int, float)) or repr(value) in message or value != value


def test_a_wrong_value_names_the_place_it_stands_in(load: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`hud` is 'maybe'.*\(environment\)$"):
        load(environ={"P2PCDN_HUD": "maybe"})
    (tmp_path / "p2pcdn.toml").write_text("disk_limit = -1")
    with pytest.raises(ConfigError, match=r"`disk_limit` is -1.*\(p2pcdn\.toml\)$"):
        load()


@pytest.mark.parametrize(
    ("mount", "coordinator"), [("/a", "/a"), ("/a", "/a/b"), ("/a/b", "/a"), ("/peerjs", "/peerjs")]
)
def test_two_paths_of_ours_never_hide_each_other(mount: str, coordinator: str) -> None:
    with pytest.raises(ConfigError, match="neither above nor below coordinator_path"):
        Config(mount=mount, coordinator_path=coordinator)


def test_paths_that_only_begin_alike_are_allowed() -> None:
    assert Config(mount="/p2p", coordinator_path="/p2p-peers").mount == "/p2p"


def test_a_relay_needs_no_credentials_where_they_are_made_from_a_secret() -> None:
    servers = [{"urls": ["turn:turn.example"]}]
    assert Config(ice_servers=servers, turn_secret="s", relay_only=True).relay_only


SECRETS = [
    ("secret", 314159),
    ("stats_token", 314159),
    ("turn_secret", 314159),
    ("redis_url", "http://:314159@example.org"),
]


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_a_secret_is_never_shown_in_an_error(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    assert name in str(caught.value) and "314159" not in str(caught.value)


def test_a_secret_is_never_shown_in_a_log_of_the_settings() -> None:
    config = Config(
        secret="314159", stats_token="314159", turn_secret="314159", redis_url="redis://:314159@h"
    )
    assert "314159" not in repr(config)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(options())), ANYTHING)
def test_whatever_is_written_is_taken_or_refused_clearly(name: str, value: Any) -> None:
    try:
        config = Config(**{name: value})
    except ConfigError as error:
        assert name in str(error)
    else:
        assert dataclasses.replace(config) == config


# --- the data folder ---------------------------------------------------------------------


def test_the_data_folder_is_the_one_that_was_named(tmp_path: Path) -> None:
    assert Config(data_dir=tmp_path).folder() == tmp_path


def _folder_seen_from(cwd: Path, env: dict[str, str]) -> str:
    code = "from p2pcdn import Config; print(Config.load().folder())"
    base = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**base, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
    )
    return result.stdout.strip() or result.stderr


def test_a_data_folder_in_the_home_of_nobody_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="data_dir = '~nobody-has-this-name/p'"):
        Config(data_dir="~nobody-has-this-name/p").folder()


def test_workers_of_one_site_share_a_folder_and_two_sites_do_not(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    env = {"HOME": str(tmp_path)}
    first = _folder_seen_from(one, env)
    assert first == _folder_seen_from(one, env)
    assert first.startswith(str(tmp_path / ".cache" / "p2pcdn"))
    assert first != _folder_seen_from(other, env)


def test_a_service_without_a_home_keeps_its_data_in_the_temporary_folder(tmp_path: Path) -> None:
    folder = _folder_seen_from(tmp_path, {"TMPDIR": str(tmp_path)})
    assert folder.startswith(f"{tmp_path}/p2pcdn-{os.getuid()}/")


@pytest.mark.parametrize("kind", ["open to others", "a link"])
def test_a_folder_that_another_user_may_have_laid_out_is_not_trusted(
    tmp_path: Path, kind: str
) -> None:
    trap = tmp_path / f"p2pcdn-{os.getuid()}"
    if kind == "a link":
        trap.symlink_to(tmp_path)
    else:
        trap.mkdir()
        trap.chmod(0o777)
    said = _folder_seen_from(tmp_path, {"TMPDIR": str(tmp_path)})
    assert "ConfigError" in said and "`data_dir`" in said


def test_a_kubernetes_service_of_our_name_does_not_stop_the_site() -> None:
    environ = {
        "P2PCDN_SERVICE_HOST": "10.0.0.1",
        "P2PCDN_SERVICE_PORT": "80",
        "P2PCDN_SERVICE_PORT_HTTP": "80",
        "P2PCDN_PORT": "tcp://10.0.0.1:80",
        "P2PCDN_PORT_80_TCP": "tcp://10.0.0.1:80",
        "P2PCDN_PORT_80_TCP_ADDR": "10.0.0.1",
        "P2PCDN_HUD": "1",
    }
    assert Config.load(environ=environ).hud
    with pytest.raises(ConfigError, match="`portt`"):
        Config.load(environ={"P2PCDN_PORTT": "1"})


def test_the_settings_page_tells_what_the_settings_are() -> None:
    page = subprocess.run(
        [sys.executable, ROOT / "tools" / "settings_page.py"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout
    committed = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert committed == page, "run `make docs`"
