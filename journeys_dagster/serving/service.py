"""What is looked up for whoever asks: lists from the store, which no run holds up, and the rest from the warehouse."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import duckdb

from journeys_dagster.errors import ExpectedError
from journeys_dagster.reporting.text import json_value
from journeys_dagster.resources.database_file import WarehouseError
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.shard_layout import read_copy
from journeys_dagster.serving.evidence import read_evidence
from journeys_dagster.serving.lists import UserList
from journeys_dagster.serving.publication import Lists, Publication, Store
from journeys_dagster.serving.publish import store_of
from journeys_dagster.serving.store_of_shards import ListsOfShards
from journeys_dagster.serving.why import explain
from journeys_dagster.settings import Settings

_WAIT_SECONDS = 2.0
_RELATED = """
    select rank, related, score, because_of, expander
    from expansions
    where user_id = $user and as_of = (select max(as_of) from user_snapshots where user_id = $user)
    order by rank
"""
_TRENDS = """
    with newest as (select max(as_of) as as_of from user_snapshots),

    counted as (
        select name, count(*) as users, count(*) filter (first_seen > newest.as_of - 28) as new_users
        from current_user_journeys cross join newest
        where may_notify
        group by name
    )

    select name, users, new_users
    from counted
    where users >= $least_users
    order by {order} desc, name
    limit $limit
"""


class BusyError(ExpectedError, RuntimeError, carries_user_text=False):
    """A run has the warehouse right now; what is asked of it can be asked again in a moment."""


class Journeys:
    """Everything that is asked of one home; it is read and never written.

    Parameters
    ----------
    settings : Settings
        Of the home.
    on : date, optional
        The day on which lists are read. Default: today, UTC.
    """

    def __init__(self, home: Home, settings: Settings, *, on: date | None = None) -> None:
        self.home, self.settings = home, settings
        self._on = on
        self._guard = threading.Lock()
        self._lists: Lists | None = None

    @property
    def today(self) -> date:
        """The day on which lists are read."""
        return self._on or datetime.now(UTC).date()

    @cached_property
    def store(self) -> Store:
        """Where lists are published.

        Raises
        ------
        StoreError
            It is a server, and the extra or its URL is missing.
        """
        return store_of(self.home.path, self.settings.serving)

    @property
    def published(self) -> Lists:
        """The published lists, opened when they are first asked for.

        Raises
        ------
        StoreError
            Nothing is published yet.
        """
        with self._guard:
            if self._lists is None:
                layout = read_copy(self.home.path)
                self._lists = self.store.lists() if layout is None else ListsOfShards(layout)
            return self._lists

    def close(self) -> None:
        """Let go of the store."""
        with self._guard:
            if self._lists is not None:
                self._lists.close()
                self._lists = None

    def lists(self, users: Sequence[str]) -> tuple[Publication, dict[str, UserList]]:
        """The lists of those users who have one, all of one publication."""
        return self.published.get(users)

    def why(self, user: str, journey: str) -> dict[str, Any]:
        """Why a journey is listed, see `explain`.

        Raises
        ------
        NoSuchJourneyError
            It is not listed.
        BusyError
            A run has the warehouse.
        """
        with self.read(user) as connection:
            evidence = read_evidence(connection, user, journey)
        return explain(
            evidence,
            on=self.today,
            min_confidence=self.settings.output.min_confidence,
            actions=self._actions,
            described=self._features if evidence.model is not None else {},
        )

    def related(self, user: str) -> list[dict[str, Any]]:
        """The related journeys that a user is offered, best first."""
        return self.rows(_RELATED, of=user, user=user)

    def trends(self, *, limit: int, least_users: int, growing: bool) -> list[dict[str, Any]]:
        """Journeys by name: how many users have them now, and of how many they began in the last 28 days.

        Sensitive journeys are left out, and what fewer than `least_users` have, which might tell who they are.
        """
        order = "new_users / users" if growing else "users"
        return self.rows(_TRENDS.format(order=order), limit=limit, least_users=least_users)

    def rows(self, sql: str, *, of: str | None = None, **params: object) -> list[dict[str, Any]]:
        """Rows of a query on the warehouse, or on that `of` a user, as JSON has them."""
        with self.read(of) as connection:
            try:
                found = connection.execute(sql, params)
            except duckdb.CatalogException:
                # What the query reads is not made yet.
                return []
            names = [column[0] for column in found.description or ()]
            return [json_value(dict(zip(names, row, strict=True))) for row in found.fetchall()]

    @contextmanager
    def read(self, of: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """The warehouse for a moment; where users are split, the one with all there is `of` a user.

        Raises
        ------
        BusyError
            A run has it.
        """
        try:
            file = self.home.look_up() if of is None else self.home.look_up_of(of)
            with replace(file, lock_timeout_seconds=_WAIT_SECONDS).read() as connection:
                yield connection
        except WarehouseError as error:
            raise BusyError(
                "the warehouse cannot be read right now, as while a run writes: ask again in a moment"
            ) from error

    @cached_property
    def _actions(self) -> list[str]:
        from journeys_dagster.sources.parameters import action_names

        return action_names(self.settings)

    @cached_property
    def _features(self) -> dict[str, str]:
        from journeys_dagster.sql.macros import SQL_ROOT
        from journeys_dagster.sql.models import load_model

        columns = load_model(SQL_ROOT / "models" / "intermediate" / "journey_features.sql").table.columns
        return {name: column.description for name, column in columns.items()} | {
            f"action_{action}": f"events: {action}" for action in self._actions
        }
