"""Keywords from what items have: titles where there are no tags, and not what everyone has. Incremental equals full."""

import shutil
from datetime import date, timedelta

import polars as pl
import pytest
from conftest import EMBEDDER, Pipeline

from journeys_dagster.resources.home import Home
from journeys_dagster.sources.writer import write_day
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.replay import replay_features

DAYS = [date(2025, 6, 1) + timedelta(days=past) for past in range(3)]
USERS = [f"u{number:02}" for number in range(36)]
KINDS = ("soup bowl", "wool rug", "oak shelf", "tea tray", "bed linen", "garden hose")
TABLES = ("keywords", "clusters", "journey_events", "names", "user_journeys")


def item_rows(day: int) -> pl.DataFrame:
    """Two items of each kind a day: one with a title alone, one with tags, of which one says what all items are."""
    rows = []
    for kind in KINDS:
        bare = {"item_id": f"{kind}{day}", "title": f"{('Blue', 'Low', 'Old')[day]} {kind}, {day + 3} cm"}
        tags = {"annotations": [f"{kind}s {day}", f"home/{kind}"], "interests": ["Market"]}
        rows += [{**bare, "annotations": [], "interests": []}, {**bare, "item_id": f"tagged {kind}{day}", **tags}]
    return pl.DataFrame(rows, schema_overrides={"annotations": pl.List(pl.String), "interests": pl.List(pl.String)})


def engagement_rows(day: int) -> pl.DataFrame:
    """What users look at: everyone on the first day, a third of them on the others."""
    rows = []
    for number, user in enumerate(USERS):
        if day == 0 or number % 3 == day:
            for turn in range(2):
                kind = KINDS[(number + turn * (1 + number % 4)) % len(KINDS)]
                for item in (f"{kind}{day}", f"tagged {kind}{day}"):
                    at = f"{DAYS[day]} {8 + 8 * turn:02}:{number:02}:00"
                    rows.append({"user_id": user, "item_id": item, "action": "save", "occurred_at": at})
    return pl.DataFrame(rows)


def land(home: Home, day: int, *, backwards: bool = False) -> None:
    for source, rows in (("items", item_rows(day)), ("engagements", engagement_rows(day))):
        write_day(home.landing, source=source, day=DAYS[day], frame=rows.reverse() if backwards else rows)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Pipeline]:
    """The last day inferred for those who were active, and, from rows in another order, for everyone."""
    path = tmp_path_factory.mktemp("item_words")
    home = Home(path / "incremental")
    land(home, 0)
    Pipeline(home).run(DAYS[0], "all_users")
    shutil.copytree(path / "incremental", path / "full")
    incremental, full = Pipeline(home), Pipeline(Home(path / "full"))
    for day in (1, 2):
        land(incremental.home, day)
        land(full.home, day, backwards=True)
    incremental.run(DAYS[-1])
    full.run(DAYS[-1], "all_users")
    return incremental, full


@pytest.mark.slow
def test_titles_speak_where_there_are_no_tags(runs: tuple[Pipeline, Pipeline]):
    pipeline, _ = runs
    of_title = pipeline.table("title_keywords", f"as_of = '{DAYS[-1]}'")
    assert set(of_title["keyword"]) == set(KINDS)
    assert set(of_title["item_id"]) == {f"{kind}{day}" for kind in KINDS for day in range(3)}
    first = pipeline.table("title_keywords", f"as_of = '{DAYS[0]}'")
    assert set(first["keyword"]) == {f"blue {kind}" for kind in KINDS}


@pytest.mark.slow
def test_what_everyone_has_joins_and_names_nothing(runs: tuple[Pipeline, Pipeline]):
    for pipeline in runs:
        common = pipeline.table("common_keywords", f"as_of = '{DAYS[-1]}'")
        assert {"market", "home"} <= set(common["keyword"])
        assert set(pipeline.table("keywords")["keyword"]) >= {"market", "home"}
        assert not set(pipeline.table("clusters", f"as_of = '{DAYS[-1]}'")["keyword"]) & set(common["keyword"])


@pytest.mark.slow
def test_incremental_equals_full_whatever_the_order_of_rows(runs: tuple[Pipeline, Pipeline]):
    incremental, full = runs
    active = set(incremental.table("users_in_scope", f"as_of = '{DAYS[-1]}'")["user_id"])
    assert len(active) == len(USERS) // 3
    for table in ("title_keywords", "common_keywords"):
        assert incremental.table(table).equals(full.table(table)), table
    for table in TABLES:
        some = incremental.table(table, f"as_of = '{DAYS[-1]}'").drop("scope")
        rows = full.table(table, f"as_of = '{DAYS[-1]}'").drop("scope").filter(pl.col("user_id").is_in(active))
        assert len(some) > 0
        assert some.equals(rows), table


@pytest.mark.slow
def test_what_models_learn_from_is_clustered_as_in_a_run(runs: tuple[Pipeline, Pipeline]):
    _, full = runs
    history = History({source: full.table(source) for source in ("items", "engagements")}, full.settings)
    replay_features(history, DAYS[-1], full.settings, KeywordVectors(EMBEDDER))
    replayed = history.query("select user_id, keyword, cluster from clusters order by all", {})
    clusters = full.table("clusters", f"as_of = '{DAYS[-1]}'").select("user_id", "keyword", "cluster")
    assert replayed.rows() == sorted(clusters.rows())
