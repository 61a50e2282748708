"""Titles that students wrote, kept in the warehouse, so that none is asked about a journey twice."""

from collections.abc import Callable
from contextlib import closing
from functools import partial

import polars as pl

from journeys_dagster.inference.student import Student, student_revision, title_frame
from journeys_dagster.inference.titles import title_keywords
from journeys_dagster.resources.engine import Engine
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.tables import Table, double, text

STUDENT_TITLES = Table(
    name="student_titles",
    kind="kept",
    description="The title that a small language model gives a journey by its strongest keywords, asked once.",
    grain="one row per student and distinct journey",
    columns={
        "student": text("which student: its folder's name, hash of its weights and version of its code"),
        "signature": text("hash of the journey's strongest keywords"),
        "title": text("what it wrote; null where it says that there is none", nullable=True),
        "log_probability": double("mean log-probability of what it wrote, 0 at most; the nearer to 0 the surer"),
    },
    key=("student", "signature"),
)
NEWEST_MEMBERS = """
    with newest as (
        select user_id, max(as_of) as as_of from clusters group by user_id
    )
    select user_id, cluster::varchar as journey_id, keyword, weight
    from clusters join newest using (user_id, as_of)
"""
"""Keywords of everyone's journeys, each in their newest snapshot."""
FEWEST_KEYWORDS = 3
"""With fewer, a journey is called by one of them."""
PER_WRITE = 512
"""Titles computed and written at once, or of a shard: what a kill can cost."""


def distinct_journeys(members: pl.DataFrame) -> pl.DataFrame:
    """The distinct journeys that a student is asked about.

    Parameters
    ----------
    members : DataFrame
        Columns ``user_id``, ``journey_id``, ``keyword``, ``weight``.

    Returns
    -------
    DataFrame
        Columns ``signature`` and ``title_keywords``, the shortest first, so that those that are written together are
        about equally long.
    """
    return (
        title_keywords(members)
        .filter(pl.col("title_keywords").list.len() >= FEWEST_KEYWORDS)
        .unique("signature", keep="first", maintain_order=True)
        .select("signature", "title_keywords")
        .sort(pl.col("title_keywords").list.join(", ").str.len_bytes(), "signature")
    )


def title_journeys(
    warehouse: Warehouse,
    engine: Engine,
    student: Student,
    journeys: pl.DataFrame,
    *,
    progress: Callable[[int, int], object] = lambda done, inputs: None,
) -> int:
    """Title the journeys that have none by this student yet, and keep what it wrote, part by part.

    Parameters
    ----------
    journeys : DataFrame
        From `distinct_journeys`.
    progress : callable
        Takes journeys done and journeys that had to be asked about.

    Returns
    -------
    int
        How many had to be.
    """
    revision = student_revision(student.folder)
    warehouse.create_missing([STUDENT_TITLES])
    known = warehouse.query(
        f"select signature from {STUDENT_TITLES.name} where student = $student", {"student": revision}
    )
    new = journeys.join(known, on="signature", how="anti", maintain_order="left")
    done = 0
    batches = ({"journeys": part} for part in new.iter_slices(PER_WRITE))
    with closing(engine.map(partial(title_frame, student=student), batches)) as titled:
        for frame in titled:
            _keep(warehouse, frame.with_columns(student=pl.lit(revision)))
            done += len(frame)
            progress(done, len(new))
    return len(new)


def _keep(warehouse: Warehouse, rows: pl.DataFrame) -> None:
    with warehouse.write() as connection:
        connection.register("new_rows", rows)
        # Another run may have asked about some of them meanwhile.
        connection.execute(
            f"insert into {STUDENT_TITLES.name} by name select * from new_rows "
            f"anti join {STUDENT_TITLES.name} using (student, signature)"
        )
        connection.unregister("new_rows")
