"""Whose network an address is in, from MaxMind files (`.mmdb`, extra `geo`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from p2pcdn.coordinator.ranking import Area

__all__ = ["Geo"]

log = logging.getLogger("p2pcdn.coordinator")


class Geo:
    """Looks addresses up; opens its files at the first one, in the process that needs them.

    A file that is missing or broken costs nothing but its answers: it is logged once.

    Args:
        files: GeoLite2 or GeoIP2 databases of autonomous systems, countries or cities.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._readers: list[Any] | None = None

    def __call__(self, address: str) -> Area | None:
        """Autonomous system and country of an address; None where neither is known."""
        if self._readers is None:
            self._readers = self._open()
        number, country = 0, ""
        for reader in self._readers:
            try:
                found = reader.get(address)
            except Exception:  # no address; IPv6 in a file of IPv4; a damaged record
                continue
            if isinstance(found, dict):
                asn, place = found.get("autonomous_system_number"), found.get("country")
                code = place.get("iso_code") if isinstance(place, dict) else None
                number = asn if type(asn) is int else number
                country = code if isinstance(code, str) else country
        return Area(number, country) if number or country else None

    def _open(self) -> list[Any]:
        if not self._files:
            return []
        try:
            import maxminddb
        except ImportError:
            log.error("geo_databases needs the package maxminddb: pip install p2pcdn[geo]")
            return []
        readers = []
        for file in self._files:
            try:
                readers.append(maxminddb.open_database(file))
            except (OSError, ValueError, RuntimeError) as error:
                # InvalidDatabaseError is a RuntimeError.
                log.error("%s of geo_databases cannot be read: %s", file, error)
        return readers
