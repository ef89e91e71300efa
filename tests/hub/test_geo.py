"""With a MaxMind file, viewers get sources of their own provider and country."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from p2pcdn.coordinator import Area
from p2pcdn.hub.geo import Geo
from tests.hub.mmdb import write
from tests.hub.people import Person, make_hub, run

SYSTEMS = {
    "93.184.0.0/16": {"autonomous_system_number": 3320},
    "62.0.0.0/8": {"autonomous_system_number": 3320},
    "80.1.0.0/16": {"autonomous_system_number": 3215},
    "8.8.8.0/24": {"autonomous_system_number": 15169},
}
COUNTRIES = {
    "93.184.0.0/16": {"country": {"iso_code": "DE"}},
    "80.1.0.0/16": {"country": {"iso_code": "DE"}},
    "62.0.0.0/8": {"country": {"iso_code": "AT"}},
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return [
        str(write(tmp_path / "asn.mmdb", SYSTEMS)),
        str(write(tmp_path / "country.mmdb", COUNTRIES)),
    ]


def test_an_address_is_in_a_system_and_a_country(files: list[str]) -> None:
    geo = Geo(files)
    assert geo("93.184.216.34") == Area(3320, "DE")
    assert geo("8.8.8.8") == Area(15169, "")
    for nowhere in ("1.2.3.4", "2001:db8::1", "local", ""):
        assert geo(nowhere) is None


def test_files_that_cannot_be_read_cost_no_visitor_anything(
    files: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = tmp_path / "damaged.mmdb"
    damaged.write_bytes(Path(files[0]).read_bytes()[:100])
    torn = tmp_path / "torn.mmdb"
    whole = Path(files[0]).read_bytes()
    torn.write_bytes(b"\xff" * 60 + whole[60:])
    geo = Geo([str(tmp_path / "missing.mmdb"), str(damaged), str(torn), files[1]])
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            found = geo("93.184.216.34")
            assert found is not None and found.country == "DE"
    assert len(caplog.records) == 2


def test_viewers_are_named_sources_of_their_own_provider_first(
    files: list[str], tmp_path: Path
) -> None:
    async def test() -> None:
        hub = make_hub(tmp_path, elected=False, geo_databases=tuple(files))
        places = {"same": "93.184.1.1", "country": "80.1.2.3", "abroad": "8.8.8.8"}
        for id, address in places.items():
            person = await Person(hub, id).connect(address=address)
            person.announce([[0, 10]])
        # No address of the same /16, so only the files tell.
        orders = []
        for n in range(40):
            asker = await Person(hub, f"asker{n}").connect(address="62.9.9.9")
            orders.append((await asker.sources())[0])
        assert orders.count("same") > 25, orders
        await hub.close()

    run(test)
