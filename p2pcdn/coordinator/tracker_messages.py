"""Reading and writing the WebTorrent tracker's messages.

Whatever a client sends becomes one of the values below; nothing here raises.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from p2pcdn.coordinator import messages as m
from p2pcdn.coordinator.limits import Limits

__all__ = ["Announce", "Problem", "Scrape", "failure", "read"]

_ID = re.compile("[\x00-\xff]{20}")
_MOST_OFFER_ID = 128
_OFFER_COST = 0.25
_HASH_COST = 0.25


@dataclass(frozen=True, slots=True)
class Announce:
    """`announce`: here I am, with offers for others or an answer to one of them."""

    info_hash: str
    peer_id: str
    event: str
    left: float
    """Bytes that are missing; infinite where it does not say."""
    offers: list[tuple[dict[str, Any], str]]
    answer: dict[str, Any] | None
    to_peer_id: str
    offer_id: str

    @property
    def cost(self) -> float:
        """What it takes of the sender's rate."""
        return 1.0 + _OFFER_COST * len(self.offers)

    def only(self, offers: list[tuple[dict[str, Any], str]]) -> Announce:
        """The same with some of its offers."""
        return replace(self, offers=offers)


@dataclass(frozen=True, slots=True)
class Scrape:
    """`scrape`: how many are there?"""

    info_hashes: list[str]

    @property
    def cost(self) -> float:
        """What it takes of the sender's rate."""
        return 1.0 + _HASH_COST * len(self.info_hashes)


@dataclass(frozen=True, slots=True)
class Problem:
    """A message that cannot be understood; its sender is told why."""

    reason: str
    action: str = "announce"
    info_hash: str | None = None

    @property
    def cost(self) -> float:
        """What it takes of the sender's rate."""
        return 1.0


def failure(reason: str, *, action: str = "announce", info_hash: str | None = None) -> str:
    """The answer to a request that failed. It always names an action: to one that does not,
    clients close their socket."""
    message = {"action": action, "failure reason": reason}
    if info_hash is not None:
        message["info_hash"] = info_hash
    text = m.encode(message)
    assert text is not None
    return text


def read(text: str, limits: Limits) -> Announce | Scrape | Problem:
    """What a frame says."""
    message = m.parse(text)
    if message is None:
        return Problem("a message is a JSON object")
    action = message.get("action")
    if action == "announce":
        return _announce(message, limits)
    if action == "scrape":
        return _scrape(message, limits)
    return Problem("`action` is announce or scrape")


def _announce(message: dict[str, Any], limits: Limits) -> Announce | Problem:
    info_hash, peer_id = message.get("info_hash"), message.get("peer_id")
    if not _is_id(info_hash):
        return Problem("invalid info_hash: 20 characters of one byte each")
    if not _is_id(peer_id):
        return Problem("invalid peer_id: 20 characters of one byte each", info_hash=info_hash)
    answer = message.get("answer")
    answer = answer if isinstance(answer, dict) else None
    to, offer_id = "", ""
    if answer is not None:
        to, offer_id = message.get("to_peer_id", ""), message.get("offer_id", "")
        if not _is_id(to) or not _is_offer_id(offer_id):
            return Problem(
                "invalid to_peer_id or offer_id (required with `answer`)", info_hash=info_hash
            )
    given = message.get("offers")
    offers = []
    if isinstance(given, list) and answer is None:
        for item in given[: limits.tracker_offers]:
            if (
                isinstance(item, dict)
                and isinstance(item.get("offer"), dict)
                and _is_offer_id(item.get("offer_id"))
            ):
                offers.append((item["offer"], item["offer_id"]))
    wanted = message.get("numwant")
    if type(wanted) is int and wanted >= 0:
        offers = offers[:wanted]
    event = message.get("event")
    left = message.get("left")
    return Announce(
        info_hash,
        peer_id,
        event if isinstance(event, str) else "",
        0.0 if type(left) in (int, float) and left == 0 else math.inf,
        offers,
        answer,
        to,
        offer_id,
    )


def _scrape(message: dict[str, Any], limits: Limits) -> Scrape | Problem:
    wanted = message.get("info_hash")
    hashes: list[Any] = wanted if isinstance(wanted, list) else [wanted]
    # All that there are, as the reference answers to none, is nobody's business.
    if not hashes or len(hashes) > limits.scraped or not all(map(_is_id, hashes)):
        return Problem(
            f"invalid info_hash: name 1 to {limits.scraped} of 20 characters each",
            action="scrape",
        )
    return Scrape(hashes)


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_offer_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _MOST_OFFER_ID
