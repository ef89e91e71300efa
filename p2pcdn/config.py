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
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2pcdn.errors import ConfigError

__all__ = ["Config", "Option", "options"]

_KIB = 1024
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Option:
    """What `docs/settings.md` and error messages know about one setting."""

    help: str
    kind: str
    allowed: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


def _option(default: Any, help: str, kind: str, **limits: Any) -> Any:
    return field(default=default, metadata={"option": Option(help, kind, **limits)})


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
    hud: bool = _option(False, "Show the panel on every page (else only with ?p2pcdn=hud).", "bool")
    debug: bool = _option(
        False, "Developer's mode: dashboard and statistics without a token.", "bool"
    )
    secret: str | None = _option(
        None,
        "Signs admission tokens. Default: the framework's secret key, else one that is made "
        "once and kept in the data folder.",
        "str?",
    )
    stats_token: str | None = _option(
        None, "Opens statistics, dashboard and metrics over HTTP; none: they are off.", "str?"
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
        None, "Redis or Valkey that several machines share (extra `redis`).", "str?"
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
        "Most bytes per second that a visitor uploads. Default: a fraction of the measured uplink.",
        "int?",
        minimum=0,
    )
    memory_limit: int = _option(
        256 * _MIB, "Memory that a page may hold segments in.", "int", minimum=_MIB
    )
    disk_limit: int = _option(
        512 * _MIB, "Browser storage that segments may fill; 0: none.", "int", minimum=0
    )
    startup_wait: float = _option(
        1.0,
        "Longest time a first visit waits for the worker before it plays direct.",
        "float",
        minimum=0,
        maximum=10,
    )
    ice_servers: tuple[Mapping[str, Any], ...] | None = _option(
        None,
        'STUN and TURN servers as in RTCIceServer: [{"urls": "stun:..."}]. '
        "Default: a public STUN server; empty: only the local network.",
        "ice?",
    )
    turn_secret: str | None = _option(
        None, "Shared secret for short-lived TURN credentials (coturn `use-auth-secret`).", "str?"
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
        "Other origins whose pages may use the coordinator; `*`: all. The site's own always may.",
        "patterns",
    )

    def __post_init__(self) -> None:
        for name, option in options().items():
            object.__setattr__(self, name, _checked(name, option, getattr(self, name)))
        if self.segment_bytes is not None and self.segment_bytes & (self.segment_bytes - 1):
            raise _wrong("segment_bytes", self.segment_bytes, "a power of two")
        if self.mount == self.coordinator_path:
            raise _wrong("mount", self.mount, f"a path other than coordinator_path ({self.mount})")

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
            ("p2pcdn.toml", _toml(folder or Path.cwd())),
            ("environment", _environment(os.environ if environ is None else environ)),
            (framework_name, _named(framework or {})),
            ("keywords", dict(keywords or {})),
        ):
            for name, value in values.items():
                if name not in options():
                    raise _unknown(name, source)
                found[name] = value
        return cls(**found)

    def folder(self) -> Path:
        """The data folder (not made yet), the same for every worker of the site."""
        if self.data_dir is not None:
            return Path(self.data_dir).expanduser().absolute()
        site = hashlib.sha256(os.fsencode(os.getcwd())).hexdigest()[:16]
        cache = os.environ.get("XDG_CACHE_HOME")
        home = Path.home() if "HOME" in os.environ else None
        base = Path(cache) if cache else home / ".cache" if home else None
        if base is not None and _writable(base):
            return base / "p2pcdn" / site
        return Path(tempfile.gettempdir()) / f"p2pcdn-{os.getuid()}" / site


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


# --- where settings stand ----------------------------------------------------------------


def _toml(folder: Path) -> dict[str, Any]:
    for file, path in (
        (folder / "p2pcdn.toml", ()),
        (folder / "pyproject.toml", ("tool", "p2pcdn")),
    ):
        try:
            table: Any = tomllib.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            if file.name == "pyproject.toml":
                continue  # not ours to complain about
            raise ConfigError(f"{file} is not TOML: {error}") from error
        for part in path:
            table = table.get(part, {}) if isinstance(table, dict) else {}
        if table:
            return _named(table)
    return {}


# Read by programs around the middleware (the demo, the tests), not by `Config`.
_NOT_OPTIONS = {"p2pcdn_node"}


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    return _named(
        {
            name: value
            for name, value in environ.items()
            if name.startswith("P2PCDN_") and name.lower() not in _NOT_OPTIONS
        }
    )


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).lower().removeprefix("p2pcdn_"): value for name, value in values.items()}


# --- checking ----------------------------------------------------------------------------


def _unknown(name: str, source: str) -> ConfigError:
    close = difflib.get_close_matches(name, options(), n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return ConfigError(
        f"unknown p2pcdn option `{name}` ({source}){hint} Allowed: {', '.join(options())}"
    )


def _wrong(name: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(f"p2pcdn option `{name}` is {value!r}; allowed is {allowed}")


_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_UNITS = {"": 1, "k": 1000, "m": 10**6, "g": 10**9, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_SIZE = re.compile(r"(-?\d+(?:_\d+)*)\s*([kKmMgG]i?)?B?")


def _checked(name: str, option: Option, value: Any) -> Any:
    kind = option.kind
    if kind.endswith("?"):
        if value is None or value == "":
            return () if kind == "ice?" and value == "" else None
        kind = kind[:-1]
    return _CHECKS[kind](name, option, value)


def _bool(name: str, option: Option, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if isinstance(value, (str, int)) and text in _TRUE | _FALSE:
        return text in _TRUE
    raise _wrong(name, value, "true or false (1/0, yes/no, on/off)")


def _number(name: str, option: Option, value: Any) -> float:
    whole = option.kind.startswith("int")
    what = "a whole number" if whole else "a number"
    if option.minimum is not None:
        what += (
            f" from {option.minimum:g}"
            if option.maximum is not None
            else (f" of at least {option.minimum:g}")
        )
    if option.maximum is not None:
        what += f" to {option.maximum:g}"
    try:
        if isinstance(value, bool):
            raise ValueError
        if isinstance(value, str) and whole:
            match = _SIZE.fullmatch(value.strip())
            if match is None:
                raise ValueError
            number: float = int(match[1]) * _UNITS[(match[2] or "").lower()]
        else:
            number = int(value) if whole else float(value)
        if whole and isinstance(value, float) and value != number:
            raise ValueError
    except (TypeError, ValueError):
        raise _wrong(name, value, what) from None
    if not (option.minimum is None or number >= option.minimum) or not (
        option.maximum is None or number <= option.maximum
    ):
        raise _wrong(name, value, what)
    return number


def _str(name: str, option: Option, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise _wrong(name, value, "a non-empty text")


def _path(name: str, option: Option, value: Any) -> str:
    if isinstance(value, str) and _PATH.fullmatch(value.rstrip("/")) and ".." not in value:
        return value.rstrip("/")
    raise _wrong(name, value, "an absolute URL path such as /p2pcdn (letters, digits, . _ ~ -)")


def _prefix(name: str, option: Option, value: Any) -> str:
    return "" if value in ("", "/") else _path(name, option, value)


def _patterns(name: str, option: Option, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(part, str) and part for part in value
    ):
        return tuple(value)
    raise _wrong(name, value, "a list of texts (in the environment: separated by commas)")


def _mapping(name: str, option: Option, value: Any) -> tuple[tuple[str, str], ...]:
    allowed = 'a mapping of URL prefix to folder, e.g. {"/media/": "/srv/media"}'
    if isinstance(value, str):
        value = _json(name, value, allowed)
    if isinstance(value, Mapping):
        value = tuple(value.items())
    try:
        pairs = tuple((str(url), os.fspath(folder)) for url, folder in value)
    except (TypeError, ValueError):
        raise _wrong(name, value, allowed) from None
    if not all(url.startswith("/") and url.endswith("/") for url, _ in pairs):
        raise _wrong(name, value, allowed + " (prefixes begin and end with a slash)")
    return pairs


def _ice(name: str, option: Option, value: Any) -> tuple[Mapping[str, Any], ...]:
    allowed = 'a list of RTCIceServer values, e.g. [{"urls": "stun:stun.example.org"}]'
    if isinstance(value, str):
        value = _json(name, value, allowed)
    if not isinstance(value, (list, tuple)):
        raise _wrong(name, value, allowed)
    for server in value:
        urls = server.get("urls") if isinstance(server, Mapping) else None
        for url in urls if isinstance(urls, (list, tuple)) else [urls]:
            if not isinstance(url, str) or not re.match(r"(?:stun|turn)s?:.", url):
                raise _wrong(name, value, allowed)
    return tuple(dict(server) for server in value)


def _json(name: str, value: str, allowed: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise _wrong(name, value, allowed + " (in the environment: as JSON)") from None


_CHECKS: dict[str, Any] = {
    "bool": _bool,
    "int": _number,
    "float": _number,
    "str": _str,
    "path": _path,
    "prefix": _prefix,
    "patterns": _patterns,
    "mapping": _mapping,
    "ice": _ice,
}
