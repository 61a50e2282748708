"""The sources a landing zone may hold, declared. Adding a source is adding one `Source` here.

What a declaration says is used by the reader (which rows are good), the warehouse (the table), and the asset graph. A
source whose rows are events also has a staging model, ``stg_<name>.sql``, whose header says `stream: events`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from journeys_dagster.settings import KeywordSettings, Settings, SettingsError, TimeUnit
from journeys_dagster.tables import Column, Table, bigint, integer, text, utc_day

Kind = Literal["id", "text", "text_list", "timestamp", "integer"]

_DUCKDB_TYPE: Mapping[Kind, str] = {
    "id": "VARCHAR",
    "text": "VARCHAR",
    "text_list": "VARCHAR[]",
    "timestamp": "TIMESTAMP",
    "integer": "INTEGER",
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column of a source.

    Attributes
    ----------
    kind : {'id', 'text', 'text_list', 'timestamp', 'integer'}
        Text must not be blank; blanks around an id mean nothing, and a whole number is the same id in every type; a
        list may be empty; a timestamp without zone is UTC.
    one_of : tuple of str
        The accepted values, when they are a fixed set.
    between : tuple of int, optional
        Smallest and largest accepted integer.
    prose : bool
        Whether people read it: the quality watch looks at its letters and its length.
    is_cut : bool
        Whether a text that is too long is cut, rather than rejecting its row.
    is_optional : bool
        Of an id or a text: whether a row may say nothing here, or the whole file have no such column.
    """

    kind: Kind
    description: str
    one_of: tuple[str, ...] = ()
    between: tuple[int, int] | None = None
    prose: bool = False
    is_cut: bool = False
    is_optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of landing data.

    Attributes
    ----------
    fields : mapping of str to Field
        The contract's columns. Others are ignored.
    row_checks : mapping of str to str
        Reasons to reject a row whose fields are good each by itself, and when: SQL on the fields.
    action_weights : mapping of str to float
        Of a source whose rows are events: weight of one event of each of its actions. Empty: its rows are none.
    columns : mapping of str to str
        What its files call a field, where that is another name.
    constants : mapping of str to str
        Fields with one value in all rows, in place of what the files have.
    time_unit : {'s', 'ms', 'us', 'ns'}, optional
        What a time that is a number counts since 1970. Left out: such a time is rejected.
    """

    name: str
    description: str
    grain: str
    fields: Mapping[str, Field]
    row_checks: Mapping[str, str] = field(default_factory=dict)
    action_weights: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    time_unit: TimeUnit | None = None

    @property
    def has_events(self) -> bool:
        """Whether a row is an event: it gives keywords, and shows that its user was active on the arrival day."""
        return bool(self.action_weights)

    @property
    def has_user_events(self) -> bool:
        """Whether a row is something a user did at a time. What one user may bring of it in a day is limited."""
        return {"user_id", "occurred_at"} <= self.fields.keys()

    @property
    def prose(self) -> tuple[str, ...]:
        """Fields that people read."""
        return tuple(name for name, contract in self.fields.items() if contract.prose)

    @property
    def table(self) -> Table:
        """The table that holds the source's accepted rows."""
        columns = {
            "arrival_day": utc_day("UTC day on which the row arrived"),
            **{
                name: Column(type=_DUCKDB_TYPE[field.kind], description=field.description, nullable=field.is_optional)
                for name, field in self.fields.items()
            },
        }
        return Table(
            name=self.name,
            kind="landed",
            description=self.description,
            grain=self.grain,
            columns=columns,
            partition_column="arrival_day",
        )


_USER = Field(kind="id", description="the user")
_OCCURRED_AT = Field(kind="timestamp", description="when it happened, UTC; may be days before the arrival day")


def declared_sources(settings: Settings) -> dict[str, Source]:
    """All sources of the landing zone by name.

    The settings say what actions on items there are, their weights, and how files are written.

    Raises
    ------
    SettingsError
        They name a source or a column that there is not.
    """
    declared = {source.name: source for source in _declarations(settings.keywords)}
    for name, files in settings.sources.by_name.items():
        if name not in declared:
            raise SettingsError(f"sources.{name}: there is no such source; there are {', '.join(declared)}")
        if unknown := files.columns.keys() - declared[name].fields.keys():
            raise SettingsError(
                f"sources.{name}.columns: {', '.join(sorted(unknown))} is no column of it; there are "
                f"{', '.join(declared[name].fields)}"
            )
        declared[name] = replace(declared[name], columns=files.columns, time_unit=files.time_unit)
    return declared


def _declarations(keywords: KeywordSettings) -> tuple[Source, ...]:
    return (
        Source(
            name="searches",
            description="What users searched for.",
            grain="one row per search",
            action_weights={"search": keywords.search_weight},
            fields={
                "user_id": _USER,
                "query": Field(kind="text", description="the text as typed", prose=True),
                "occurred_at": _OCCURRED_AT,
            },
        ),
        Source(
            name="engagements",
            description="What users did with items.",
            grain="one row per action of a user on an item",
            action_weights=keywords.action_weights,
            fields={
                "user_id": _USER,
                "item_id": Field(kind="id", description="the item"),
                "action": Field(
                    kind="text", description="what the user did with it", one_of=tuple(keywords.action_weights)
                ),
                "occurred_at": _OCCURRED_AT,
            },
        ),
        Source(
            name="items",
            description="New and changed items, with what they are about.",
            grain="one row per item and day on which it was new or changed",
            fields={
                "item_id": Field(kind="id", description="the item"),
                "title": Field(kind="text", description="the item's title", prose=True, is_cut=True),
                "annotations": Field(kind="text_list", description="short phrases that describe the item", prose=True),
                "interests": Field(kind="text_list", description="broader topics the item belongs to"),
            },
        ),
        Source(
            name="board_items",
            description="Items that users put on their boards.",
            grain="one row per item put on a board",
            action_weights={"board": keywords.board_weight},
            fields={
                "user_id": _USER,
                "board_id": Field(kind="id", description="the board"),
                "board_name": Field(kind="text", description="the board's name as the user gave it", prose=True),
                "item_id": Field(kind="id", description="the item"),
                "occurred_at": _OCCURRED_AT,
            },
        ),
        Source(
            name="notification_feedback",
            description="How users met notifications about a journey.",
            grain="one row per event of a notification",
            fields={
                "user_id": _USER,
                "journey_id": Field(kind="id", description="the journey the notification was about"),
                "channel": Field(kind="text", description="email, push, …"),
                "event": Field(
                    kind="text",
                    description="what happened to the notification",
                    one_of=("sent", "opened", "clicked", "thumbs_up", "thumbs_down"),
                ),
                "occurred_at": _OCCURRED_AT,
                "send_id": Field(kind="id", description="which of the exported notifications it was", is_optional=True),
            },
        ),
        Source(
            name="human_labels",
            description="Grades that people gave to journeys.",
            grain="one row per grade",
            fields={
                "user_id": _USER,
                "journey_id": Field(kind="id", description="the graded journey"),
                "grade": Field(kind="integer", description="relevance from 1 (bad) to 5 (good)", between=(1, 5)),
                "annotator": Field(kind="text", description="who gave the grade"),
                "occurred_at": _OCCURRED_AT,
            },
        ),
        Source(
            name="user_controls",
            description="What users said about their journeys and notifications, and took back.",
            grain="one row per control that a user set or took back",
            fields={
                "user_id": _USER,
                "control": Field(
                    kind="text",
                    description="what the user wants: not see a journey, not see a keyword, get no notifications; or "
                    "that no longer",
                    one_of=("hide_journey", "not_interested", "opt_out", "undo"),
                ),
                "journey_id": Field(kind="id", description="the journey to hide", is_optional=True),
                "keyword": Field(
                    kind="text", description="the keyword of no interest, as shown or as typed", is_optional=True
                ),
                "channel": Field(
                    kind="id", description="the channel to opt out of; nothing: all of them", is_optional=True
                ),
                "occurred_at": _OCCURRED_AT,
            },
            row_checks={
                "hide_journey names no journey_id": "control = 'hide_journey' and journey_id is null",
                "not_interested names no keyword": "control = 'not_interested' and keyword is null",
                # Which of them it takes back would be a guess.
                "undo names more than one of journey_id, keyword and channel": "control = 'undo' and "
                "cast(journey_id is not null as integer) + cast(keyword is not null as integer) "
                "+ cast(channel is not null as integer) > 1",
            },
        ),
    )


MAX_ROW_TEXT = 10_000
"""Characters that are kept of a rejected row: enough to see what is wrong with it."""

REJECTED_ROWS = Table(
    name="rejected_rows",
    kind="landed",
    description="Landing rows that break their source's contract, with the reason.",
    grain="one row per rejected row, or per file that could not be read",
    columns={
        "arrival_day": utc_day("UTC day on which the row arrived"),
        "source": text("the source"),
        "file": text("file name within the day's folder"),
        "row_number": bigint(
            "row of the file, or line of a text file (after a CSV header), from 1; null for a whole file",
            nullable=True,
        ),
        "reason": text("what is wrong with it"),
        "row": text(
            f"the row as JSON, or the line that is no row; where it is long, its first {MAX_ROW_TEXT:,} "
            "characters and its length; null for a whole file",
            nullable=True,
        ),
    },
    partition_column="arrival_day",
)

REJECTED_SHARE = (
    "greatest(coalesce(rows_rejected / nullif(rows_read, 0), 0), coalesce(unreadable_files / nullif(files, 0), 0))"
)
"""Of a row of `landed_days`: the share of its rows, or of its files, that was rejected. SQL."""

LANDED_DAYS = Table(
    name="landed_days",
    kind="landed",
    description="What has been ingested from the landing zone.",
    grain="one row per source and arrival day",
    columns={
        "arrival_day": utc_day("UTC day on which the rows arrived"),
        "source": text("the source"),
        "fingerprint": text("hash of the day's file names, sizes and change times"),
        "files": integer("files found"),
        "unreadable_files": integer("files that could not be read"),
        "rows_read": bigint("rows found in readable files"),
        "rows_accepted": bigint("rows kept in the source's table"),
        "rows_duplicate": bigint("exact duplicates of another good row of the same day"),
        "rows_over_cap": bigint("distinct good rows left out, of users with more in a day than they may have"),
        "rows_rejected": bigint("rows put aside in rejected_rows"),
    },
    key=("arrival_day", "source"),
    partition_column="arrival_day",
)
