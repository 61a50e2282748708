"""Experiments on users, `experiments.toml`, as typed objects: none of it is a part of `algorithm_version`."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from journeys_dagster.environment import home_path
from journeys_dagster.errors import ExpectedError
from journeys_dagster.settings.notification import NotificationSettings
from journeys_dagster.settings.operation import OperationSection
from journeys_dagster.settings.section import Count, Days, Section, Share

EXPERIMENTS_FILE = "experiments.toml"
SAME_IN_ALL_ARMS = frozenset(
    {"enabled", "salt", "holdout_share", "clock_days", "feedback_days", "fatigue_half_life_days"}
)
"""Settings of `[notifications]` that say who takes part and what is read of everyone."""
NOT_OF_AN_ARM = {
    "ranking": "journeys are ranked once, before arms are known",
    "naming": "journeys are named once, before arms are known",
}
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _,.-]{0,39}$")]
Metric = Literal[
    "opens_per_send",
    "clicks_per_send",
    "returns_per_send",
    "opens_per_user",
    "clicks_per_user",
    "sends_per_user",
    "active_days",
    "opt_outs",
]
_NONE_IF_ZERO = "max_per_day"
_ROUNDING = 1e-9


class ExperimentsError(ExpectedError, ValueError, carries_user_text=False):
    """A file of experiments that cannot be used; the message names the file, the experiment and the key."""


class ExperimentsSettings(OperationSection):
    """Experiments on users: who is decided on by which settings. A file of their own declares them."""

    file: str = Field(
        "", description="File that declares experiments; empty: experiments.toml in the home, where there is one."
    )
    _declared: "tuple[Experiment, ...]" = PrivateAttr(default=())

    @property
    def declared(self) -> "Sequence[Experiment]":
        """What the file declares, in its order."""
        return self._declared

    def with_declared(self, experiments: "Iterable[Experiment]") -> Self:
        """The same with other experiments."""
        changed = self.model_copy()
        changed._declared = tuple(experiments)
        return changed


class Arm(Section):
    """How a share of the users is decided on."""

    share: Share
    sends: bool = True
    notifications: dict[str, Any] = Field(default_factory=dict)


class Experiment(Section):
    """Arms that users are split into by chance, and what is compared between them."""

    name: Name
    question: str = ""
    start: date
    end: date | None = None
    arms: dict[ArmName, Arm] = Field(min_length=2, max_length=20)
    control: ArmName
    metrics: list[Metric] = Field(min_length=1)
    guardrails: dict[Metric, Annotated[float, Field(ge=0, le=10)]] = Field(default_factory=dict)
    minimum_days: Days
    minimum_users: Annotated[Count, Field(ge=100)] = 1_000
    before_days: Days = 28
    return_days: Days = 7
    correction: Literal["holm", "benjamini-hochberg"] = "holm"

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.control not in self.arms:
            raise ValueError(f"control: there is no arm {self.control!r}")
        if (shares := sum(arm.share for arm in self.arms.values())) > 1 + _ROUNDING:
            raise ValueError(f"arms: their shares add up to {shares:g}, which is more than 1")
        if empty := [name for name, arm in self.arms.items() if not arm.share]:
            raise ValueError(f"arms: nobody is in {', '.join(map(repr, empty))}: share is 0")
        if self.end is not None and (self.end - self.start).days + 1 < self.minimum_days:
            raise ValueError(f"end: {self.end} is before the minimum run of {self.minimum_days} days is over")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics: one is there twice")
        if both := sorted(set(self.metrics) & set(self.guardrails)):
            raise ValueError(f"guardrails: {', '.join(both)} is among the metrics too")
        return self

    @property
    def compared(self) -> Sequence[str]:
        """The arms besides the control."""
        return [name for name in self.arms if name != self.control]

    @property
    def overrides(self) -> set[str]:
        """Settings that an arm changes."""
        changed = {key for arm in self.arms.values() for key in arm.notifications}
        return changed | ({_NONE_IF_ZERO} if any(not arm.sends for arm in self.arms.values()) else set())

    def runs_on(self, day: date) -> bool:
        """Whether users are decided on by arm on a day."""
        return self.start <= day and (self.end is None or day <= self.end)


def settings_of_arms(base: NotificationSettings, arms: Iterable[Arm]) -> NotificationSettings:
    """Settings of users who are in several arms at once, of different experiments.

    Raises
    ------
    ValidationError
        A setting is unknown, or its value has the wrong type or range.
    """
    changed: dict[str, Any] = base.model_dump()
    for arm in arms:
        changed = _merged(changed, arm.notifications)
        if not arm.sends:
            changed[_NONE_IF_ZERO] = 0
    return NotificationSettings.model_validate(changed)


def load_experiments(
    settings: ExperimentsSettings, base: NotificationSettings, *, home: Path | None = None
) -> ExperimentsSettings:
    """Read the file of experiments, where there is one: the named one, or that of the home.

    Raises
    ------
    ExperimentsError
        The file is missing or no TOML, or an experiment cannot be had. Every fault of an experiment is named.
    """
    path = Path(settings.file) if settings.file else (home or home_path()) / EXPERIMENTS_FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if not settings.file:
            return settings
        raise ExperimentsError(f"experiments file {path} does not exist: see setting 'experiments.file'") from None
    except OSError as error:
        raise ExperimentsError(f"experiments file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentsError(f"experiments file {path} is not valid TOML: {error}") from None
    return settings.with_declared(experiments_of(document, base, place=f"experiments file {path}"))


def experiments_of(document: Mapping[str, Any], base: NotificationSettings, *, place: str) -> Sequence[Experiment]:
    """Experiments of tables as the file has them, by name.

    Parameters
    ----------
    base : NotificationSettings
        What arms change.
    place : str
        Where they stand, for the message.

    Raises
    ------
    ExperimentsError
        One cannot be had, or two that run at once change the same setting.
    """
    found = [_experiment(name, table, base, place) for name, table in document.items()]
    for one, other in combinations(found, 2):
        meet = one.runs_on(max(one.start, other.start)) and other.runs_on(max(one.start, other.start))
        if meet and (same := sorted(one.overrides & other.overrides)):
            raise ExperimentsError(
                f"{place}: experiments {one.name!r} and {other.name!r} run at once and both change {', '.join(same)}: "
                "give one an end before the other's start, or make them arms of one experiment"
            )
    return found


def _experiment(name: str, table: object, base: NotificationSettings, place: str) -> Experiment:
    where = f"{place}: experiment {name!r}"
    if not isinstance(table, Mapping):
        raise ExperimentsError(f"{where} is no table: write [{name}] above its keys")
    if "name" in table:
        raise ExperimentsError(f"{where}: unknown key 'name'")
    arms = table.get("arms")
    for arm, keys in (arms if isinstance(arms, Mapping) else {}).items():
        for section in NOT_OF_AN_ARM.keys() & (keys if isinstance(keys, Mapping) else {}):
            raise ExperimentsError(
                f"{where}: 'arms.{arm}.{section}': arms change [notifications] alone; {NOT_OF_AN_ARM[section]}"
            )
    try:
        experiment = Experiment.model_validate({"name": name, **table})
    except ValidationError as error:
        raise ExperimentsError(f"{where}: {_faults(error)}") from None
    for arm_name, arm in experiment.arms.items():
        here = f"arms.{arm_name}.notifications."
        if fixed := sorted(SAME_IN_ALL_ARMS & arm.notifications.keys()):
            raise ExperimentsError(f"{where}: '{here}{fixed[0]}': it has to be the same for everyone")
        try:
            settings_of_arms(base, [arm])
        except ValidationError as error:
            raise ExperimentsError(f"{where}: {_faults(error, here)}") from None
    return experiment


def _merged(base: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Tables within tables, such as those of channels, are changed key by key."""
    merged = dict(base)
    for key, value in changed.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _faults(error: ValidationError, where: str = "") -> str:
    faults = []
    for fault in error.errors():
        key = where + ".".join(str(part) for part in fault["loc"])
        unknown = fault["type"] == "extra_forbidden"
        said = fault["msg"].removeprefix("Value error, ")
        faults.append(f"unknown key {key!r}" if unknown else f"{key!r}: {said}" if key else said)
    return "; ".join(faults)
