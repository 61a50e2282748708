"""Activity in memory, and the keywords of it by the production SQL."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.journey_events import events_of_journeys
from journeys_dagster.inference.keywords import collect_keywords
from journeys_dagster.inference.members import number_journeys
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.parameters import action_weights, query_parameters
from journeys_dagster.sql.connection import start_duckdb, used_params
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import load_models

_EVENTS = "user_events"
_TITLES = "title_keywords"
_LAST_DAY = "select coalesce(max(arrival_day), $as_of) as day from user_activity"
_ITEM_KEYWORDS = "select item_id, keyword, share from item_keywords where valid_from <= $as_of and valid_until > $as_of"


class History:
    """Landing rows in an in-memory database with the production views over them.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        Landing rows by source (searches, engagements, items, board_items), each with ``arrival_day``; columns that
        the contract does not name are left out.
    """

    def __init__(self, frames: Mapping[str, pl.DataFrame], settings: Settings) -> None:
        self._settings = settings
        self._connection = start_duckdb({"threads": 2})
        self._connection.execute("set TimeZone = 'UTC'")
        for macro in load_macros():
            self._connection.execute(macro)
        for name, source in declared_sources(settings).items():
            self._connection.execute(source.table.create_sql())
            if name in frames:
                self._connection.register("landed", frames[name].select(list(source.table.columns)))
                self._connection.execute(f'insert into "{name}" by name from landed')
                self._connection.unregister("landed")
        self._models = load_models()
        self._connection.execute(self._models[_TITLES].table.create_sql())
        self._events, self._item_keywords = pl.DataFrame(), pl.DataFrame()
        self._titles_of_last: tuple[date, pl.DataFrame] | None = None
        for name in (_EVENTS, "keyword_events", "user_activity"):
            self._create_views(name)
        self._connection.execute(
            "create table users_in_scope (as_of date, user_id varchar, scope varchar, algorithm_version varchar)"
        )

    def look_from(self, as_of: date, users: Sequence[str] | None = None) -> None:
        """Let models and events be those as of a day, of all users unless some are named."""
        self._connection.execute("delete from users_in_scope")
        chosen = self._connection.sql("select distinct user_id from user_activity").pl()
        if users is not None:
            chosen = chosen.filter(pl.col("user_id").is_in(list(users)))
        self._connection.register("chosen", chosen)
        self._connection.execute("insert into users_in_scope select ?, user_id, 'all_users', '' from chosen", [as_of])
        self._connection.unregister("chosen")
        # What users came back to is looked for in all that is known on the last day.
        last = self.query(_LAST_DAY, {"as_of": as_of})["day"][0]
        if self._titles_of_last is None or self._titles_of_last[0] != last:
            self._titles_of_last = last, self.rows_of(_TITLES, last)
        titles = self._titles_of_last[1]
        self.keep(_TITLES, titles if as_of == last else pl.concat([self.rows_of(_TITLES, as_of), titles]))
        self._events = self.rows_of(_EVENTS, as_of).sort("user_id", "occurred_at")
        self._item_keywords = self.query(_ITEM_KEYWORDS, {"as_of": as_of})
        self.keep(_EVENTS, self._events)

    def keywords(self, as_of: date, users: Sequence[str] | None = None) -> pl.DataFrame:
        """Rows of `keywords` as of a day, sorted by user and keyword; of all users unless some are named."""
        self.look_from(as_of, users)
        found = collect_keywords(
            self._events, self._item_keywords, action_weights(self._settings), self._settings.keywords
        )
        return found.with_columns(as_of=pl.lit(as_of), scope=pl.lit("all_users"), algorithm_version=pl.lit(""))

    def journey_events(self, members: pl.DataFrame) -> pl.DataFrame:
        """Rows of `journey_events` of the day and the users that were last asked for, but for the snapshot's columns.

        Parameters
        ----------
        members : DataFrame
            Columns ``user_id``, ``journey_id`` and ``keyword``.
        """
        return events_of_journeys(self._events, self._item_keywords, *number_journeys(members))

    def rows_of(self, model: str, as_of: date) -> pl.DataFrame:
        """Rows of a model as of a day, of the users that were last asked for, from what was kept before it."""
        sql = self._models[model].sql
        return self._connection.sql(sql, params=used_params(sql, query_parameters(self._settings, as_of))).pl()

    def keep(self, table: str, rows: pl.DataFrame) -> None:
        """Put rows where models read a table of this name, in place of those that were kept before."""
        self._connection.register("kept_rows", rows)
        self._connection.execute(f'create or replace table "{table}" as from kept_rows')
        self._connection.unregister("kept_rows")

    def active_users(self, day: date, until: date | None = None) -> list[str]:
        """Users of whom a row arrived on a day, or from it until another one."""
        found = self._connection.sql(
            "select distinct user_id from user_activity where arrival_day between $day and $until order by user_id",
            params={"day": day, "until": until or day},
        )
        return [user for (user,) in found.fetchall()]

    @property
    def span(self) -> tuple[date, date]:
        """First and last day on which a row of user activity arrived.

        Raises
        ------
        ValueError
            There is no activity.
        """
        first, last = self._connection.sql("select min(arrival_day), max(arrival_day) from user_activity").fetchall()[0]
        if first is None:
            raise ValueError("there is no user activity")
        return first, last

    def query(self, sql: str, params: Mapping[str, Any]) -> pl.DataFrame:
        """Rows of a query over what is kept, and over the landing rows and their views."""
        return self._connection.sql(sql, params=dict(params)).pl()

    def query_over(self, sql: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of a query that names ``rows``; macros and views are at hand."""
        self._connection.register("rows", rows)
        try:
            return self._connection.sql(sql).pl()
        finally:
            self._connection.unregister("rows")

    def _create_views(self, name: str) -> None:
        for upstream in sorted(self._models[name].depends_on):
            model = self._models.get(upstream)
            if model is not None and model.materialized != "snapshot" and not self._has(upstream):
                self._create_views(upstream)
        kind = self._models[name].materialized
        if kind != "snapshot" and not self._has(name):
            self._connection.execute(f"create {kind} {name} as {self._models[name].sql}")

    def _has(self, name: str) -> bool:
        found = self._connection.execute("select 1 from information_schema.tables where table_name = ?", [name])
        return found.fetchone() is not None


class KeywordVectors:
    """Embeddings of keywords, each computed once."""

    def __init__(self, embedder: TextEmbedder) -> None:
        self.embedder = embedder
        self._rows: dict[str, int] = {}
        self.vectors = np.zeros((0, 1), dtype=np.float32)

    def remember(self, keywords: pl.DataFrame) -> None:
        """Add vectors that were computed before: columns ``keyword`` and ``embedding`` (list of float32)."""
        new = keywords.filter(~pl.col("keyword").is_in(list(self._rows)))
        if not new.is_empty():
            vectors = np.array(new["embedding"].to_list(), dtype=np.float32)
            self._add(new["keyword"].to_list(), vectors)

    def code(self, keywords: pl.DataFrame) -> pl.DataFrame:
        """Add to each row the place of its keyword in `vectors`, embedding the new ones."""
        new = sorted({*keywords["keyword"].unique().to_list()} - self._rows.keys())
        if new:
            self._add(new, self.embedder.embed(new))
        codes = [self._rows[text] for text in keywords["keyword"].to_list()]
        return keywords.with_columns(code=pl.Series(codes, dtype=pl.Int64))

    def _add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self._rows |= {text: len(self._rows) + place for place, text in enumerate(texts)}
        self.vectors = np.vstack([self.vectors, vectors]) if len(self.vectors) else vectors

    def only(self, keywords: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.float32]]:
        """Keywords with ``code`` and just the vectors they name; a replay meets the same many again and again."""
        coded = self.code(keywords)
        codes = coded["code"].unique().sort()
        renumbered = coded.with_columns(code=codes.search_sorted(coded["code"]).cast(pl.Int64))
        return renumbered, self.vectors[codes.to_numpy()]
