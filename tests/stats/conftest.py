from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stats.support import MakeSite, Site


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """`make_site(**settings)`: another server worker over the same folder."""
    made: list[Site] = []

    def make(folder: Path | None = tmp_path, **settings: Any) -> Site:
        made.append(Site(folder, **settings))
        return made[-1]

    yield make
    for site in made:
        site.recorder.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()
