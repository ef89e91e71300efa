"""The coordinator's HTTP part as an OpenAPI document, `GET {coordinator_path}/openapi.json`.

What each thing means is told in docs/coordinator.md; a test holds this to the routes, and
schemathesis the routes to this.
"""

from __future__ import annotations

from typing import Any

from p2pcdn.coordinator.messages import NETWORKS, ROLES

__all__ = ["DOCUMENT"]

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_PATH_TEXT: Json = {"type": "string", "minLength": 1}
_RUNS: Json = {
    "description": "[[first segment, count], ...]",
    "type": "array",
    "items": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "minItems": 2,
        "maxItems": 2,
    },
}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _parameter(name: str, where: str, schema: Json, description: str = "") -> Json:
    made: Json = {"name": name, "in": where, "required": where == "path", "schema": schema}
    if description:
        made["description"] = description
    return made


_KEY = _parameter("key", "path", _PATH_TEXT, "PeerServer's API key, default `peerjs`")
_CONTENT = _parameter("content", "path", _PATH_TEXT, "A content key, 32 lower-case hex digits")
_STREAM = _parameter("stream", "path", _PATH_TEXT, "The stream's name")
_ROLE = _parameter("role", "path", {"type": "string", "enum": list(ROLES)})
_LIMIT = _parameter("limit", "query", {"type": "integer", "minimum": 0})
_WHO = [
    _parameter("id", "query", _TEXT, "The peer's id"),
    _parameter("token", "query", _TEXT, "With which its socket or mailbox was opened"),
]

_PROBLEMS: dict[str, str] = {
    "400": "Malformed",
    "401": "Another API key than the site's",
    "403": "A page of another site, or an admission token that is none",
    "404": "No such peer, or another token than the peer's; or there is nothing here",
    "413": "Too long",
    "503": "The coordinator is being replaced: try again after `Retry-After` seconds",
}


# A path with a line break in it, say, is nobody's: the server says so in its own words.
_NOT_FOUND: Json = {
    "404": {
        "description": _PROBLEMS["404"],
        "content": {**_json(_ref("Problem")), "text/plain": {"schema": _TEXT}},
    }
}


def _answers(good: Json, *problems: int) -> Json:
    answers: Json = {"200": good}
    for status in map(str, problems):
        answers[status] = {"description": _PROBLEMS[status], "content": _json(_ref("Problem"))}
    return {**answers, **_NOT_FOUND}


def _list(*problems: int) -> Json:
    return _answers(
        {"description": "Peers, best first", "content": _json(_ref("Peers"))}, *problems
    )


def _body(schema: Json) -> Json:
    return {"required": True, "content": _json(schema)}


def _streamer(schema: Json) -> Json:
    return {
        "parameters": [_KEY, _STREAM, _ROLE],
        "get": {
            "summary": "List the streamers of a stream",
            "operationId": "listStreamers",
            "parameters": [_LIMIT],
            "responses": _list(401, 403, 503),
        },
        "post": {
            "summary": "Announce a streamer",
            "operationId": "announceStreamer",
            "requestBody": _body(schema),
            "responses": _list(400, 401, 403, 413, 503),
        },
        "delete": {
            "summary": "Withdraw a streamer",
            "operationId": "withdrawStreamer",
            "parameters": _WHO,
            "responses": _list(401, 403, 503),
        },
    }


_PEER: Json = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": _TEXT, "have": _RUNS},
}
_IDENTITY: Json = {
    "id": {**_TEXT, "description": "The peer's id"},
    "token": {**_TEXT, "description": "With which its socket or mailbox was opened"},
}

DOCUMENT: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "p2pcdn coordinator",
        "version": "1",
        "description": "PeerServer's HTTP part, the POST mailbox, and the eight functions.",
    },
    # Relative to this document's own address.
    "servers": [{"url": "."}],
    "paths": {
        "/": {
            "get": {
                "summary": "What this is",
                "operationId": "info",
                "responses": {
                    "200": {"description": "As PeerServer says it", "content": _json(_ref("Info"))}
                },
            }
        },
        "/openapi.json": {
            "get": {
                "summary": "This document",
                "operationId": "document",
                "responses": {
                    "200": {"description": "OpenAPI 3.1", "content": _json({"type": "object"})}
                },
            }
        },
        "/{key}/id": {
            "parameters": [_KEY],
            "get": {
                "summary": "A fresh id; any key",
                "operationId": "freshId",
                "responses": {
                    "200": {
                        "description": "A UUID",
                        "content": {"text/html": {"schema": {"type": "string", "minLength": 36}}},
                    },
                    **_NOT_FOUND,
                },
            },
        },
        "/{key}/peers": {
            "parameters": [_KEY],
            "get": {
                "summary": "The ids of all peers, where `allow_discovery` is set; any key",
                "operationId": "listPeers",
                "responses": {
                    "200": {
                        "description": "Ids",
                        "content": _json({"type": "array", "items": _TEXT}),
                    },
                    "401": {
                        "description": "Discovery is off",
                        "content": {"text/plain": {"schema": _TEXT}},
                    },
                    **_NOT_FOUND,
                },
            },
        },
        "/mailbox": {
            "post": {
                "summary": "Say what is to be said, and get what waits",
                "operationId": "mailbox",
                "requestBody": _body(_ref("MailboxRequest")),
                "responses": _answers(
                    {"description": "What waited", "content": _json(_ref("MailboxReply"))},
                    400,
                    403,
                    413,
                    503,
                ),
            }
        },
        "/{key}/contents/{content}/sources": {
            "parameters": [_KEY, _CONTENT],
            "get": {
                "summary": "List the sources of a content",
                "operationId": "listSources",
                "parameters": [
                    _parameter("id", "query", _TEXT, "Who asks"),
                    _parameter("admission", "query", _TEXT, "The manifest's token, for this id"),
                    _LIMIT,
                    _parameter("want", "query", _TEXT, "Wanted segments as JSON, e.g. [[0,8]]"),
                ],
                "responses": _list(400, 401, 403, 503),
            },
            "post": {
                "summary": "Announce a source",
                "operationId": "announceSource",
                "requestBody": _body(_ref("Announcement")),
                "responses": _list(400, 401, 403, 413, 503),
            },
            "delete": {
                "summary": "Withdraw a source",
                "operationId": "withdrawSource",
                "parameters": _WHO,
                "responses": _list(400, 401, 403, 503),
            },
        },
        "/{key}/streams/{stream}/{role}": _streamer(_ref("Identity")),
    },
    "components": {
        "schemas": {
            "Info": {
                "type": "object",
                "required": ["name", "description", "website"],
                "properties": {"name": _TEXT, "description": _TEXT, "website": _TEXT},
            },
            "Problem": {
                "type": "object",
                "required": ["error", "message", "peers", "messages"],
                "properties": {
                    "error": _TEXT,
                    "message": _TEXT,
                    "peers": {"type": "array", "maxItems": 0},
                    "messages": {"type": "array", "maxItems": 0},
                },
            },
            "Peers": {
                "type": "object",
                "required": ["peers"],
                "properties": {"peers": {"type": "array", "items": _PEER}},
            },
            "Identity": {
                "type": "object",
                "required": ["id", "token"],
                "properties": _IDENTITY,
            },
            "Announcement": {
                "type": "object",
                "required": ["id", "token", "admission", "segments"],
                "properties": {
                    **_IDENTITY,
                    "admission": {**_TEXT, "description": "The manifest's token"},
                    "segments": {"type": "integer", "minimum": 1, "maximum": 4_194_304},
                    "have": {**_RUNS, "description": "New since the last announcement"},
                    "lost": {**_RUNS, "description": "No longer held"},
                    "info": _ref("Upload"),
                },
            },
            "Upload": {
                "type": "object",
                "properties": {
                    "upload": {"type": "boolean"},
                    "busy": {"type": "number", "minimum": 0, "maximum": 1},
                    "network": {
                        **_TEXT,
                        "description": "The kind of network it is on: "
                        + ", ".join(NETWORKS)
                        + " (as which any other word counts)",
                    },
                    "links": {
                        "description": "[[peer, round trip in ms, KiB per second], ...]",
                        "type": "array",
                        "maxItems": 16,
                        "items": {"type": "array", "minItems": 3, "maxItems": 3},
                    },
                },
            },
            "Message": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": _TEXT, "src": _TEXT, "dst": _TEXT, "payload": {}},
            },
            "MailboxRequest": {
                "type": "object",
                "required": ["id", "token", "key"],
                "properties": {
                    **_IDENTITY,
                    "key": {**_TEXT, "description": "PeerServer's API key"},
                    "messages": {"type": "array", "items": _ref("Message")},
                    "serial": {
                        "description": "Counts the requests of a client",
                        "type": "integer",
                        "minimum": 0,
                        "maximum": 9007199254740991,
                    },
                    "again": {"description": "It got no answer before", "type": "boolean"},
                    "leave": {"description": "The session ends", "type": "boolean"},
                },
            },
            "MailboxReply": {
                "type": "object",
                "required": ["messages", "wait"],
                "properties": {
                    "messages": {"type": "array", "items": _ref("Message")},
                    "wait": {"description": "Seconds until it should ask again", "type": "number"},
                },
            },
        }
    },
}
