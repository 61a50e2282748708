"""What a small language model of one's own calls each distinct journey, asked once. Off unless a student is set."""

import time

import dagster as dg
import polars as pl

from journeys_dagster.inference.student import student_of_process, student_path, student_revision
from journeys_dagster.orchestration.asset import Run, table_asset
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.engine import engine_in_use
from journeys_dagster.resources.student_titles import STUDENT_TITLES, distinct_journeys, title_journeys

_MEMBERS = """
    select user_id, cluster::varchar as journey_id, keyword, weight
    from clusters
    where as_of = $as_of
        and user_id in (select user_id from users_in_scope where as_of = $as_of and batch = $batch)
"""
_BATCHES = "select distinct batch from users_in_scope where as_of = $as_of order by batch"


@table_asset(
    STUDENT_TITLES,
    kinds={"python", "pytorch"},
    sql=[_MEMBERS, _BATCHES],
    only_with=lambda settings: bool(settings.naming.student),
)
def student_titles(run: Run) -> dg.MaterializeResult:
    """Title the distinct journeys that the student has not been asked about."""
    warehouse, settings = run.warehouse, run.settings
    folder = student_path(settings.naming.student)
    engine, student = engine_in_use(settings, warehouse), student_of_process(folder)
    began, journeys, asked = time.monotonic(), 0, 0
    for day in run.days:
        for batch in warehouse.query(_BATCHES, {"as_of": day})["batch"]:
            distinct = distinct_journeys(warehouse.query(_MEMBERS, {"as_of": day, "batch": batch}))
            asked += title_journeys(
                warehouse,
                engine,
                student,
                distinct,
                progress=lambda done, new, day=day: run.log(f"{day}: {done:,} of {new:,} new journeys titled"),
            )
            journeys += len(distinct)
    seconds = time.monotonic() - began
    revision = student_revision(folder)
    kept = warehouse.query(
        f"select title, log_probability, count(*) over () as rows from {STUDENT_TITLES.name} "
        "where student = $student order by log_probability desc limit 5",
        {"student": revision},
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": kept["rows"][0] if len(kept) else 0,
            "student": revision,
            "distinct_journeys": journeys,
            "newly_titled": asked,
            "names_per_second": asked / seconds if asked else 0.0,
            "sample": dg.MetadataValue.md(
                markdown_table(kept.drop("rows").with_columns(pl.col("title").fill_null("")))
            ),
        }
    )
