"""A peer in Python: seeds and fetches what a site shares (docs/peer.md)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from p2pcdn.errors import P2PCDNError

if TYPE_CHECKING:
    from p2pcdn.peer.content import Content, ContentStats
    from p2pcdn.peer.peer import Peer, PeerStats

__all__ = ["Content", "ContentStats", "Peer", "PeerError", "PeerStats"]


class PeerError(P2PCDNError):
    """A peer cannot do what it was asked for; the message says why and what to do."""


_HOMES = {
    "Content": "p2pcdn.peer.content",
    "ContentStats": "p2pcdn.peer.content",
    "Peer": "p2pcdn.peer.peer",
    "PeerStats": "p2pcdn.peer.peer",
}


def __getattr__(name: str) -> Any:
    # The codec and the command's help need neither aiortc nor httpx.
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise PeerError(f'a peer needs {error.name}: pip install "p2pcdn[peer]"') from error
