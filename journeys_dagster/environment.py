"""Where things are: the project's own files, the home, the settings file. Imports nothing that takes time."""

import os
from pathlib import Path

SETTINGS_VARIABLE = "JOURNEYS_SETTINGS"
HOME_VARIABLE = "JOURNEYS_HOME"
PROJECT_ROOT = Path(__file__).resolve().parents[1]
_SETTINGS_FILE = "journeys.toml"


def home_path() -> Path:
    """Folder of all state: ``$JOURNEYS_HOME``, default ``.journeys`` in the working folder."""
    return Path(os.environ.get(HOME_VARIABLE) or ".journeys").resolve()


def settings_path() -> Path:
    """``$JOURNEYS_SETTINGS``, else ``journeys.toml`` in the working folder, else the project's own."""
    if named := os.environ.get(SETTINGS_VARIABLE):
        return Path(named)
    local = Path(_SETTINGS_FILE)
    return local if local.exists() else PROJECT_ROOT / _SETTINGS_FILE
