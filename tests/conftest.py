"""What many tests share: a home of their own, and the real data where it is present."""

import os
from pathlib import Path

import pytest

from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings

DATA_VARIABLE = "JOURNEYS_DATA"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home folder."""
    return Home(tmp_path / "home")


@pytest.fixture
def warehouse(home: Home) -> Warehouse:
    """The warehouse of an empty home; the file does not exist yet."""
    return home.warehouse(Settings())


@pytest.fixture(scope="session")
def data_path() -> Path:
    """Folder of the real data; tests that need it are skipped without."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"{DATA_VARIABLE} names no folder with the real data")
    return Path(folder)
