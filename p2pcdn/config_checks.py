"""What a setting may be: every kind of value, brought into one form or refused.

A check takes what a keyword, a framework's settings, TOML or the environment (text) holds, and
returns the same value when it is given its own result.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from p2pcdn.errors import ConfigError

__all__ = ["Option", "checked", "has_turn", "needs_secret", "wrong"]


_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Option:
    """What `docs/settings.md` and error messages know about one setting.

    `private` ones are left out of messages and of `repr(config)`.
    """

    help: str
    kind: str
    allowed: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    private: bool = False


def checked(name: str, option: Option, value: Any) -> Any:
    """The value in its one form.

    Raises:
        ConfigError: It is not allowed; the message names the option, the value and what is.
    """
    kind = option.kind
    if kind.endswith("?"):
        kind = kind[:-1]
        if value is None or (value == "" and kind not in _EMPTY_MEANS_NONE_OF_THEM):
            return None
    return _CHECKS[kind](name, option, value)


def wrong(name: str, value: object, allowed: str, *, private: bool = False) -> ConfigError:
    """The error for a value that is not allowed."""
    shown = f"a secret {type(value).__name__}" if private else repr(value)
    return ConfigError(f"p2pcdn option `{name}` is {shown}; allowed is {allowed}")


_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")
_UNITS = {"": 1, "k": 1000, "m": 10**6, "g": 10**9, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_SIZE = re.compile(r"(-?[0-9]{1,20}(?:_[0-9]{1,20})*)\s*([kKmMgG]i?)?B?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
# RFC 7064 and 7065; a browser throws on anything else, and with it on the whole list.
_HOST = r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_ICE_URL = re.compile(rf"stuns?:{_HOST}|turns?:{_HOST}(?:\?transport=(?:udp|tcp))?", re.IGNORECASE)


def _bool(name: str, option: Option, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if isinstance(value, (str, int)) and text in _TRUE | _FALSE:
        return text in _TRUE
    raise wrong(name, value, "true or false (1/0, yes/no, on/off)")


def _int(name: str, option: Option, value: Any) -> int:
    try:
        if isinstance(value, str):
            match = _SIZE.fullmatch(value.strip())
            if match is None:
                raise ValueError
            number = int(match[1]) * _UNITS[(match[2] or "").lower()]
        elif isinstance(value, float):
            number = int(value)
            if number != value:
                raise ValueError
        elif isinstance(value, bool):
            raise ValueError
        else:
            number = operator.index(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong(name, value, _range("a whole number", option)) from None
    return _within(name, option, number, "a whole number")


def _float(name: str, option: Option, value: Any) -> float:
    try:
        if isinstance(value, (bool, bytes, bytearray)):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise wrong(name, value, _range("a number", option)) from None
    return _within(name, option, number, "a number")


def _within(name: str, option: Option, number: _Number, what: str) -> _Number:
    low = option.minimum is None or number >= option.minimum
    high = option.maximum is None or number <= option.maximum
    if low and high:
        return number
    raise wrong(name, number, _range(what, option))


def _range(what: str, option: Option) -> str:
    low, high = (None if n is None else f"{n:.15g}" for n in (option.minimum, option.maximum))
    if low and high:
        return f"{what} from {low} to {high}"
    return f"{what} of at least {low}" if low else what


def _str(name: str, option: Option, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise wrong(name, value, "a non-empty text", private=option.private)


def _redis(name: str, option: Option, value: Any) -> str:
    if isinstance(value, str) and value.startswith(("redis://", "rediss://", "unix://")):
        return value
    raise wrong(name, value, "a URL that begins with redis://, rediss:// or unix://", private=True)


def _path(name: str, option: Option, value: Any) -> str:
    if isinstance(value, str) and _PATH.fullmatch(value.rstrip("/")):
        return value.rstrip("/")
    raise wrong(name, value, "an absolute URL path such as /p2pcdn (letters, digits, . _ ~ -)")


def _prefix(name: str, option: Option, value: Any) -> str:
    return "" if value in ("", "/") else _path(name, option, value)


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(part, str) and part for part in value
    ):
        return list(value)
    raise wrong(name, value, "a list of texts (in the environment: separated by commas)")


def _patterns(name: str, option: Option, value: Any) -> tuple[str, ...]:
    found = _texts(name, value)
    for pattern in found:
        if not pattern.startswith(("/", "*")):
            raise wrong(name, pattern, "URL path patterns, which begin with / or *, e.g. /media/*")
    return tuple(found)


def _files(name: str, option: Option, value: Any) -> tuple[str, ...]:
    if isinstance(value, os.PathLike):
        value = [value]
    if isinstance(value, (list, tuple)):
        value = [os.fspath(part) if isinstance(part, os.PathLike) else part for part in value]
    found = _texts(name, value)
    if any("\0" in file for file in found):
        raise wrong(name, found, "a list of file names")
    return tuple(found)


def _origins(name: str, option: Option, value: Any) -> tuple[str, ...]:
    found = []
    for text in _texts(name, value):
        origin = text.lower().removesuffix("/")
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise wrong(name, text, "origins such as https://shop.example, without a path, or *")
        found.append(origin)
    return tuple(found)


def _mapping(name: str, option: Option, value: Any) -> tuple[tuple[str, str], ...]:
    allowed = 'a mapping of URL prefix to folder, e.g. {"/media/": "/srv/media"}'
    if isinstance(value, str):
        value = _json(name, value, allowed)
    items = value.items() if isinstance(value, Mapping) else value
    try:
        pairs = tuple((url, os.fsdecode(folder)) for url, folder in items)
    except (TypeError, ValueError):
        raise wrong(name, value, allowed) from None
    for url, folder in pairs:
        if not (isinstance(url, str) and url.startswith("/") and url.endswith("/")):
            raise wrong(name, url, allowed + " (prefixes begin and end with a slash)")
        if not folder or "\0" in folder:
            raise wrong(name, folder, allowed + " (the folder has a name)")
    return pairs


def _ice(name: str, option: Option, value: Any) -> tuple[Mapping[str, Any], ...]:
    allowed = 'a list of RTCIceServer values, e.g. [{"urls": "stun:stun.example.org"}]'
    if isinstance(value, str):
        value = _json(name, value, allowed) if value.strip() else ()
    if not isinstance(value, (list, tuple)):
        raise wrong(name, value, allowed)
    for server in value:
        if not isinstance(server, Mapping):
            raise wrong(name, server, allowed)
        urls = server.get("urls")
        urls = urls if isinstance(urls, (list, tuple)) else [urls]
        if not urls:
            raise wrong(name, server, allowed)
        for url in urls:
            if not (isinstance(url, str) and _ICE_URL.fullmatch(url)):
                raise wrong(
                    name, url, "a list of RTCIceServer values whose urls look like "
                    "stun:host:port or turn:host:port?transport=udp"
                )  # fmt: skip
        for part in ("username", "credential"):
            if not isinstance(server.get(part, ""), str):
                raise wrong(name, server[part], f"a text as {part}", private=True)
    return tuple(dict(server) for server in value)


def _streamers(name: str, option: Option, value: Any) -> tuple[tuple[str, str], ...]:
    allowed = 'a mapping of peer id to token (16 characters or more), e.g. {"studio": "..."}'
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise wrong(name, value, allowed, private=True) from None
    try:
        pairs = tuple((id, token) for id, token in dict(value).items())
    except (TypeError, ValueError):
        raise wrong(name, value, allowed, private=True) from None
    for id, token in pairs:
        if not isinstance(id, str) or not isinstance(token, str) or not 16 <= len(token) <= 256:
            raise wrong(name, token, f"{allowed}: {id!r} has none", private=True)
    return pairs


def _callable(name: str, option: Option, value: Any) -> Any:
    named = isinstance(value, str) and all(part.isidentifier() for part in value.split("."))
    if not (callable(value) or (named and "." in value)):
        raise wrong(name, value, 'a function, or where it stands: "package.module.name"')
    return value


def has_turn(server: Mapping[str, Any]) -> bool:
    """Whether an RTCIceServer names a relay."""
    urls = server["urls"]
    urls = [urls] if isinstance(urls, str) else urls
    return any(url.lower().startswith("turn") for url in urls)


def needs_secret(server: Mapping[str, Any]) -> bool:
    """Whether an RTCIceServer is a relay without credentials of its own."""
    return has_turn(server) and not (server.get("username") and server.get("credential"))


def _json(name: str, value: str, allowed: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise wrong(name, value, allowed + " (in the environment: as JSON)") from None


# For these an empty text is a value (no prefix, no servers), not the absence of one.
_EMPTY_MEANS_NONE_OF_THEM = {"prefix", "ice"}

_CHECKS: dict[str, Callable[[str, Option, Any], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _str,
    "redis": _redis,
    "path": _path,
    "prefix": _prefix,
    "patterns": _patterns,
    "origins": _origins,
    "files": _files,
    "mapping": _mapping,
    "ice": _ice,
    "streamers": _streamers,
    "callable": _callable,
}
