"""All settings of p2pcdn: one frozen dataclass, checked once, read everywhere.

Where a setting may stand, strongest first: keywords (`P2PCDN(app, hud=True)`), the
framework's settings (Django `P2PCDN = {"HUD": True}`, Flask `app.config["P2PCDN_HUD"]`), the
environment (`P2PCDN_HUD=1`), `p2pcdn.toml` or `[tool.p2pcdn]` of `pyproject.toml` in the
working directory.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2pcdn.config_checks import Option, checked, has_turn, needs_secret, wrong
from p2pcdn.errors import ConfigError

__all__ = ["Config", "Option", "options"]

_KIB = 1024
_MIB = 1024 * 1024


def _option(default: Any, help: str, kind: str, *, private: bool = False, **limits: Any) -> Any:
    option = Option(help, kind, private=private, **limits)
    return field(default=default, repr=not private, metadata={"option": option})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings. Sizes are bytes, times seconds. Make one with `Config.load`."""

    enabled: bool = _option(True, "Off makes the middleware hand everything through.", "bool")
    mount: str = _option("/p2pcdn", "Path under which loader, worker and manifest live.", "path")
    coordinator_path: str = _option("/peerjs", "Path of the peer coordinator.", "path")
    public_prefix: str | None = _option(
        None,
        "Prefix under which visitors see the site, where a proxy strips it before the app. "
        "Default: what the server says (SCRIPT_NAME, root_path).",
        "prefix?",
    )
    include: tuple[str, ...] = _option(
        (),
        "URL path patterns (`/media/*`) that may be shared; empty: every video on a page. "
        "A pattern named here is also shareable before any page has shown it.",
        "patterns",
    )
    exclude: tuple[str, ...] = _option((), "URL path patterns that are never shared.", "patterns")
    media_roots: tuple[tuple[str, str], ...] = _option(
        (),
        "URL prefix to folder, for media that a web server in front serves without the app, "
        'e.g. {"/media/": "/srv/media"}.',
        "mapping",
    )
    always_inject: bool = _option(
        False,
        "Put the loader into every page, also one without a video: for sites whose scripts add "
        "the videos.",
        "bool",
    )
    hud: bool = _option(False, "Show the panel on every page (else only with ?p2pcdn=hud).", "bool")
    debug: bool = _option(
        False, "Developer's mode: dashboard and statistics without a token.", "bool"
    )
    secret: str | None = _option(
        None,
        "Signs admission tokens. Default: the framework's secret key, else one that is made "
        "once and kept in the data folder.",
        "str?",
        private=True,
    )
    stats_token: str | None = _option(
        None,
        "Opens statistics, dashboard and metrics over HTTP; none: they are off.",
        "str?",
        private=True,
    )
    stats_retention_days: int = _option(
        400, "Statistics older than this are deleted.", "int", minimum=1, maximum=36_500
    )
    price_per_gb: float = _option(
        0.08,
        "What you pay for 10^9 bytes of traffic, to tell savings in money.",
        "float",
        minimum=0,
    )
    currency: str = _option("$", "How that price is written.", "str")
    data_dir: str | None = _option(
        None,
        "Folder for hashes and statistics, shared by the site's workers. Default: a folder of "
        "the user's cache, named after the working directory.",
        "str?",
    )
    redis_url: str | None = _option(
        None,
        "Redis or Valkey that several machines share (extra `redis`), e.g. redis://10.0.0.5:6379/0.",
        "redis?",
        private=True,
    )
    segment_bytes: int | None = _option(
        None,
        "Length of a segment, a power of two. Default: from 64 KiB to 4 MiB by size.",
        "int?",
        minimum=16 * _KIB,
        maximum=16 * _MIB,
    )
    max_content_bytes: int = _option(
        64 * 1024 * _MIB, "Larger files are not shared.", "int", minimum=1
    )
    upload_limit: int | None = _option(
        None,
        "Most bytes per second that a page uploads. Default: a fraction of the measured uplink.",
        "int?",
        minimum=0,
    )
    memory_limit: int = _option(
        256 * _MIB, "Memory that a page may hold segments in.", "int", minimum=_MIB
    )
    disk_limit: int = _option(
        512 * _MIB,
        "Most storage of a visitor's browser that segments may fill, so that what was watched "
        "plays again, and is passed on, on later pages; 0: none.",
        "int",
        minimum=0,
    )
    disk_days: int = _option(
        7,
        "Segments stored in a visitor's browser are deleted after so many days.",
        "int",
        minimum=1,
        maximum=365,
    )
    startup_wait: float = _option(
        1.0,
        "Seconds that a first visit waits for the worker before it plays direct. A page that is "
        "slow itself waits twice the time that it took until then, at most four times this.",
        "float",
        minimum=0,
        maximum=10,
    )
    ice_servers: tuple[Mapping[str, Any], ...] | None = _option(
        None,
        'STUN and TURN servers as in RTCIceServer: [{"urls": "stun:..."}]. '
        "Default: two public STUN servers; empty: only the local network.",
        "ice?",
    )
    turn_secret: str | None = _option(
        None,
        "Shared secret for short-lived TURN credentials (coturn `use-auth-secret`), made for the "
        "TURN servers in ice_servers that have none.",
        "str?",
        private=True,
    )
    relay_only: bool = _option(
        False, "Links only through TURN: visitors never learn each other's address.", "bool"
    )
    peerjs_key: str = _option("peerjs", "API key of the coordinator, as PeerServer's.", "str")
    allow_discovery: bool = _option(False, "Answer `GET /peerjs/{key}/peers`.", "bool")
    alive_timeout: float = _option(
        90.0, "A silent PeerJS client is dropped after this time.", "float", minimum=1
    )
    expire_timeout: float = _option(
        5.0, "A message for an absent peer is kept for this time.", "float", minimum=0.1
    )
    silence_timeout: float = _option(
        5.0, "A silent source is forgotten after this time.", "float", minimum=1
    )
    concurrent_limit: int = _option(5000, "Most peers at once.", "int", minimum=1)
    max_message_bytes: int = _option(
        64 * _KIB, "Largest message that the coordinator takes.", "int", minimum=4 * _KIB
    )
    allowed_origins: tuple[str, ...] = _option(
        (),
        "Other origins whose pages may use the coordinator (`https://shop.example`); `*`: all. The "
        "site's own always may.",
        "origins",
    )

    streamers: tuple[tuple[str, str], ...] | None = _option(
        None,
        "Who may stream: peer ids, each with the token that it connects with "
        '({"studio": "<16 characters or more>"}). Nobody else may, or gets such an id. Default: '
        "everybody may.",
        "streamers?",
        private=True,
    )
    may_stream: Callable[..., Any] | str | None = _option(  # noqa: RUF009 (no default of its own)
        None,
        "Decides who may stream: a function `(connection, *, peer, stream, role) -> bool`, async "
        "or not, or where it stands (`package.module.name`). `connection` is the visitor's request "
        "as a Starlette HTTPConnection.",
        "callable?",
    )

    geo_databases: tuple[str, ...] = _option(
        (),
        "MaxMind files (GeoLite2 ASN, Country or City; extra `geo`) by which sources of the "
        "visitor's own provider and country come first.",
        "files",
    )

    def __post_init__(self) -> None:
        for name, option in options().items():
            object.__setattr__(self, name, checked(name, option, getattr(self, name)))
        if self.segment_bytes is not None and self.segment_bytes & (self.segment_bytes - 1):
            raise wrong("segment_bytes", self.segment_bytes, "a power of two")
        for one, other in (
            (self.mount, self.coordinator_path),
            (self.coordinator_path, self.mount),
        ):
            if (one + "/").startswith(other + "/"):
                raise wrong(
                    "mount",
                    self.mount,
                    f"a path neither above nor below coordinator_path ({self.coordinator_path})",
                )
        servers = self.ice_servers or ()
        if self.turn_secret is None and any(map(needs_secret, servers)):
            raise wrong(
                "ice_servers",
                [server["urls"] for server in servers],
                "TURN servers with `username` and `credential`, or the option turn_secret: "
                "browsers refuse them without",
            )
        if self.relay_only and not any(map(has_turn, servers)):
            raise wrong(
                "relay_only",
                True,
                "true only with a TURN server in ice_servers: without one no visitor ever gets a "
                "link to another",
            )

    @classmethod
    def load(
        cls,
        keywords: Mapping[str, Any] | None = None,
        *,
        framework: Mapping[str, Any] | None = None,
        framework_name: str = "framework settings",
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Config:
        """Gather the settings from every place they may stand in.

        Args:
            keywords: What the site owner wrote in code, by field name.
            framework: Settings of the framework; names in any case, `P2PCDN_` optional.
            framework_name: How error messages call that place.
            environ: The environment; default `os.environ`.
            folder: Where `p2pcdn.toml` and `pyproject.toml` are looked for; default: here.

        Raises:
            ConfigError: An unknown option or a value that is not allowed.
        """
        found: dict[str, Any] = {}
        for source, values in (
            _toml(folder or Path.cwd()),
            ("environment", _environment(os.environ if environ is None else environ)),
            (framework_name, _named(_mapping(framework or {}, framework_name))),
            ("keywords", dict(keywords or {})),
        ):
            for name, value in values.items():
                option = options().get(name)
                if option is None:
                    raise _unknown(name, source)
                try:
                    found[name] = checked(name, option, value)
                except ConfigError as error:
                    raise ConfigError(f"{error} ({source})") from None
        return cls(**found)

    def folder(self) -> Path:
        """The data folder (not made yet), the same for every worker of the site.

        Raises:
            ConfigError: `data_dir` is in the home of somebody who has none; or, without it,
                somebody else has put a folder of that name into the shared temporary folder,
                and no better place was found.
        """
        if self.data_dir is not None:
            try:
                return Path(self.data_dir).expanduser().absolute()
            except RuntimeError as error:
                raise ConfigError(f"data_dir = {self.data_dir!r}: {error}") from None
        site = hashlib.sha256(os.fsencode(os.getcwd())).hexdigest()[:16]
        cache = os.environ.get("XDG_CACHE_HOME")
        home = Path.home() if "HOME" in os.environ else None
        base = Path(cache) if cache else home / ".cache" if home else None
        if base is not None and _writable(base):
            return base / "p2pcdn" / site
        return _own(Path(tempfile.gettempdir()) / f"p2pcdn-{os.getuid()}") / site


def options() -> dict[str, Option]:
    """Every option by name, in the order of the documentation."""
    return _OPTIONS


_OPTIONS: dict[str, Option] = {
    f.name: f.metadata["option"] for f in dataclasses.fields(Config) if "option" in f.metadata
}


def _writable(folder: Path) -> bool:
    while not folder.exists():
        if folder.parent == folder:
            return False
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def _own(folder: Path) -> Path:
    """`folder`, whose name anybody can guess, unless it belongs to or is open to others."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return folder
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    raise ConfigError(
        f"{folder} is not a folder of this user alone, so hashes and secrets cannot be kept in "
        "it; set the p2pcdn option `data_dir`"
    )


# --- where settings stand ----------------------------------------------------------------


def _toml(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The settings of the first file that has any, and its name."""
    own = _parsed(folder / "p2pcdn.toml")
    if own:
        return "p2pcdn.toml", _named(own)
    try:
        table: Any = _parsed(folder / "pyproject.toml")
    except ConfigError:
        table = {}  # a broken pyproject.toml is not ours to complain about
    for part in ("tool", "p2pcdn"):
        table = _mapping(table.get(part, {}), f"[{part}] of pyproject.toml")
    return "pyproject.toml", _named(table)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error


def _mapping(value: Any, source: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise ConfigError(f"the p2pcdn settings in {source} are {value!r}; allowed is a mapping")


# Read by programs around the middleware (the demo, the tests), not by `Config`.
_NOT_OPTIONS = {"p2pcdn_node"}
# What Kubernetes tells every container of a Service that somebody named `p2pcdn`.
_OF_A_SERVICE = re.compile(
    r"P2PCDN_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)\w*)?)"
)


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    return _named(
        {
            name: value
            for name, value in environ.items()
            if name.startswith("P2PCDN_")
            and name.lower() not in _NOT_OPTIONS
            and not _OF_A_SERVICE.fullmatch(name)
        }
    )


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).lower().removeprefix("p2pcdn_"): value for name, value in values.items()}


def _unknown(name: str, source: str) -> ConfigError:
    close = difflib.get_close_matches(name.lower(), options(), n=1)
    hint = f"; did you mean `{close[0]}`?" if close else "."
    return ConfigError(
        f"unknown p2pcdn option `{name}` ({source}){hint} Allowed: {', '.join(options())}"
    )
