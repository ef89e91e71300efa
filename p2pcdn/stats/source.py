"""Where `p2pcdn stats` has its numbers from: the local store, Redis, or a site over HTTP."""

from __future__ import annotations

import http.client
import json
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2pcdn.errors import P2PCDNError
from p2pcdn.stats.plausible import Limits
from p2pcdn.stats.sqlite_read import read_summary
from p2pcdn.stats.sqlite_schema import FILE_NAME
from p2pcdn.stats.store import StoreError, shared_name
from p2pcdn.stats.summary import Summary

__all__ = ["NothingYet", "Unreachable", "read_local", "read_redis", "read_remote"]

_TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 32 * 1024 * 1024


class Unreachable(P2PCDNError):
    """The numbers cannot be had; the message says why and what to do."""


class NothingYet(P2PCDNError):
    """There is no store yet; the message says where it was looked for."""


def read_local(
    folder: Path, *, since: float, until: float | None, top: int | None, now: float
) -> Summary:
    """Read the store of the site on this machine, while the site writes to it.

    Raises:
        NothingYet: There is none.
        Unreachable: It is locked, corrupt or not readable for this user.
    """
    path = folder / FILE_NAME
    try:
        if not path.exists():
            raise NothingYet(
                f"no statistics yet at {path}. A site writes its first ones some seconds after "
                "the first visit. Is this the site's working directory? Else give its folder "
                "with --data-dir (the option `data_dir`), or ask the running site with --url and "
                "--token."
            )
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S / 2)
    except (OSError, sqlite3.Error) as error:
        raise Unreachable(_advice(path, error)) from error
    try:
        connection.execute("BEGIN")
        return read_summary(connection, now=now, since=since, until=until, top=top)
    except sqlite3.Error as error:
        if "no such table" in str(error):
            raise NothingYet(f"{path} is empty: the site has not counted anything yet.") from error
        raise Unreachable(_advice(path, error)) from error
    finally:
        connection.close()


def _advice(path: Path, error: Exception) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"{path} is locked by another program for too long: try again in a moment."
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return (
            f"{path} is corrupt ({text}). The running site moves it aside and begins a new one "
            "at its next write; you can also move it away yourself."
        )
    return (
        f"{path} cannot be read ({text}). Run this as the user that the site runs as, or ask "
        "the running site with --url and --token."
    )


def read_redis(
    url: str, secret: str | None, *, since: float, until: float | None, top: int | None, now: float
) -> Summary:
    """Read what all machines of a site have counted.

    Args:
        url: The option `redis_url`.
        secret: The option `secret`; None: the only site in that Redis.

    Raises:
        NothingYet: Nothing has been counted there.
        Unreachable: Redis does not answer, or there are several sites.
    """
    try:
        from redis.exceptions import RedisError

        from p2pcdn.stats.redis_store import RedisStore, connect, sites
    except ModuleNotFoundError as error:
        raise Unreachable(
            'the option redis_url needs redis: pip install "p2pcdn[redis]"'
        ) from error
    try:
        with connect(url) as client:
            known = sites(client)
    except (RedisError, OSError, ValueError) as error:
        raise Unreachable(
            f"Redis (the option redis_url) does not answer: {error}. Is it running, and may this "
            "machine reach it?"
        ) from error
    site = shared_name(secret.encode()) if secret else next(iter(known), "")
    if not secret and len(known) > 1:
        raise Unreachable(
            f"{len(known)} sites keep statistics in that Redis: give this one's `secret` "
            "(P2PCDN_SECRET), or ask the running site with --url and --token."
        )
    if site not in known:
        raise NothingYet(
            "no statistics of this site in Redis yet (the option redis_url). Has it the same "
            "`secret` as here? Else ask the running site with --url and --token."
        )
    store = RedisStore(url, site, limits=Limits(), retention_days=1, server_time=True)
    try:
        return store.summary(now, since, until, top)
    except StoreError as error:
        raise Unreachable(f"the statistics in Redis cannot be read: {error}") from error
    finally:
        store.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would hand the token on to wherever it is sent."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, hdrs: Any, url: str) -> None:
        raise Unreachable(f"{req.full_url} redirects to {url}: give that address with --url.")


def read_remote(
    url: str, *, mount: str, token: str | None, since: float, until: float | None, top: int | None
) -> Summary:
    """Ask a running site.

    Args:
        url: The site (`https://example.org`), its mount, or the address of its statistics.
        mount: The option `mount`, for a `url` without it.
        token: The site's `stats_token`.

    Raises:
        Unreachable: No answer, not the right one, or the token is wrong.
    """
    at = _address(url, mount)
    if token and not (token.isascii() and token.isprintable()):
        # A header would break or refuse it, and the error would repeat it.
        raise Unreachable("the token (--token or P2PCDN_STATS_TOKEN) has characters other than "
                          "those of ASCII that can be printed: is it copied in full?")  # fmt: skip
    query: dict[str, str] = {"since": repr(since), "top": str(1000 if top is None else top)}
    if until is not None:
        query["until"] = repr(until)
    # repr of a small number would be taken for a time span or a date: 0 is "all".
    if since <= 0:
        query["since"] = "all"
    request = urllib.request.Request(f"{at}?{urllib.parse.urlencode(query)}")
    request.add_header("Accept", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S) as answer:
            body = answer.read(_MAX_ANSWER_BYTES)
        return Summary.from_json(json.loads(body))
    except urllib.error.HTTPError as error:
        raise Unreachable(_refused(at, error)) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        plain = "" if "//" in url else " It was asked over https: else begin --url with http://."
        raise Unreachable(
            f"{at} does not answer ({reason}). Is the site running, and is this its address?{plain}"
        ) from error
    except ValueError as error:
        raise Unreachable(
            f"{at} did not answer with statistics ({error}). Is p2pcdn mounted there? Give the "
            "full address of the mount with --url."
        ) from error


def _address(url: str, mount: str) -> str:
    wrong = f"--url {url!r} is not an address such as https://example.org"
    try:
        parts = urllib.parse.urlsplit(url if "//" in url else f"https://{url}")
        there = parts.hostname is not None and parts.port != 0  # ValueError: no port has it
    except ValueError as error:
        raise Unreachable(f"{wrong} ({error})") from error
    if parts.scheme not in ("http", "https") or not there or not url.isprintable():
        raise Unreachable(wrong)
    path = parts.path.rstrip("/")
    if not path.endswith("/stats"):
        path = f"{path}/stats" if path.endswith(mount) else f"{path}{mount}/stats"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _refused(at: str, error: urllib.error.HTTPError) -> str:
    said = ""
    reader: Callable[[int], bytes] = error.read
    try:
        value = json.loads(reader(16 * 1024))
        said = str(value["message"]) if "message" in value else ""
    except (ValueError, TypeError, OSError):
        pass
    if error.code == 401:
        return (
            f"{at} refuses the token. Give the site's `stats_token` with --token or "
            "P2PCDN_STATS_TOKEN."
        )
    return f"{at} answers {error.code}" + (f": {said}" if said else f" {error.reason}.")
