"""The whole pipeline on a small world: the laws that hold whatever the steps compute."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from conftest import Pipeline

from journeys_dagster.definitions import algorithm_in_use
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings
from journeys_dagster.sources.writer import write_day

SNAPSHOTS = (
    "keywords",
    "clusters",
    "journey_identities",
    "journey_engagement",
    "rankings",
    "diversified_journeys",
    "stages",
    "names",
    "safety",
    "user_journeys",
    "expansions",
    "judge_scores",
)
CONTRACT = {
    "as_of", "user_id", "journey_id", "rank", "name", "keywords", "lifecycle", "stage", "confidence",
    "return_probability", "score",
    "search_count", "action_count", "first_seen", "last_seen", "algorithm_version", "scope",
}  # fmt: skip


def rows(frame: pl.DataFrame) -> list[str]:
    """Rows as text, in an order that does not depend on the table's."""
    return sorted(str(row) for row in frame.iter_rows())


def test_every_user_with_keywords_gets_a_ranked_list_of_distinct_journeys(finished: Pipeline) -> None:
    journeys = finished.table("current_user_journeys")
    assert set(journeys["user_id"]) == set(finished.table("keywords")["user_id"])
    per_user = journeys.group_by("user_id").agg(
        pl.len(), ranks=pl.col("rank").sort(), names=pl.col("name").n_unique(), ids=pl.col("journey_id").n_unique()
    )
    for _, count, ranks, names, ids in per_user.iter_rows():
        assert ranks == list(range(1, count + 1))
        assert names == ids == count
    assert journeys["confidence"].is_between(0, 1).all()
    assert set(journeys["stage"]) <= {"evergreen", "ongoing", "ended"}


def test_user_journeys_have_the_columns_of_the_contract(finished: Pipeline) -> None:
    assert set(finished.table("user_journeys").columns) >= CONTRACT


def test_every_landed_row_is_accepted_a_duplicate_or_rejected(finished: Pipeline) -> None:
    days = finished.table("landed_days")
    kinds = [f"rows_{kind}" for kind in ("accepted", "duplicate", "rejected", "over_cap")]
    assert (days["rows_read"] == days.select(pl.sum_horizontal(kinds)).to_series()).all()
    for source in ("searches", "engagements", "items", "board_items"):
        accepted = days.filter(pl.col("source") == source)["rows_accepted"].sum()
        assert accepted == len(finished.table(source)) > 0


def test_incremental_equals_full(
    finished: Pipeline, copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    day = world_days[-1]
    full = copy_of_world("full")
    full.run(day, "all_users", up_to=SNAPSHOTS)
    active = set(finished.table("users_in_scope", f"as_of = '{day}'")["user_id"])
    everyone = set(full.table("users_in_scope", f"as_of = '{day}'")["user_id"])
    assert active < everyone
    for table in SNAPSHOTS:
        incremental_rows = finished.table(table, f"as_of = '{day}'")
        full_rows = full.table(table, f"as_of = '{day}'").filter(pl.col("user_id").is_in(active))
        # In a world of fifty, nothing that three users have is offered to any; see the next test.
        assert len(incremental_rows) > 0 or table == "expansions"
        assert rows(incremental_rows.drop("scope")) == rows(full_rows.drop("scope")), table


@pytest.mark.slow
def test_what_users_say_is_obeyed_at_once_and_the_same_in_both_kinds_of_run(
    finished: Pipeline, copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    day = world_days[-1]
    active = set(finished.table("users_in_scope", f"as_of = '{day}'")["user_id"])
    incremental, full = copy_of_world("incremental"), copy_of_world("full")
    shown = incremental.table("current_user_journeys", "rank <= 3").sort("user_id", "rank")
    (busy, keyword), (quiet, hidden) = (
        shown.filter((pl.col("rank") == 1) & pl.col("user_id").is_in(active) == is_active)
        .select("user_id", pl.col("keywords").list.first().struct.field("keyword") if is_active else "journey_id")
        .row(0)
        for is_active in (True, False)
    )
    said = pl.DataFrame(
        {
            "user_id": [busy, quiet],
            "control": ["not_interested", "hide_journey"],
            "keyword": [keyword, None],
            "journey_id": [None, hidden],
            "occurred_at": [f"{day} 08:00:00"] * 2,
        }
    )
    for pipeline in (incremental, full):
        write_day(pipeline.home.landing, source="user_controls", day=day, frame=said)
        pipeline.ingest(day)
        # Before any run infers anything.
        between = pipeline.table("current_user_journeys")
        assert between.filter(user_id=quiet, journey_id=hidden).is_empty()
        assert keyword not in listed_keywords(between.filter(user_id=busy))
        assert not between.filter(user_id=quiet).is_empty()
    incremental.run(day)
    full.run(day, "all_users")
    for table in ("unwanted_journeys", "user_journeys"):
        found = incremental.table(table, f"as_of = '{day}'").drop("scope")
        everyone = full.table(table, f"as_of = '{day}'").drop("scope")
        assert {busy, quiet} <= set(found["user_id"])
        assert rows(found) == rows(everyone.filter(pl.col("user_id").is_in(found["user_id"].implode())))
    current = incremental.table("current_user_journeys")
    assert keyword not in listed_keywords(current.filter(user_id=busy))
    assert hidden not in current.filter(user_id=quiet)["journey_id"]
    for user in (busy, quiet):
        ranks = current.filter(user_id=user)["rank"].sort().to_list()
        assert ranks == list(range(1, len(ranks) + 1))


def listed_keywords(journeys: pl.DataFrame) -> set[str]:
    return {keyword["keyword"] for listed in journeys["keywords"] for keyword in listed}


@pytest.mark.slow
def test_what_is_offered_does_not_depend_on_who_else_is_inferred(
    tmp_path: Path, finished_home: Path, copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    day = world_days[-1]
    full = copy_of_world("full")
    full.run(day, "all_users")
    shutil.copytree(finished_home, tmp_path / "incremental")
    settings = Settings.model_validate({"expansions": {"min_users": 1}})
    offered = []
    for home in (Home(tmp_path / "incremental"), full.home):
        pipeline = Pipeline(home, settings)
        assert pipeline.materialize("journey_expansions", "expansions", days=(day, day)).success
        offered.append(pipeline.table("expansions", f"as_of = '{day}'").drop("scope"))
    some, everyone = offered
    assert len(some) > 0
    active = Pipeline(Home(tmp_path / "incremental")).table("users_in_scope", f"as_of = '{day}'")["user_id"]
    assert rows(some) == rows(everyone.filter(pl.col("user_id").is_in(active.implode())))


@pytest.mark.parametrize(("more_than_changed", "counts_on"), [(0.001, True), (0.0, False)])
def test_relations_count_on_until_enough_users_have_newer_snapshots(
    more_than_changed: float, counts_on: bool, tmp_path: Path, finished_home: Path, world_days: list[date]
) -> None:
    *_, before, day = world_days
    shutil.copytree(finished_home, tmp_path / "related")
    home = Home(tmp_path / "related")
    snapshots = Pipeline(home).table("user_snapshots", f"as_of < '{day}'")
    newer = snapshots.filter(pl.col("as_of") >= before)["user_id"].n_unique()
    share = newer / snapshots["user_id"].n_unique() + more_than_changed
    pipeline = Pipeline(home, Settings.model_validate({"expansions": {"min_users": 1, "refresh_share": share}}))
    assert pipeline.materialize("journey_expansions", days=(before, before)).success
    assert pipeline.materialize("journey_expansions", days=(day, day)).success
    found, related = (pipeline.table("journey_expansions", f"as_of = '{each}'") for each in (before, day))
    assert len(found) > 0
    assert set(related["found_on"]) == {before if counts_on else day}
    assert (rows(related.drop("as_of")) == rows(found.drop("as_of"))) == counts_on
    # Another algorithm, here another number of users who must have it, finds them anew however few have changed.
    other = Pipeline(home, Settings.model_validate({"expansions": {"min_users": 2, "refresh_share": 1.0}}))
    assert other.materialize("journey_expansions", days=(day, day)).success
    assert set(other.table("journey_expansions", f"as_of = '{day}'")["found_on"]) == {day}


@pytest.mark.slow
def test_running_a_day_again_changes_nothing(
    tmp_path: Path, finished: Pipeline, finished_home: Path, world_days: list[date]
) -> None:
    tables = (*SNAPSHOTS, "users_in_scope", "user_snapshots", "keyword_embeddings", "landed_days", "searches", "items")
    shutil.copytree(finished_home, tmp_path / "again")
    again = Pipeline(Home(tmp_path / "again"))
    again.run(world_days[-1])
    for table in tables:
        assert rows(again.table(table)) == rows(finished.table(table)), table


@pytest.mark.slow
def test_an_incremental_run_keeps_the_full_snapshot_of_users_out_of_its_scope(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline, day = copy_of_world("rerun"), world_days[-1]
    pipeline.run(day, "all_users")
    full = pipeline.table("user_journeys", f"as_of = '{day}'")
    pipeline.run(day, "active_users")
    after = pipeline.table("user_journeys", f"as_of = '{day}'")
    assert rows(after.drop("scope")) == rows(full.drop("scope"))
    active = set(pipeline.table("users_in_scope", f"as_of = '{day}'")["user_id"])
    assert set(after.filter(pl.col("scope") == "active_users")["user_id"]) == active
    assert set(after.filter(pl.col("scope") == "all_users")["user_id"]).isdisjoint(active)


@pytest.mark.slow
def test_one_run_over_a_range_equals_a_run_a_day(
    finished: Pipeline, copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    ranged = copy_of_world("ranged")
    assert ranged.materialize(days=(world_days[1], world_days[-1])).success
    for table in SNAPSHOTS:
        assert rows(finished.table(table)) == rows(ranged.table(table)), table


def test_the_order_of_rows_in_the_landing_zone_does_not_matter(
    tmp_path: Path, world_home: Path, finished: Pipeline, world_days: list[date]
) -> None:
    home = Home(tmp_path / "shuffled")
    for file in (world_home / "landing").rglob("*.parquet"):
        target = home.landing / file.relative_to(world_home / "landing")
        target.parent.mkdir(parents=True)
        frame = pl.read_parquet(file).sample(fraction=1.0, shuffle=True, seed=5)
        half = len(frame) // 2
        frame[half:].write_parquet(target.with_name("a.parquet"))
        frame[:half].write_parquet(target.with_name("b.parquet"))
        (target.parent / "_SUCCESS").touch()
    shuffled = Pipeline(home)
    shuffled.run(world_days[0], "all_users", up_to=SNAPSHOTS)
    day = world_days[0]
    for table in SNAPSHOTS:
        assert rows(shuffled.table(table, f"as_of = '{day}'")) == rows(finished.table(table, f"as_of = '{day}'")), table


def test_journeys_keep_their_ids_from_day_to_day(finished: Pipeline, world_days: list[date]) -> None:
    identities = finished.table("journey_identities", f"as_of > '{world_days[0]}'")
    seen_before = set(finished.table("journey_identities", f"as_of = '{world_days[0]}'")["journey_id"])
    continued = identities.filter("continued")
    assert len(continued) > 0.8 * len(identities)
    assert (continued["overlap"] > 0).all()
    assert (identities.filter(~pl.col("continued"))["overlap"] == 0).all()
    assert set(continued.filter(pl.col("as_of") == world_days[1])["journey_id"]) <= seen_before


def test_a_keyword_is_embedded_once(finished: Pipeline) -> None:
    embeddings = finished.table("keyword_embeddings")
    assert embeddings.select("model_revision", "keyword").is_unique().all()
    assert set(finished.table("keywords")["keyword"]) == set(embeddings["keyword"])


def test_users_who_went_quiet_keep_their_newest_snapshot(finished: Pipeline, world_days: list[date]) -> None:
    current = finished.table("current_user_journeys")
    assert current["as_of"].min() == world_days[0]
    assert current["as_of"].max() == world_days[-1]
    assert (current["read_on"] == world_days[-1]).all()
    newest = finished.table("users_in_scope").group_by("user_id").agg(pl.col("as_of").max())
    assert current.join(newest, on=["user_id", "as_of"], how="anti").is_empty()


def test_a_threshold_changes_the_algorithm_version_and_a_timeout_does_not(finished: Pipeline) -> None:
    version = algorithm_in_use(Settings()).version
    assert set(finished.table("user_journeys")["algorithm_version"]) == {version}
    wider = Settings.model_validate({"clusters": {"distance_threshold": 0.61}})
    patient = Settings.model_validate({"run": {"lock_timeout_seconds": 1.0}})
    assert algorithm_in_use(wider).version != version
    assert algorithm_in_use(patient).version == version
