"""Why bytes came from the origin rather than from a peer, and what an owner can do about it."""

from __future__ import annotations

__all__ = ["CAUSES", "TRANSPORTS", "known_cause", "known_transport"]

CAUSES: dict[str, tuple[str, str]] = {
    "no-peer": ("No peer had it", "Normal for the first visitor and for rarely watched parts."),
    "urgent": (
        "Needed at once",
        "The player needed the bytes before a peer could have sent them: starts and seeks.",
    ),
    "first": ("First bytes of the video", "Taken from the origin so that playback starts fast."),
    "deadline": ("Peer too slow", "A peer had it, but would have been late for the player."),
    "timeout": ("Peer fell silent", "A peer stopped answering; the origin took over."),
    "closed": ("Peer left", "The peer closed its page mid-segment."),
    "busy": ("Peers busy", "Every peer that had it was serving others."),
    "rejected": (
        "Wrong bytes",
        "A peer sent bytes whose SHA-256 was wrong: thrown away.",
    ),
    "seed": ("Fetched for others", "Bytes that no peer held yet, fetched once for the swarm."),
    "no-webrtc": ("No WebRTC", "The browser has no data channels, or they are switched off."),
    "no-link": ("No connection", "Peers could not reach each other: a TURN server would help."),
    "pending": ("Still being hashed", "The manifest was not ready; the video played direct."),
    "no-coordinator": ("Coordinator away", "The loader could not reach the coordinator."),
    "save-data": ("Visitor saves data", "Save-Data, a cellular network or an opt-out."),
    "other": ("Other", "A cause that this version does not know by name."),
}
"""Every cause by the name that the loader reports: (short label, explanation)."""

TRANSPORTS = ("websocket", "mailbox", "none")


def known_cause(name: str) -> str:
    """`name`, or `other`: clients must not be able to fill the store with names."""
    return name if name in CAUSES else "other"


def known_transport(name: object) -> str:
    return name if isinstance(name, str) and name in TRANSPORTS else "none"
