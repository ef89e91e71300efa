"""The built loader, worker, panel and style sheet, and whether we are well.

Everything is read, put together, hashed and compressed once; a request is a look-up.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from p2pcdn.config import Config
from p2pcdn.errors import P2PCDNError
from p2pcdn.web.ice import Ice

__all__ = ["STATIC", "Assets"]

STATIC = Path(__file__).parent.parent / "static"
"""Where js/build.mjs puts the built files."""

_SCRIPT = "text/javascript; charset=utf-8"
_FOREVER = "public, max-age=31536000, immutable"
_ASK = "no-cache"


class Assets:
    """The files that visitors' browsers load from us.

    Args:
        config: The settings; what the loader needs of them stands in front of it.
        socket: Whether the server can hold WebSockets.
        folder: The built files.

    Raises:
        P2PCDNError: The built files are missing, as in a checkout that was never built.
    """

    def __init__(self, config: Config, *, socket: bool, folder: Path | None = None) -> None:
        folder = STATIC if folder is None else folder
        code = {
            name: _built(folder / name)
            for name in ("loader.js", "engine.js", "stored.js", "worker.js", "hud.js")
        }
        style = _built(folder / "noscript.css")
        settings = _loader_config(config, socket=socket)
        parts = (*code.values(), style, _json(settings))
        self.version: str = hashlib.sha256(b"\0".join(parts)).hexdigest()[:8]
        """8 hex digits that change with the code and with the settings in it."""

        loader = {"version": self.version, **settings}
        worker = {
            "version": self.version,
            "path": f"{config.mount}/worker.js",
            "patterns": settings["patterns"],
        }
        self._files = {
            "loader.js": _file(_in_front("P2PCDN_CONFIG", loader, code["loader.js"]), _SCRIPT),
            "engine.js": _file(code["engine.js"], _SCRIPT),
            "stored.js": _file(code["stored.js"], _SCRIPT),
            "worker.js": _file(_in_front("P2PCDN_WORKER", worker, code["worker.js"]), _SCRIPT),
            "hud.js": _file(code["hud.js"], _SCRIPT),
            "noscript.css": _file(style, "text/css; charset=utf-8"),
        }

    def routes(self) -> list[BaseRoute]:
        """Routes below the mount: `/loader.js`, `/engine.js`, `/stored.js`, `/worker.js`,
        `/hud.js`, `/noscript.css`, `/health`."""
        return [
            *(Route(f"/{name}", self._serve(name), methods=["GET"]) for name in self._files),
            Route("/health", _health, methods=["GET"]),
        ]

    def _serve(self, name: str) -> Any:
        file = self._files[name]

        async def serve(request: Request) -> Response:
            # Only the very version that was asked for may be kept for ever: during a deployment
            # an old server worker can be asked for the new one.
            wanted = request.query_params.get("v") == self.version and name != "worker.js"
            packed = _takes_gzip(request.headers.get("accept-encoding", ""))
            body, etag = (file.packed, file.packed_etag) if packed else (file.plain, file.etag)
            headers = {
                "ETag": etag,
                "Cache-Control": _FOREVER if wanted else _ASK,
                "Vary": "Accept-Encoding",
                "X-Content-Type-Options": "nosniff",
                "Cross-Origin-Resource-Policy": "same-origin",
            }
            if name == "worker.js":
                headers["Service-Worker-Allowed"] = "/"
            if _matches(request.headers.get("if-none-match", ""), etag):
                return Response(status_code=304, headers=headers)
            if packed:
                headers["Content-Encoding"] = "gzip"
            return Response(body, headers=headers, media_type=file.type)

        return serve


@dataclass(frozen=True, slots=True)
class _File:
    plain: bytes
    packed: bytes
    etag: str
    packed_etag: str
    type: str


def _file(plain: bytes, type: str) -> _File:
    digest = hashlib.sha256(plain).hexdigest()[:16]
    # mtime=0: the same bytes on every machine, as the same ETag promises.
    packed = gzip.compress(plain, 9, mtime=0)
    return _File(plain, packed, f'"{digest}"', f'"{digest}-gz"', type)


def _built(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise P2PCDNError(
            f"{path} cannot be read ({error.strerror}): the browser part of p2pcdn was not built. "
            "Run `node js/build.mjs` in the checkout, or install p2pcdn as a package"
        ) from error


def _in_front(name: str, value: Mapping[str, Any], code: bytes) -> bytes:
    # A block, so that the constant is no global.
    return b"{const %s=%s;\n%s}\n" % (name.encode(), _json(value), code)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("ascii")


def _loader_config(config: Config, *, socket: bool) -> dict[str, Any]:
    """`LoaderConfig` of js/src/config.ts without its version."""
    up = "../" * config.mount.count("/")
    return {
        "coordinator": up + config.coordinator_path.lstrip("/"),
        "scope": up,
        "key": config.peerjs_key,
        "socket": socket,
        "ice": Ice(config).lasting,
        "relayOnly": config.relay_only,
        "uploadLimit": config.upload_limit,
        "memoryLimit": config.memory_limit,
        "diskLimit": config.disk_limit,
        "diskDays": config.disk_days,
        "startupWaitMs": round(config.startup_wait * 1000),
        "hud": config.hud,
        "patterns": [_expression(pattern) for pattern in config.include],
    }


def _expression(pattern: str) -> str:
    """A pattern of `page.patterns` as a JavaScript regular expression on the path.

    The query is not looked at: what the worker asks about in vain, the manifest refuses.
    """
    path = pattern.partition("?")[0]
    texts = (re.sub(r"[.+^$(){}|[\]\\/]", r"\\\g<0>", text) for text in path.split("*"))
    return f"^{'.*'.join(texts)}$"


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding allows gzip (RFC 9110, section 12.5.3)."""
    star = False
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        wanted = re.fullmatch(r"\s*q\s*=\s*0(?:\.0*)?\s*", weight) is None
        if coding.strip() in ("gzip", "x-gzip"):
            return wanted
        if coding.strip() == "*":
            star = wanted
    return star


def _matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison (RFC 9110, section 13.1.2)."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", etag) for tag in tags)


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})
