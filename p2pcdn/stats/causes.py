"""Why bytes came from the origin rather than from a peer, and what an owner can do about it."""

from __future__ import annotations

__all__ = ["CAUSES", "DIRECT", "TRANSPORTS", "known_transport"]

CAUSES: dict[str, tuple[str, str]] = {
    "first": ("First bytes", "The beginning of a video, so that playback starts at once."),
    "urgent": ("Needed at once", "No peer could have been in time: starts and seeks."),
    "no-peer": ("No peer had it", "Normal for the first visitor and for rarely watched parts."),
    "deadline": ("Peer too slow", "A peer had it, but would have been late for the player."),
    "timeout": ("Peer fell silent", "A peer stopped answering; the origin took over."),
    "busy": ("Peers busy", "Every peer that had it was serving others."),
    "rejected": ("Wrong bytes", "A peer sent bytes whose SHA-256 was wrong: thrown away."),
    "seed": ("Fetched for the swarm", "Bytes that no peer held yet, fetched once for all."),
    "other": ("Other", "A cause that this version does not know by name."),
}
"""Why the loader asked the origin for a segment (`Cause` in js/src/swarm/scheduler.ts)."""

DIRECT: dict[str, tuple[str, str]] = {
    "no-manifest": ("No manifest", "Not hashed yet, or not to be shared: see `p2pcdn doctor`."),
    "insecure": ("Insecure page", "Service workers and WebCrypto need https (or localhost)."),
    "no-worker": ("No service worker", "The browser has none, e.g. in a private window."),
    "no-webrtc": ("No WebRTC", "The browser has no data channels, or they are switched off."),
    "opted-out": ("Visitor opted out", "The visitor's own choice."),
    "privacy-signal": ("Privacy signal", "Global Privacy Control; `relay_only` would serve them."),
    "page-off": ("Page opts out", 'data-p2p="off" on <html>.'),
    "element-off": ("Video opts out", 'data-p2p="off" on the <video>.'),
    "other-origin": ("Other origin", "The video or the loader comes from another site."),
    "outside-scope": ("Outside the scope", "The page is not below the worker's scope."),
    "foreign-worker": (
        "Site's own worker",
        "The site has a service worker that does not import p2pcdn's.",
    ),
    "worker-failed": ("Worker failed", "Is worker.js reachable, and allowed by the CSP?"),
    "worker-slow": ("Worker too slow", "Not in control within `startup_wait`; next page it is."),
    "reload-bypass": ("Forced reload", "The visitor reloaded without any cache or worker."),
    "bypassed": ("Failed once", "Playback failed through p2pcdn and went on without it."),
    "error": ("Error", "A fault of p2pcdn's loader."),
    "other": ("Other", "A reason that this version does not know by name."),
}
"""Why a whole video played straight from the origin (`Why` in js/src/loader/why.ts)."""

TRANSPORTS = ("websocket", "mailbox", "none")


def known_transport(name: object) -> str:
    return name if isinstance(name, str) and name in TRANSPORTS else "none"
