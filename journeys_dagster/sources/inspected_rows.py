"""What an inspection keeps of landing rows: counts by day, user, item and time, and samples chosen by hash.

Rows come in batches of whole days, as the table ``checked`` of `reader.check_files`; what is kept of one does not grow
with its rows. What the counts say belongs to `inspected_facts` and `inspected_ids`.
"""

from dataclasses import dataclass

import duckdb

from journeys_dagster.settings import LandingSettings
from journeys_dagster.sources.contracts import Source
from journeys_dagster.tables import quote_literal

SAMPLED_TEXTS = 4_000
"""Distinct texts of a field that are looked at."""
IDS = ("user_id", "item_id")
_HASHED = 64
_SMALL_ZONE_BYTES = 64 << 20
_TABLES = (
    "days (source varchar, arrival_day date, rows_read bigint, rows_rejected bigint)",
    "kept_rows (source varchar, arrival_day date, rows_good bigint, rows_distinct bigint, rows_over_cap bigint)",
    "reasons (source varchar, reason varchar, rows bigint, days bigint, "
    "first struct(arrival_day date, file varchar, row_number bigint), example varchar)",
    "placeholders (source varchar, field varchar, word varchar, rows bigint)",
    "people (source varchar, user_id varchar, rows bigint, padded bigint, fractions bigint, "
    "unknown bigint, later bigint, silent bigint, newest_lag bigint, oldest_lag bigint)",
    "things (source varchar, item_id varchar, rows bigint, padded bigint, fractions bigint)",
    "catalogue (item_id varchar, first_day date, gives_keywords boolean)",
    "times (source varchar, arrival_day date, happened_on date, rows bigint, at_midnight bigint, on_the_hour bigint, "
    "first timestamp, last timestamp)",
    "texts (field varchar, text varchar, hash ubigint)",
    "repeats (source varchar, arrival_day date, hash ubigint)",
)


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables that batches add to."""
    for table in _TABLES:
        connection.execute(f"create table {table}")


@dataclass
class RowKeeper:
    """Adds batches of rows to the tables.

    Attributes
    ----------
    zone_bytes : int
        Size of all files: of a large zone fewer rows are sampled.
    """

    connection: duckdb.DuckDBPyConnection
    landing: LandingSettings
    zone_bytes: int
    _has_catalogue: bool = False

    def add(self, source: Source) -> None:
        """Add the rows of ``checked``. Those of items come first, as events are held against them."""
        if source.name != "items" and not self._has_catalogue:
            self._merge_catalogue()
        name = quote_literal(source.name)
        self._run(
            f"insert into days select {name}, arrival_day, count(*), count(reason) from checked group by arrival_day"
        )
        self._add_rejected(source)
        good = f"from checked {self._catalogue_join(source)} where reason is null"
        fields = ", ".join(f'checked."{field}"' for field in source.fields)
        distinct, excess = "count(distinct hash)", "0"
        if source.has_user_events:
            cap = self.landing.max_rows_per_user_per_day
            distinct, excess = "sum(rows_distinct)", f"sum(greatest(rows_distinct - {cap}, 0))"
            self._run(
                f"create or replace temp table of_users as select user_id, arrival_day, count(*) as rows, "
                f"count(distinct hash({fields})) as rows_distinct, {_spelled('user_id')}, {_item_counts(source)}, "
                "min(arrival_day - occurred_at::date) as newest_lag, "
                f"max(arrival_day - occurred_at::date) as oldest_lag {good} group by user_id, arrival_day"
            )
            self._run(
                f"insert into people select {name}, user_id, sum(rows), sum(padded), sum(fractions), sum(unknown), "
                "sum(later), sum(silent), min(newest_lag), max(oldest_lag) from of_users group by user_id"
            )
            self._add_times(name, good)
            counted = "of_users"
        else:
            counted = f"(select arrival_day, 1 as rows, hash({fields}) as hash {good})"
        self._run(
            f"insert into kept_rows select {name}, arrival_day, sum(rows), {distinct}, {excess} from {counted} "
            "group by arrival_day"
        )
        if "item_id" in source.fields:
            self._run(
                f"insert into things select {name}, item_id, count(*), {_spelled('item_id')} {good} group by item_id"
            )
        if source.name == "items":
            self._run(
                "insert into catalogue select item_id, min(arrival_day), "
                rf"bool_or(len(annotations) + len(interests) > 0 or regexp_matches(title, '\p{{L}}{{2}}')) {good} "
                "group by item_id"
            )
        self._add_repeats(name, fields, good)
        for field, contract in source.fields.items():
            if contract.prose or contract.kind == "text_list":
                self._add_texts(f"{source.name}.{field}", field, is_list=contract.kind == "text_list", good=good)

    def _merge_catalogue(self) -> None:
        """Once all items are in: one row an item."""
        self._has_catalogue = True
        self._run(
            "create or replace table catalogue as select item_id, min(first_day) as first_day, "
            "bool_or(gives_keywords) as gives_keywords from catalogue group by item_id"
        )

    def _add_rejected(self, source: Source) -> None:
        name = quote_literal(source.name)
        place = "struct_pack(arrival_day, file, row_number)"
        self._run(
            f"insert into reasons select {name}, reason, count(*), count(distinct arrival_day), min({place}), "
            f"arg_min(row_text, {place}) from checked where reason is not null group by reason"
        )
        words = ", ".join(quote_literal(word.lower()) for word in self.landing.no_user) or "null"
        for field, contract in source.fields.items():
            if contract.kind == "id":
                # The words stand in the settings: they say nothing of anyone.
                word = f"if(regexp_full_match(\"{field}\", '0+'), '0', lower(\"{field}\"))"
                self._run(
                    f"insert into placeholders select {name}, '{field}', {word}, count(*) from checked "
                    f"where starts_with(reason, '{field} is a word for') and {word} in ({words}) group by 3"
                )

    def _add_times(self, name: str, good: str) -> None:
        self._run(
            f"insert into times select {name}, arrival_day, occurred_at::date as happened_on, count(*), "
            "count(*) filter (epoch_us(occurred_at) % 86400000000 = 0), "
            "count(*) filter (epoch_us(occurred_at) % 3600000000 = 0), min(occurred_at), max(occurred_at) "
            f"{good} group by arrival_day, happened_on"
        )

    def _add_repeats(self, name: str, fields: str, good: str) -> None:
        one_in = 1 if self.zone_bytes < _SMALL_ZONE_BYTES else _HASHED
        self._run(
            f"insert into repeats select distinct {name}, arrival_day, hash({fields}) as h {good} and h % {one_in} = 0"
        )

    def _add_texts(self, field: str, column: str, *, is_list: bool, good: str) -> None:
        """The texts with the smallest hashes, the same ones in whatever order they come."""
        key = quote_literal(field)
        held = f"select text, hash from texts where field = {key}"
        below = (
            f"(select case when count(*) >= {SAMPLED_TEXTS} then max(hash) else {2**64 - 1}::ubigint end from ({held}))"
        )
        text = f'unnest("{column}")' if is_list else f'"{column}"'
        self._run(
            f"create or replace temp table smallest as select distinct text, hash from (({held}) union all "
            f"select text, hash(text) as hash from (select {text} as text {good}) where hash(text) <= {below}) "
            f"order by hash, text limit {SAMPLED_TEXTS}"
        )
        self._run(f"delete from texts where field = {key}")
        self._run(f"insert into texts select {key}, text, hash from smallest")

    @staticmethod
    def _catalogue_join(source: Source) -> str:
        return "left join catalogue using (item_id)" if source.has_events and "item_id" in source.fields else ""

    def _run(self, sql: str) -> None:
        self.connection.execute(sql)


def _spelled(column: str) -> str:
    """How many rows have an id with blanks around it, and how many with a fraction of nothing but zeros."""
    written = f'"written {column}"'
    return (
        f"count(*) filter ({written} is not null and not regexp_full_match({written}, '-?\\d+\\.0+')) as padded, "
        f"count(*) filter (regexp_full_match({written}, '-?\\d+\\.0+')) as fractions"
    )


def _item_counts(source: Source) -> str:
    if not source.has_events or "item_id" not in source.fields:
        return "0 as unknown, 0 as later, 0 as silent"
    return (
        "count(*) filter (first_day is null) as unknown, count(*) filter (first_day > arrival_day) as later, "
        "count(*) filter (first_day is not null and not gives_keywords) as silent"
    )
