"""Where things are: the packages, the home, the settings file. Imports nothing that takes time."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

SETTINGS_VARIABLE = "JOURNEYS_SETTINGS"
HOME_VARIABLE = "JOURNEYS_HOME"
PROJECT_ROOT = Path(__file__).resolve().parents[1]
"""Folder that holds the packages: a clone, or where a wheel was installed."""
_SETTINGS_FILE = "journeys.toml"
DEFAULT_SETTINGS = PROJECT_ROOT / "journeys_dagster" / "settings" / _SETTINGS_FILE
"""Every setting with its default, explained; what is read where there is no other file."""


def home_path() -> Path:
    """Folder of all state: ``$JOURNEYS_HOME``, default ``.journeys`` in the working folder."""
    return Path(os.environ.get(HOME_VARIABLE) or ".journeys").resolve()


def settings_path() -> Path:
    """``$JOURNEYS_SETTINGS``, else ``journeys.toml`` in the working folder, else the defaults."""
    if named := os.environ.get(SETTINGS_VARIABLE):
        return Path(named)
    local = Path(_SETTINGS_FILE)
    return local if local.exists() else DEFAULT_SETTINGS


def what_is_missing(extra: str, needed: Iterable[str]) -> str:
    """Modules of an extra that are not installed, and how to install them; empty where all are there."""
    missing = [name for name in needed if find_spec(name) is None]
    return f"{', '.join(missing)}: pip install 'journeys_dagster[{extra}]'" if missing else ""
