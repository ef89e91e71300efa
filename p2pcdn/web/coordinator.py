"""The coordinator over HTTP: PeerServer's routes, the mailbox, and lists over REST.

Protocol: docs/coordinator.md. Sockets are in `p2pcdn.web.coordinator_socket`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from p2pcdn.config import Config
from p2pcdn.coordinator import origin_allowed
from p2pcdn.coordinator.messages import ID_TAKEN, ROLES
from p2pcdn.hub import Hub, HubUnavailable, MailboxRequest
from p2pcdn.hub.gate import names, refused
from p2pcdn.web import tracker
from p2pcdn.web.access import client_address
from p2pcdn.web.coordinator_socket import Socket
from p2pcdn.web.openapi import DOCUMENT

__all__ = ["allowed", "mounted", "routes"]

_INFO = {
    "name": "PeerJS Server",
    "description": "A server side element to broker connections between PeerJS clients.",
    "website": "https://peerjs.com/",
}
_METHODS = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]
_NO_STORE = {"Cache-Control": "no-store"}

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(hub: Hub, config: Config) -> list[BaseRoute]:
    """Everything below `config.coordinator_path`, see `mounted`."""
    web = _Coordinator(hub, config)
    source_list = "/{key}/contents/{content}/sources"
    stream_list = "/{key}/streams/{stream:path}/{role}"
    return [
        WebSocketRoute("/peerjs", Socket(hub, config, allowed)),
        WebSocketRoute(tracker.PATH, tracker.TrackerSocket(hub, config, allowed)),
        Route("/", _cors(web.info)),
        Route("/openapi.json", _cors(web.document)),
        Route("/mailbox", _cors(web.mailbox), methods=["POST"]),
        *(Route(f"/{{key}}/id{end}", _cors(web.id)) for end in ("", "/")),
        *(Route(f"/{{key}}/peers{end}", _cors(web.peers)) for end in ("", "/")),
        Route(source_list, _cors(web.sources), methods=["GET", "POST", "DELETE"]),
        Route(stream_list, _cors(web.streamers), methods=["GET", "POST", "DELETE"]),
        Route("/{path:path}", _cors(web.preflight), methods=["OPTIONS"]),
        Route("/{path:path}", _cors(web.nothing), methods=_METHODS),
    ]


def mounted(hub: Hub, config: Config, path: str) -> list[BaseRoute]:
    """The coordinator at `path`, which answers without a slash behind it, too, as PeerServer's.

    Args:
        path: With a slash in front and none behind; empty: the root.
    """
    made: list[BaseRoute] = [Mount(path, routes=routes(hub, config))]
    if path:
        web = _Coordinator(hub, config)
        made[:0] = [
            # Nearly all requests of a site that has no sockets: found at the first look.
            Route(f"{path}/mailbox", _cors(web.mailbox), methods=["POST"]),
            Route(path, _cors(web.info)),
            Route(path, _cors(web.preflight), methods=["OPTIONS"]),
        ]
    return made


def allowed(connection: HTTPConnection, config: Config) -> bool:
    """Whether the page that sends this request may use the coordinator."""
    headers = connection.headers
    return origin_allowed(
        headers.get("origin"),
        hosts=(headers.get("host"), headers.get("x-forwarded-host")),
        allowed=config.allowed_origins,
        same_origin=headers.get("sec-fetch-site") == "same-origin",
    )


def _cors(endpoint: Endpoint) -> Endpoint:
    """Reflect the Origin, as PeerServer does. Who may do what is decided elsewhere."""

    async def answer(request: Request) -> Response:
        response = await endpoint(request)
        origin = request.headers.get("origin")
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
        response.headers.add_vary_header("Origin")
        return response

    return answer


class _Coordinator:
    def __init__(self, hub: Hub, config: Config) -> None:
        self._hub = hub
        self._config = config
        # A mailbox peer may bring several messages at once.
        self._most_bytes = 4 * config.max_message_bytes

    # --- PeerServer ----------------------------------------------------------------------

    async def info(self, request: Request) -> Response:
        return JSONResponse(_INFO)

    async def document(self, request: Request) -> Response:
        return JSONResponse(DOCUMENT)

    async def id(self, request: Request) -> Response:
        # text/html is what PeerServer says; a UUID is no markup.
        headers = {**_NO_STORE, "X-Content-Type-Options": "nosniff"}
        return Response(str(uuid.uuid4()), media_type="text/html", headers=headers)

    async def peers(self, request: Request) -> Response:
        if not self._config.allow_discovery:
            return Response("Unauthorized", 401, media_type="text/plain")
        try:
            return JSONResponse(await self._hub.peers(), headers=_NO_STORE)
        except HubUnavailable:
            return JSONResponse([], headers=_NO_STORE)

    async def preflight(self, request: Request) -> Response:
        asked = request.headers.get("access-control-request-headers", "")
        # A page that may send these could claim to be of any host.
        names = [name.strip() for name in asked.split(",")]
        granted = [name for name in names if name and "forwarded" not in name.lower()]
        headers = {
            "Access-Control-Allow-Methods": ",".join(_METHODS),
            "Vary": "Access-Control-Request-Headers",
        }
        if granted:
            headers["Access-Control-Allow-Headers"] = ",".join(granted)
        return Response(status_code=204, headers=headers)

    async def nothing(self, request: Request) -> Response:
        return _problem(404, "not_found", "There is nothing here; see docs/coordinator.md.")

    # --- mailbox -------------------------------------------------------------------------

    async def mailbox(self, request: Request) -> Response:
        if not allowed(request, self._config):
            return _foreign()
        data = await self._json(request)
        if isinstance(data, Response):
            return data
        messages = data.get("messages", [])
        if not isinstance(messages, list):
            return _problem(400, "malformed", "`messages` must be a list.")
        id, token = _text(data.get("id")), _text(data.get("token"))
        if self._hub.gate.reserved(id, token):
            return _mailbox([ID_TAKEN], 2.0)
        messages, told = await self._allowed(request, id, token, messages)
        try:
            reply = await self._hub.mailbox(
                MailboxRequest(
                    id=id,
                    token=token,
                    key=_text(data.get("key")),
                    address=client_address(request),
                    messages=messages,
                    leave=data.get("leave") is True,
                    serial=_serial(data.get("serial")),
                    again=data.get("again") is True,
                )
            )
        except HubUnavailable as error:
            return _problem(503, "unavailable", str(error), **{"Retry-After": "1"})
        return _mailbox([*told, *reply.messages], reply.wait)

    async def _allowed(
        self, request: Request, id: str, token: str, messages: list[Any]
    ) -> tuple[list[Any], list[str]]:
        """What the peer may say, and what it is told about the rest."""
        gate, told = self._hub.gate, []
        if gate.open:
            return messages, []
        allowed = []
        for message in messages:
            announcing = isinstance(message, dict) and message.get("type") == "STREAM-ANNOUNCE"
            name = names(message.get("payload")) if announcing else None
            if name is None or await gate.may(request, id, token, *name):
                allowed.append(message)
            else:
                told.append(refused(message.get("payload")))
        return allowed, told

    # --- REST ----------------------------------------------------------------------------

    async def sources(self, request: Request) -> Response:
        """`GET` lists, `POST` announces, `DELETE` withdraws a source of a content."""
        given = await self._given(request)
        if isinstance(given, Response):
            return given
        payload = {**given, "content": request.path_params["content"]}
        payload["token"] = payload.pop("admission", None)
        type = {"GET": "SOURCES", "POST": "ANNOUNCE", "DELETE": "WITHDRAW"}[request.method]
        return await self._call(request, type, payload, given)

    async def streamers(self, request: Request) -> Response:
        """`GET` lists, `POST` announces, `DELETE` withdraws a streamer of a stream."""
        given = await self._given(request)
        if isinstance(given, Response):
            return given
        role = request.path_params["role"]
        if role not in ROLES:
            return await self.nothing(request)
        gate, stream = self._hub.gate, request.path_params["stream"]
        if request.method == "POST" and not gate.open:
            id, token = _text(given.get("id")), _text(given.get("token"))
            if not await gate.may(request, id, token, stream, role):
                return _problem(403, "streamer", "This peer is none of the site's streamers.")
        # With a request id every one of them is answered with the list.
        payload = {**given, "stream": stream, "role": role, "rid": 0}
        type = {"GET": "STREAMERS", "POST": "STREAM-ANNOUNCE", "DELETE": "STREAM-WITHDRAW"}
        return await self._call(request, type[request.method], payload, given)

    async def _given(self, request: Request) -> dict[str, Any] | Response:
        if not allowed(request, self._config):
            return _foreign()
        if request.path_params["key"] != self._config.peerjs_key:
            return _problem(401, "key", "Invalid key provided")
        if request.method == "POST":
            return await self._json(request)
        given: dict[str, Any] = dict(request.query_params)
        if given.get("limit", "").isdecimal():
            given["limit"] = int(given["limit"][:4])
        if "want" in given:
            try:
                given["want"] = json.loads(given["want"])
            except (ValueError, RecursionError):
                return _problem(400, "malformed", "`want` must be JSON: [[first, count], ...]")
        return given

    async def _call(
        self, request: Request, type: str, payload: dict[str, Any], given: dict[str, Any]
    ) -> Response:
        try:
            answers = await self._hub.call(
                type,
                payload,
                id=_text(given.get("id")),
                token=_text(given.get("token")),
                address=client_address(request),
            )
        except HubUnavailable as error:
            return _problem(503, "unavailable", str(error), **{"Retry-After": "1"})
        peers: list[Any] = []
        for answer in answers:
            said = answer.get("payload", {})
            if answer["type"] == "ERROR":
                return _problem(404, "unknown_peer", said["msg"])
            if answer["type"] == "REFUSED":
                status = 400 if said["reason"] == "malformed" else 403
                return _problem(status, said["reason"], "The announcement was refused.")
            peers = said["peers"]
        return JSONResponse({"peers": peers}, headers=_NO_STORE)

    async def _json(self, request: Request) -> dict[str, Any] | Response:
        """The body as a JSON object whatever its type says: sendBeacon sends text/plain."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._most_bytes:
                return _problem(413, "too_big", f"At most {self._most_bytes} bytes.")
        try:
            data = json.loads(bytes(body))
        except (ValueError, RecursionError):
            return _problem(400, "malformed", "The body must be JSON.")
        if not isinstance(data, dict):
            return _problem(400, "malformed", "The body must be a JSON object.")
        return data


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _serial(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def _mailbox(messages: list[str], wait_s: float) -> Response:
    body = f'{{"messages":[{",".join(messages)}],"wait":{wait_s:g}}}'
    return Response(body, media_type="application/json", headers=_NO_STORE)


def _foreign() -> Response:
    return _problem(
        403,
        "origin",
        "Pages of another site may not use this coordinator. Its owner can name them in "
        "`allowed_origins`.",
    )


def _problem(status: int, code: str, message: str, **headers: str) -> Response:
    """A refusal. `peers` is empty, so that a caller that reads on finds what it expects."""
    body = {"error": code, "message": message, "peers": [], "messages": []}
    return JSONResponse(body, status_code=status, headers={**_NO_STORE, **headers})
