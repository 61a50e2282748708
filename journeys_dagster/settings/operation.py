"""Sections that say how the platform is run: none of them is a part of `algorithm_version`."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from journeys_dagster.settings.section import Count, Days, Positive, Section, Share

Stratum = Literal["light", "medium", "heavy"]
TimeUnit = Literal["s", "ms", "us", "ns"]
Cron = Annotated[str, Field(pattern=r"^\S+( \S+){4}$")]


class OperationSection(Section):
    """A section that changes no journey of the rows that were ingested."""


class LandingSettings(OperationSection):
    """What is ingested from the landing zone."""

    first_day: date | None = Field(
        None, description="First daily partition (UTC day). Left out: the earliest day in the landing zone."
    )
    max_rejected_share: Share = Field(
        0.05,
        description="Share of a day's rows (or files) of one source that may be rejected before the run is stopped.",
    )
    max_text_length: Count = Field(
        500,
        description="Longest accepted text in characters; a longer id, query or tag rejects its row, a title is cut.",
    )
    future_tolerance_hours: Annotated[float, Field(ge=0, le=87_660)] = Field(
        24.0, description="Hours that occurred_at may lie after the end of the arrival day."
    )
    max_rows_per_user_per_day: Count = Field(
        10_000,
        description="Rows of one user, source and arrival day that are kept, the newest ones; the others are counted "
        "and reported. Days that were ingested before keep what they have until their files change.",
    )
    no_user: list[str] = Field(
        default=[
            *(r"\N", "null", "none", "nil", "nan", "nat", "undefined", "[object object]"),
            *("[object undefined]", "[object null]", "(not set)", "(null)", "<null>", "(none)", "<none>"),
            *("na", "n/a", "#n/a", "n.a.", "<na>", "#null!", "#ref!", "#value!"),
            *("#name?", "-", "--", "?", "''", "(empty)", "(blank)", "(not provided)"),
            *("not set", "not_set", "__hive_default_partition__", "00000000-0000-0000-0000-000000000000"),
            *("{00000000-0000-0000-0000-000000000000}", "ffffffff-ffff-ffff-ffff-ffffffffffff", "0", "-1"),
            *("anonymous", "anon", "guest", "unknown"),
        ],
        description="What stands where nobody is known, whatever its capitals: such a user id rejects its row, and "
        "with 0 so do several zeros. Those that are no number are no id of anything else either.",
    )
    days_per_batch: Count = Field(32, description="Landing days read and written in one transaction.")


class SourceFiles(OperationSection):
    """How the files of one source are written."""

    columns: dict[str, str] = Field(default={}, description="What the files call a column.")
    time_unit: TimeUnit | None = Field(
        None, description="What times that are numbers count since 1970. Left out: such times are rejected."
    )


class SourcesSettings(OperationSection):
    """How the files of a source are written where that is not as its contract says, by the name of the source."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, SourceFiles] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def by_name(self) -> Mapping[str, SourceFiles]:
        """Of each source that is named."""
        return self.__pydantic_extra__


class RetentionSettings(OperationSection):
    """Which snapshots are kept. Each user's newest is, in any case, and what feedback is about."""

    keep_days: Days = Field(400, description="Days before the newest inferred day of which every snapshot is kept.")
    keep_month_ends: bool = Field(True, description="Whether the last inferred day of each older month is kept whole.")
    rewrite_above_free_share: Share = Field(
        0.25,
        description="Share of free space in the warehouse file above which pruning rewrites the file; 1: never.",
    )
    cron: Cron = Field(
        "0 3 * * 0",
        description="When the asset retention prunes, as a cron schedule in UTC, once automation is turned on.",
    )


class JudgeSettings(OperationSection):
    """Whose lists are judged, and when a judge's metrics are withheld."""

    top: Count = Field(5, description="Journeys of a list that are judged, from the first.")
    sample_shares: dict[Stratum, Share] = Field(
        default={"light": 0.1, "medium": 0.2, "heavy": 0.3},
        description="Share of the users in scope who are judged, by how active they are.",
    )
    medium_events: Count = Field(10, description="Events of four weeks from which a user is medium.")
    heavy_events: Count = Field(50, description="Events of four weeks from which a user is heavy.")
    floor: Share = Field(
        0.2, description="Quadratic weighted kappa with human labels below which the metrics are withheld."
    )
    min_graded: Count = Field(30, description="Judged journeys with human labels below which kappa says too little.")


class QualityCheck(Section):
    """When a metric of the quality watch is an alarm, and how grave it is."""

    tolerance: Annotated[float, Field(ge=0, le=1_000)]
    deviations: Annotated[float, Field(gt=0, le=1_000)]
    severity: Literal["warn", "error"]


def _check(tolerance: float, deviations: float, severity: Literal["warn", "error"]) -> QualityCheck:
    return QualityCheck(tolerance=tolerance, deviations=deviations, severity=severity)


class QualitySettings(OperationSection):
    """When a day is unusual: it differs by more than `tolerance` and by more than `deviations` usual deviations."""

    trailing_days: Days = Field(56, description="Days before a day from which its values are expected.")
    min_history_days: Annotated[int, Field(ge=3, le=3_650)] = Field(
        21, description="Days with a value among them below which nothing is expected, and nothing is an alarm."
    )
    min_observations: Count = Field(
        10,
        description="Observations (rows, users, …) behind a value below which it is not checked; a volume always is.",
    )
    closed_days: list[date] = Field(
        default=[], description="Days on which no rows are ordinary, such as holidays; left out of what is expected."
    )
    volume: QualityCheck = Field(
        _check(0.5, 4.0, "error"), description="Rows of a source, as a factor; no rows on a usual day are an alarm too."
    )
    rows_per_user: QualityCheck = Field(_check(0.3, 3.5, "warn"), description="Rows per user of a source, as a factor.")
    duplicate_share: QualityCheck = Field(
        _check(0.1, 3.5, "warn"), description="Share of a source's rows that are exact duplicates or arrived before."
    )
    rejected_share: QualityCheck = Field(
        _check(0.01, 3.5, "warn"), description="Share of a source's rows, or files, that were rejected."
    )
    same_day_share: QualityCheck = Field(
        _check(0.15, 3.5, "warn"), description="Share of a source's rows that happened on the day they arrived."
    )
    hour_drift: QualityCheck = Field(
        _check(0.25, 4.0, "warn"), description="Drift (PSI) of a source's active users by hour of the day."
    )
    silent_hours: QualityCheck = Field(
        _check(0.2, 4.0, "warn"), description="Share of a usual day's users of a source in the hours without any."
    )
    text_surprise: QualityCheck = Field(
        _check(0.1, 4.0, "warn"), description="Bits per character by the letter pairs of earlier texts, as a factor."
    )
    text_length: QualityCheck = Field(
        _check(0.3, 3.5, "warn"), description="Mean length of a source's texts, as a factor."
    )
    no_journey_share: QualityCheck = Field(
        _check(0.05, 3.5, "error"), description="Share of users in scope with no journey."
    )
    journeys_per_user: QualityCheck = Field(
        _check(0.2, 3.5, "warn"), description="Journeys listed per user in scope, as a factor."
    )
    keyword_growth: QualityCheck = Field(
        _check(0.2, 3.5, "warn"),
        description="Keywords of a user over those in the snapshot before, median, as a factor.",
    )
    unnamed_share: QualityCheck = Field(
        _check(0.05, 3.5, "warn"), description="Share of journeys without a name of their own."
    )
    confidence_drift: QualityCheck = Field(
        _check(0.25, 3.5, "warn"), description="Drift (PSI) of the confidence of journeys."
    )
    score_drift: QualityCheck = Field(_check(0.25, 3.5, "warn"), description="Drift (PSI) of the score of journeys.")
    stage_drift: QualityCheck = Field(_check(0.25, 3.5, "warn"), description="Drift (PSI) of the stages of journeys.")
    embedding_coverage: QualityCheck = Field(
        _check(0.005, 3.5, "error"), description="Share of clustered keywords that have a vector."
    )


class RunSettings(OperationSection):
    """How runs use the machine. None of these changes a result."""

    users_per_batch: Count = Field(20_000, description="Users held in memory at once by a step, and users of a shard.")
    users_per_query: Count = Field(
        50_000,
        description="Users whose rows one query computes, in multiples of users_per_batch; more are faster and need "
        "a higher warehouse_memory_limit.",
    )
    keywords_per_batch: Count = Field(16_384, description="Keywords embedded and written at once, or of a shard.")
    engine: Literal["local", "ray"] = Field(
        "local",
        description="What computes the heavy steps: local, this process; ray, a Ray cluster. The tables are the same.",
    )
    shards: Annotated[int, Field(ge=1, le=999)] = Field(
        1,
        description="Parts that users are split into, each a DuckDB file and, while a run goes on, a worker's; 1: one "
        "file, and no worker. `journeys reshard` moves users to another number.",
    )
    workers: Annotated[int, Field(ge=1, le=999)] = Field(
        1, description="Processes that work on shards at a time, each with its own warehouse_memory_limit."
    )
    lock_timeout_seconds: Positive = Field(
        600.0, description="Seconds to wait for the warehouse while another process uses it."
    )
    query_limit_hours: Annotated[float, Field(gt=0, le=1_000)] = Field(
        4.0,
        description="Hours that a transaction on the warehouse, or a query outside of one, may take before it is "
        "interrupted.",
    )
    warehouse_memory_limit: str = Field(
        "2GB",
        pattern=r"^\d+(\.\d+)?\s?[KMGT]i?B$",
        description="DuckDB's memory limit; above it, it spills to disk.",
    )
    warehouse_threads: Annotated[int, Field(ge=0, le=1024)] = Field(0, description="DuckDB's threads; 0: one per core.")


class RaySettings(OperationSection):
    """The cluster of run.engine ray. None of these changes a result."""

    address: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="The cluster, such as 10.0.0.5:6379. Left out: RAY_ADDRESS of the environment, else a cluster of "
        "this machine, started for the run.",
    )
    storage: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Folder or fsspec URL, such as s3://bucket/shards, that all workers reach, for this installation "
        "alone: what killed runs left there is removed. Left out: the folder shards of the home.",
    )
    cpus_per_shard: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="CPUs of a worker that one shard has, and threads it computes with."
    )


class AutomationSettings(OperationSection):
    """When sensors and schedules run, once they are turned on, UTC. None of these changes a result."""

    daily_cron: Cron = Field("0 6 * * *", description="When days that are still missing are requested again.")
    training_cron: Cron = Field("0 4 * * 1", description="When the models are trained.")
    freshness_cron: Cron = Field(
        "0 9 * * *", description="When the newest day must have been inferred; else a check fails."
    )
    freshness_hours: Annotated[float, Field(ge=0.1, le=744)] = Field(
        9.0, description="Hours before that within which the newest inferred day must have ended."
    )


class AlertSettings(OperationSection):
    """Where failed runs, and failed checks of runs that succeed, are reported."""

    webhook_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        "JOURNEYS_WEBHOOK",
        description="Environment variable that holds the URL to post to, a secret; without it nothing is posted.",
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] = Field(
        5.0, description="Seconds to wait for an answer; 40 over all attempts."
    )
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        3, description="Further attempts after no answer, a server's error or too many requests."
    )


class ServingSettings(OperationSection):
    """What others are shown of the journeys. None of these changes a result."""

    publish: bool = Field(
        True, description="Whether each run publishes current lists for others to look up while runs go on."
    )
    store: Literal["folder", "redis"] = Field(
        "folder",
        description="Where to: folder, the key-value store `published` of the home; redis, a Redis or Valkey server.",
    )
    redis_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        "JOURNEYS_REDIS", description="Environment variable that holds the server's URL, a secret."
    )
    redis_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")] = Field(
        "journeys", description="What its keys begin with; another one for each home that shares the server."
    )
    sensitive_to_models: bool = Field(
        False, description="Whether `journeys mcp` gives language models sensitive journeys (may_notify is false) too."
    )
