"""The settings file, `journeys.toml`, as typed objects.

Every setting has its default, unit and effect here; `journeys.toml` repeats them for people. Plain values only:
what is done with a setting belongs to the step it governs.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from journeys_dagster.environment import settings_path
from journeys_dagster.errors import ExpectedError
from journeys_dagster.settings.algorithm import (
    ClusterSettings,
    DiversificationSettings,
    EmbeddingSettings,
    ExpansionSettings,
    KeywordSettings,
    NamingSettings,
    OutputSettings,
    RankingSettings,
    SafetySettings,
    SourceName,
    StageSettings,
)
from journeys_dagster.settings.experiments import (
    Arm,
    Experiment,
    ExperimentsError,
    ExperimentsSettings,
    load_experiments,
    settings_of_arms,
)
from journeys_dagster.settings.language_model import LLMSettings
from journeys_dagster.settings.notification import ChannelSettings, NotificationSettings
from journeys_dagster.settings.operation import (
    AlertSettings,
    AutomationSettings,
    JudgeSettings,
    LandingSettings,
    OperationSection,
    QualityCheck,
    QualitySettings,
    RaySettings,
    RetentionSettings,
    RunSettings,
    ServingSettings,
    SourceFiles,
    SourcesSettings,
    TimeUnit,
)
from journeys_dagster.settings.section import Section

__all__ = [
    "AlertSettings",
    "Arm",
    "AutomationSettings",
    "ChannelSettings",
    "ClusterSettings",
    "DiversificationSettings",
    "EmbeddingSettings",
    "ExpansionSettings",
    "Experiment",
    "ExperimentsError",
    "ExperimentsSettings",
    "JudgeSettings",
    "KeywordSettings",
    "LLMSettings",
    "LandingSettings",
    "NamingSettings",
    "NotificationSettings",
    "OutputSettings",
    "QualityCheck",
    "QualitySettings",
    "RankingSettings",
    "RaySettings",
    "RetentionSettings",
    "RunSettings",
    "SafetySettings",
    "ServingSettings",
    "Settings",
    "SettingsError",
    "SourceFiles",
    "SourceName",
    "SourcesSettings",
    "StageSettings",
    "TimeUnit",
    "load_settings",
    "settings_of",
    "settings_of_arms",
    "with_experiments",
]


class SettingsError(ExpectedError, ValueError, carries_user_text=False):
    """A settings file that cannot be used; the message names the file and the setting."""


class Settings(Section):
    """All of `journeys.toml`."""

    landing: LandingSettings = LandingSettings()  # type: ignore[call-arg]
    sources: SourcesSettings = SourcesSettings()
    keywords: KeywordSettings = KeywordSettings()  # type: ignore[call-arg]
    embedding: EmbeddingSettings = EmbeddingSettings()  # type: ignore[call-arg]
    clusters: ClusterSettings = ClusterSettings()  # type: ignore[call-arg]
    ranking: RankingSettings = RankingSettings()  # type: ignore[call-arg]
    diversification: DiversificationSettings = DiversificationSettings()  # type: ignore[call-arg]
    stages: StageSettings = StageSettings()  # type: ignore[call-arg]
    naming: NamingSettings = NamingSettings()  # type: ignore[call-arg]
    safety: SafetySettings = SafetySettings()  # type: ignore[call-arg]
    expansions: ExpansionSettings = ExpansionSettings()  # type: ignore[call-arg]
    output: OutputSettings = OutputSettings()  # type: ignore[call-arg]
    llm: LLMSettings = LLMSettings()  # type: ignore[call-arg]
    notifications: NotificationSettings = NotificationSettings()  # type: ignore[call-arg]
    experiments: ExperimentsSettings = ExperimentsSettings()  # type: ignore[call-arg]
    retention: RetentionSettings = RetentionSettings()  # type: ignore[call-arg]
    judge: JudgeSettings = JudgeSettings()  # type: ignore[call-arg]
    quality: QualitySettings = QualitySettings()  # type: ignore[call-arg]
    run: RunSettings = RunSettings()  # type: ignore[call-arg]
    ray: RaySettings = RaySettings()  # type: ignore[call-arg]
    automation: AutomationSettings = AutomationSettings()  # type: ignore[call-arg]
    alerts: AlertSettings = AlertSettings()  # type: ignore[call-arg]
    serving: ServingSettings = ServingSettings()  # type: ignore[call-arg]

    def algorithm(self) -> dict[str, Any]:
        """The sections that decide what comes out, as JSON has them."""
        operation = {name for name in type(self).model_fields if isinstance(getattr(self, name), OperationSection)}
        return self.model_dump(mode="json", exclude=operation)


def load_settings(path: Path | None = None, *, home: Path | None = None) -> Settings:
    """Read the settings file once, and the file of experiments that goes with it.

    Parameters
    ----------
    path : Path, optional
        The file. Default: that of `settings_path`.
    home : Path, optional
        The home that may hold experiments. Default: that of `home_path`.

    Raises
    ------
    SettingsError
        The file is missing, unreadable or no TOML, a key is unknown, or a value has the wrong type or range. Every
        fault is named.
    ExperimentsError
        So with the file of experiments.
    """
    path = path or settings_path()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"settings file {path} does not exist") from None
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not valid TOML: {error}") from None
    return with_experiments(settings_of(document, place=f"settings file {path}"), home=home)


def with_experiments(settings: Settings, *, home: Path | None = None) -> Settings:
    """Settings with what the file of experiments declares, as `load_settings` gives them."""
    experiments = load_experiments(settings.experiments, settings.notifications, home=home)
    return settings.model_copy(update={"experiments": experiments})


def settings_of(sections: Mapping[str, Any], *, place: str, dates_as_text: bool = False) -> Settings:
    """Settings of sections as a settings file has them; what is left out has its default.

    Parameters
    ----------
    place : str
        Where they stand, for the message.
    dates_as_text : bool
        Whether the sections are of a language that has no dates, as JSON, and as Dagster reads YAML.

    Raises
    ------
    SettingsError
        A key is unknown, or a value has the wrong type or range. Every fault is named.
    """
    try:
        if dates_as_text:
            return Settings.model_validate_json(json.dumps(sections))
        return Settings.model_validate(sections)
    except ValidationError as error:
        faults = "; ".join(_fault(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors())
        raise SettingsError(f"{place}: {faults}") from None


def _fault(location: tuple[int | str, ...], kind: str, message: str) -> str:
    setting = ".".join(str(part) for part in location)
    return f"unknown setting {setting!r}" if kind == "extra_forbidden" else f"setting {setting!r}: {message}"
