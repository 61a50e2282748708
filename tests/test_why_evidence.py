"""What `why` names first is what a journey hangs on: without it, the score falls."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from conftest import WORLD_LAST_DAY, Pipeline

from journeys_dagster.resources.home import Home
from journeys_dagster.serving.evidence import read_evidence
from journeys_dagster.serving.why import explain
from journeys_dagster.sources.parameters import action_names
from lab.simulation import simulate

pytestmark = pytest.mark.slow
USERS, SEED = 250, 31
SOURCES = {"searches": "search", "engagements": "engagement", "board_items": "board"}
MEMBERS = """
    select user_id, journey_id, keyword, weight
    from clusters join journey_identities using (as_of, user_id, cluster)
    where as_of = $day
"""


def cited(pipeline: Pipeline, day: date) -> pl.DataFrame:
    """Each listed journey, the keyword that `why` names first, and who is the same person without it."""
    rows = []
    listed = pipeline.table("current_user_journeys")
    actions, sure_from = action_names(pipeline.settings), pipeline.settings.output.min_confidence
    shown = {
        (row["user_id"], row["journey_id"], each["shown"]): each["keyword"]
        for row in listed.iter_rows(named=True)
        for each in row["keywords"]
    }
    with pipeline.warehouse.read() as connection:
        for user, journey in listed.select("user_id", "journey_id").rows():
            evidence = read_evidence(connection, user, journey)
            told = explain(evidence, on=day, min_confidence=sure_from, actions=actions, described={})
            keyword = shown[user, journey, told["keywords"][0]["keyword"]]
            rows.append({"user_id": user, "journey_id": journey, "keyword": keyword, "twin": f"{user}|{journey}"})
    return pl.DataFrame(rows)


def land_twins(landing: Path, twins: pl.DataFrame, taken: pl.DataFrame) -> None:
    """Beside each person, one for each of their journeys, who has done all the same but for what was taken away."""
    for source, kind in SOURCES.items():
        of_source = taken.filter(pl.col("source") == kind).select("twin", "occurred_at").unique()
        for file in sorted((landing / source).rglob("*.parquet")):
            rows = pl.read_parquet(file)
            copies = (
                rows.join(twins.select("user_id", "twin"), on="user_id")
                .join(
                    of_source.cast({"occurred_at": rows.schema["occurred_at"]}), on=["twin", "occurred_at"], how="anti"
                )
                .with_columns(user_id=pl.col("twin"))
                .select(rows.columns)
            )
            copies.write_parquet(file.with_name("twins.parquet"))


def remains(pipeline: Pipeline, twins: pl.DataFrame, day: date) -> pl.DataFrame:
    """Each twin's journey that holds most of what else the journey was made of; none where nothing is left."""
    members = pipeline.warehouse.query(MEMBERS, {"day": day})
    of_twins = members.select(twin="user_id", journey_of_twin="journey_id", member="keyword")
    return (
        twins.join(members.select("user_id", "journey_id", "weight", member="keyword"), on=["user_id", "journey_id"])
        .join(of_twins, on=["twin", "member"])
        .group_by("twin", "journey_of_twin")
        .agg(pl.col("weight").sum())
        .sort("twin", "weight", "journey_of_twin", descending=[False, True, False])
        .unique("twin", keep="first")
        .drop("weight")
    )


def give_twins_the_journeys_of_their_persons(pipeline: Pipeline, twins: pl.DataFrame) -> None:
    """So that nothing differs but the evidence: without it what is left may find itself in another journey."""
    with pipeline.warehouse.write() as connection:
        connection.register("twins", twins)
        for table in ("clusters", "journey_identities"):
            connection.execute(f"delete from {table} where user_id in (select twin from twins)")
        connection.execute("""
            insert into clusters by name
            select clusters.* replace (
                twin as user_id, keywords.weight as weight, keywords.events as events,
                keywords.days_active as days_active, keywords.sources as sources,
                keywords.first_seen as first_seen, keywords.last_seen as last_seen
            )
            from clusters
            join twins using (user_id)
            join keywords on keywords.user_id = twin and keywords.keyword = clusters.keyword
                and keywords.as_of = clusters.as_of
        """)
        connection.execute("""
            insert into journey_identities by name
            select journey_identities.* replace (twin as user_id)
            from journey_identities join twins using (user_id)
        """)


def score_anew(pipeline: Pipeline, day: date) -> None:
    """Run the steps from journeys to scores."""
    job = pipeline.defs.resolve_job_def("full_inference")
    steps = ("journey_events", "journey_engagement", "journey_features", "rankings")
    result = job.execute_in_process(
        instance=pipeline.instance,
        partition_key=day.isoformat(),
        asset_selection=[dg.AssetKey(step) for step in steps],
    )
    assert result.success


def scores(pipeline: Pipeline, day: date) -> pl.DataFrame:
    return pipeline.warehouse.query("select user_id, journey_id, score from rankings where as_of = $day", {"day": day})


def compared(twins: pl.DataFrame, of_twins: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Each journey's score, and what is left of it without its evidence: nothing where the journey is gone."""
    left = of_twins.join(
        scores.rename({"user_id": "twin", "journey_id": "journey_of_twin", "score": "without"}),
        on=["twin", "journey_of_twin"],
        how="left",
    )
    return twins.join(scores, on=["user_id", "journey_id"]).join(left, on="twin", how="left")


def told(found: pl.DataFrame) -> dict[str, float]:
    """How many scores fell, and how far."""
    falls = pl.col("without").is_null() | (pl.col("without") < pl.col("score"))
    figures = {
        "fell": falls.mean(),
        "gone": pl.col("without").is_null().mean(),
        "median_left": (pl.col("without") / pl.col("score")).median(),
        "median_of_risen": (pl.col("without") / pl.col("score")).filter(~falls).median(),
    }
    return found.select(**figures).row(0, named=True)


def test_without_the_evidence_named_first_the_score_falls(tmp_path: Path, figures: Callable[..., None]):
    day = WORLD_LAST_DAY
    pipeline = Pipeline(Home(tmp_path / "home"))
    simulate(pipeline.home.landing, users=USERS, days=60, seed=SEED, last_day=day)
    pipeline.run(day, "all_users")
    twins = cited(pipeline, day)
    events = pipeline.warehouse.query(
        "select user_id, keyword, source, occurred_at from keyword_events "
        "where known_from <= $day and known_until > $day",
        {"day": day},
    )
    taken = twins.join(events, on=["user_id", "keyword"])
    assert taken["twin"].n_unique() == len(twins)

    # Everybody in one world, so that what the population does is the same for both.
    (tmp_path / "twins").mkdir()
    pipeline.home.landing.rename(tmp_path / "twins" / "landing")
    land_twins(tmp_path / "twins" / "landing", twins, taken)
    both = Pipeline(Home(tmp_path / "twins"))
    both.run(day, "all_users", up_to=("rankings",))
    anew = told(compared(twins, remains(both, twins, day), scores(both, day)))
    give_twins_the_journeys_of_their_persons(both, twins)
    score_anew(both, day)
    same = twins.select("twin", journey_of_twin="journey_id")
    found = compared(twins, same, scores(both, day))
    assert len(found) > 0.95 * len(twins)
    same_journey = told(found)
    figures(journeys=len(found), same_journey=_said(same_journey), inferred_anew=_said(anew))
    assert same_journey["fell"] >= 0.95


def _said(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
