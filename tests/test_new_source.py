"""A source of events is one declaration and one staging model: everything that reads events then reads its own too."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from conftest import Pipeline

from journeys_dagster.resources.home import Home
from journeys_dagster.settings import KeywordSettings, Settings
from journeys_dagster.sources import contracts
from journeys_dagster.sources.contracts import Field, Source, declared_sources
from journeys_dagster.sources.parameters import action_names, action_weights
from journeys_dagster.sources.streams import check_event_models
from journeys_dagster.sources.writer import write_day
from journeys_dagster.sql.models import SQL_ROOT, ModelError, load_models

DAYS = [date(2025, 6, 1) + timedelta(days=past) for past in range(4)]
WATCHED_VIDEOS = Source(
    name="watched_videos",
    description="Videos that users watched to their end.",
    grain="one row per video watched",
    action_weights={"watch": 1.5},
    fields={
        "user_id": Field(kind="text", description="the user"),
        "video_id": Field(kind="text", description="the video, which is an item"),
        "caption": Field(kind="text", description="what was shown below it", prose=True),
        "occurred_at": Field(kind="timestamp", description="when it ended, UTC"),
    },
)
STG_WATCHED_VIDEOS = """/*
name: stg_watched_videos
grain: one row per landed video watched
materialized: view
per: user
stream: events
partition_column: arrival_day
description: Videos that users watched to their end.
*/
select
    cast(arrival_day as date) as arrival_day, -- UTC day on which the row arrived
    cast(user_id as varchar) as user_id, -- the user
    cast('engagement' as varchar) as source, -- counts as an engagement with the video
    cast('watch' as varchar) as action, -- always watch
    cast(video_id as varchar) as item_id, -- the video
    cast(occurred_at as timestamp) as occurred_at -- when it ended, UTC
from watched_videos
"""


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The declaration: what is added to `contracts.py`."""
    shipped = contracts._declarations  # pyright: ignore[reportPrivateUsage]

    def declarations(keywords: KeywordSettings) -> tuple[Source, ...]:
        return (*shipped(keywords), WATCHED_VIDEOS)

    monkeypatch.setattr(contracts, "_declarations", declarations)


@pytest.fixture
def sql_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the SQL folder with one file more, from which models are loaded."""
    root = tmp_path / "dbt_like_sql"
    shutil.copytree(SQL_ROOT, root)
    (root / "models" / "staging" / "stg_watched_videos.sql").write_text(STG_WATCHED_VIDEOS, encoding="utf-8")
    monkeypatch.setattr(load_models, "__defaults__", (root,))
    return root


@pytest.fixture
def watched(tmp_path: Path, declared: None, sql_root: Path) -> Pipeline:
    """Ann watches a video about bread each day and does nothing else; Bob searches."""
    home = Home(tmp_path / "home")
    bread = {
        "item_id": ["v1"],
        "title": ["How it rises"],
        "annotations": [["sourdough bread"]],
        "interests": [["baking"]],
    }
    write_day(home.landing, source="items", day=DAYS[0], frame=pl.DataFrame(bread))
    for day in DAYS:
        video = {"user_id": ["ann"], "video_id": ["v1"], "caption": ["It rises"], "occurred_at": [f"{day} 10:00:00"]}
        write_day(home.landing, source="watched_videos", day=day, frame=pl.DataFrame(video))
        search = {"user_id": ["bob"], "query": ["floor lamp"], "occurred_at": [f"{day} 11:00:00"]}
        write_day(home.landing, source="searches", day=day, frame=pl.DataFrame(search))
    pipeline = Pipeline(home)
    pipeline.run(DAYS[-1], "all_users")
    return pipeline


def test_a_declared_source_with_its_staging_model_reaches_whatever_reads_events(watched: Pipeline):
    assert dg.AssetKey("watched_videos") in watched.defs.resolve_asset_graph().get_all_asset_keys()
    watch = action_names(Settings()).index("watch")
    activity = watched.table("user_activity", "user_id = 'ann'")
    assert activity["arrival_day"].to_list() == DAYS
    assert set(watched.table("keyword_events", "action = 'watch'")["keyword"]) == {"baking", "sourdough bread"}
    keywords = watched.table("keywords", "user_id = 'ann'")
    assert keywords.select("keyword", "sources", "weight").rows() == [
        (keyword, ["engagement"], 4 * 1.5 * 0.5) for keyword in ("baking", "sourdough bread")
    ]
    (trend,) = watched.table("action_trends", "action = 'watch'").select("events", "share").rows()
    assert trend == (4, 0.5)
    assert watched.table("keyword_trends", "keyword = 'sourdough bread'")["share_84"].to_list() == [0.5]
    features = watched.table("journey_features", "user_id = 'ann'")
    assert features["engagements"].sum() >= 4
    assert (features["action_counts"].list.get(watch) == features["engagements"]).all()
    journeys = watched.table("user_journeys", "user_id = 'ann'")
    listed = {keyword["keyword"] for found in journeys["keywords"] for keyword in found}
    assert "sourdough bread" in listed
    assert (journeys["action_count"] == 4).all()
    metrics = watched.table("quality_metrics", f"slice = 'watched_videos' and as_of = '{DAYS[-1]}'")
    assert {"volume", "rows_per_user", "hour_drift", "text_length", "duplicate_share"} <= set(metrics["metric"])
    assert metrics.filter(metric="volume")["value"].to_list() == [1.0]


@pytest.mark.usefixtures("declared")
def test_the_declared_weight_of_an_action_counts_unless_the_settings_list_it():
    assert list(action_weights(Settings()).items())[:3] == [("search", 1.0), ("board", 2.0), ("watch", 1.5)]
    listed = Settings.model_validate({"keywords": {"action_weights": {"save": 2.0, "watch": 0.25}}})
    assert action_weights(listed) == {"search": 1.0, "board": 2.0, "watch": 0.25, "save": 2.0}


@pytest.mark.usefixtures("declared")
def test_a_source_of_events_without_a_staging_model_is_refused():
    with pytest.raises(ModelError, match=r"rows of source watched_videos are events: .* stg_watched_videos\.sql"):
        check_event_models(load_models(SQL_ROOT).values(), declared_sources(Settings()))


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("'watch'", "'view'", "action is 'view', which is none of watch"),
        ("'engagement'", "'video'", "source is 'video', which is none of board, engagement, search"),
        ("from watched_videos", "from items", "source watched_videos are events"),
        ("cast(video_id as varchar) as item_id, -- the video", "", "an event is about a text, query, or about an item"),
        ("cast(user_id as varchar) as user_id, -- the user", "", "must have a column 'user_id'"),
        ("occurred_at as timestamp", "occurred_at as date", "occurred_at is DATE, and TIMESTAMP in stg_events"),
    ],
)
def test_a_staging_model_whose_events_would_be_lost_is_refused(sql_root: Path, old: str, new: str, fault: str):
    file = sql_root / "models" / "staging" / "stg_watched_videos.sql"
    file.write_text(STG_WATCHED_VIDEOS.replace(old, new), encoding="utf-8")
    with pytest.raises(ModelError, match=fault):
        check_event_models(load_models(sql_root).values(), declared_sources(Settings()))
