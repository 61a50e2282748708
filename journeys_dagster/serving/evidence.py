"""What the warehouse knows of one listed journey, read in a moment."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import polars as pl

from journeys_dagster.errors import ExpectedError
from journeys_dagster.inference.ranking import HEURISTIC
from journeys_dagster.inference.ranking_model import RankingModel

_LISTED = "from current_user_journeys where user_id = $user and journey_id = $journey"
_OF_JOURNEY = "where as_of = $as_of and user_id = $user and journey_id = $journey"
_EVENTS = f"""
    select source, action, count(*) as events, max(occurred_at) as newest
    from journey_events {_OF_JOURNEY}
    group by source, action order by events desc, source, action
"""
_NEWEST = f"select occurred_at, source, action from journey_events {_OF_JOURNEY} order by all desc limit 5"
_ENGAGEMENT = f"select weight, days_active, first_seen, last_seen from journey_engagement {_OF_JOURNEY}"
_RANKING = f"select rank, score, confidence from rankings {_OF_JOURNEY}"
_DIVERSIFIED = f"select rank, rank_before, score, score_before, occurrence from diversified_journeys {_OF_JOURNEY}"
_STAGE = f"select span_days, days_since_last, acting_share, usual_acting_share from stages {_OF_JOURNEY}"
_SAFETY = f"select outcome, category, len(unlisted_keywords) as left_out from safety {_OF_JOURNEY}"
_SIZE = "select count(*) from rankings where as_of = $as_of and user_id = $user"
_SINCE = "select min(as_of) from journey_identities where user_id = $user and journey_id = $journey"
# What it was called while it was sensitive is told of a sensitive journey alone.
_NAMES = """
    select name, min(as_of) as first_day, max(as_of) as last_day
    from user_journeys
    where user_id = $user and journey_id = $journey and (may_notify or not $may_notify)
    group by name order by first_day, name
"""


class NoSuchJourneyError(ExpectedError, LookupError, carries_user_text=False):
    """The user has no such journey listed."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a journey as of the day of its user's newest snapshot.

    Attributes
    ----------
    listed : dict
        Its row of `current_user_journeys`.
    events : list of dict
        By ``source`` and ``action``: ``events`` and the ``newest`` of them.
    newest : list of dict
        The newest events.
    engagement, features : DataFrame
        Its rows of `journey_engagement` and `journey_features`.
    ranking, diversified, stage, safety : dict
        What these steps say of it.
    model : RankingModel or None
        What ranked it; none for the heuristic, and where the model is gone.
    journeys : int
        The user's journeys, listed or not.
    since : date
        The first day on which it is known.
    names : list of dict
        How it was called, and the first and last day of each.
    """

    listed: dict[str, Any]
    events: list[dict[str, Any]]
    newest: list[dict[str, Any]]
    engagement: pl.DataFrame
    features: pl.DataFrame
    ranking: dict[str, Any]
    diversified: dict[str, Any]
    stage: dict[str, Any]
    safety: dict[str, Any]
    model: RankingModel | None
    journeys: int
    since: date
    names: list[dict[str, Any]]


def read_evidence(connection: duckdb.DuckDBPyConnection, user: str, journey: str) -> Evidence:
    """Read what is known of a listed journey.

    Raises
    ------
    NoSuchJourneyError
        It is not listed.
    """
    of = {"user": user, "journey": journey}
    found = _rows(connection, _LISTED, of)
    if not found:
        raise NoSuchJourneyError("that user has no such journey listed: `journeys show USER --json` gives their ids")
    (listed,) = found
    at = {**of, "as_of": listed["as_of"]}
    ranking, diversified, stage, safety = (
        _rows(connection, sql, at)[0] for sql in (_RANKING, _DIVERSIFIED, _STAGE, _SAFETY)
    )
    return Evidence(
        listed=listed,
        events=_rows(connection, _EVENTS, at),
        newest=_rows(connection, _NEWEST, at),
        engagement=connection.sql(_ENGAGEMENT, params=at).pl(),
        features=connection.sql(f"from journey_features {_OF_JOURNEY}", params=at).pl(),
        ranking=ranking,
        diversified=diversified,
        stage=stage,
        safety=safety,
        model=None if listed["ranker"] == HEURISTIC else _model(connection, listed["ranker"]),
        journeys=connection.execute(_SIZE, {"user": user, "as_of": listed["as_of"]}).fetchall()[0][0],
        since=connection.execute(_SINCE, of).fetchall()[0][0],
        names=_rows(connection, _NAMES, {**of, "may_notify": listed["may_notify"]}),
    )


def _model(connection: duckdb.DuckDBPyConnection, model_id: str) -> RankingModel | None:
    found = connection.execute(
        "select trees, card from ranking_model where model_id = $model order by as_of desc limit 1", {"model": model_id}
    ).fetchall()
    return RankingModel.stored(model_id, found[0][0], json.loads(found[0][1])) if found else None


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    found = connection.execute(sql, params)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
