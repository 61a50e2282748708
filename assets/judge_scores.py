"""What the judge says of the first journeys of some users' lists."""

from datetime import date
from typing import Any

import polars as pl

from journeys_dagster.inference.frames import Frames, with_codes
from journeys_dagster.inference.judge import EVIDENCE, EVIDENCE_JUDGE, judged, measure
from journeys_dagster.inference.judge_sampling import STRATA, sample_sql
from journeys_dagster.inference.llm_judge import JUDGE_PROMPT, OPINION_SCHEMA, JudgeAnswer, apply_opinions, judge_inputs
from journeys_dagster.inference.segments import centroids, segment_starts
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.orchestration.reads import read_embeddings
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.settings import Settings
from journeys_dagster.sql.models import tables_of
from journeys_dagster.tables import double, integer, text, texts

_JOURNEYS = """
    with covered as (
        select user_id, journey_id, count(*) as events
        from journey_events
        where as_of = $as_of
            and occurred_at >= cast($as_of as timestamp) - interval 27 day
            and {of_batch}
            and user_id in (select user_id from sample)
        group by user_id, journey_id
    ),

    everything as (select user_id, sum(events) as events from covered group by user_id)

    select
        user_id,
        journey_id,
        user_journeys.rank,
        coalesce(covered.events / everything.events, 0.0) as coverage,
        date_diff('second', journey_engagement.last_seen, cast($as_of as timestamp) + interval 1 day) / 86400
            as days_since,
        journey_engagement.cohesion,
        name_keyword.centroid_similarity as name_similarity,
        stages.stage,
        names.name,
        sample.stratum,
        sample.share as sample_share
    from journey_identities
    join sample using (user_id)
    join journey_engagement using (as_of, user_id, journey_id)
    join stages using (as_of, user_id, journey_id)
    join names using (as_of, user_id, journey_id)
    join clusters as name_keyword
        on name_keyword.as_of = $as_of and name_keyword.user_id = journey_identities.user_id
        and name_keyword.keyword = names.keyword
    left join user_journeys using (as_of, user_id, journey_id)
    left join covered
        on covered.user_id = journey_identities.user_id and covered.journey_id = journey_identities.journey_id
    left join everything on everything.user_id = journey_identities.user_id
    where journey_identities.as_of = $as_of and journey_identities.user_id between $first_user and $last_user
    order by user_id, journey_id
"""
_KEYWORDS = """
    select user_id, keyword, weight, events, sources, first_seen, last_seen
    from keywords
    where as_of = $as_of and {of_batch} and user_id in (select user_id from sample)
"""
_MEMBERS = """
    select user_id, journey_id, keyword, weight
    from clusters
    join sample using (user_id)
    join journey_identities using (as_of, user_id, cluster)
    where as_of = $as_of and {of_batch}
    order by user_id, journey_id, keyword
"""


def of_sampled_users(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """All journeys of those users of a batch who are in the sample, with the evidence on them."""
    sample = sample_sql(snapshot.settings.judge, with_labelled=snapshot.warehouse.has_table("human_labels"))
    journeys = snapshot.read(f"with sample as materialized ({sample}) select * from ({_JOURNEYS})", batch=batch)
    members = snapshot.read(f"with sample as materialized ({sample}) select * from ({_MEMBERS})", batch=batch)
    return {
        "journeys": journeys,
        "members": members,
        "embeddings": read_embeddings(snapshot, members),
        "opinions": _opinions(snapshot, sample, journeys, members, batch=batch),
    }


def _opinions(
    snapshot: Snapshot, sample: str, journeys: pl.DataFrame, members: pl.DataFrame, *, batch: int
) -> pl.DataFrame:
    """What the language model says of the sampled users' lists; nothing where it is not used or gives no answer."""
    rows: list[tuple[Any, ...]] = []
    if snapshot.llm is not None:
        keywords = snapshot.read(f"with sample as materialized ({sample}) select * from ({_KEYWORDS})", batch=batch)
        listed = journeys.filter(pl.col("rank").is_not_null()).select("user_id", "journey_id", "rank", "name", "stage")
        users = list(judge_inputs(listed, members, keywords, snapshot.as_of, top=snapshot.settings.judge.top))
        outcomes = snapshot.llm.complete(
            load_prompt(JUDGE_PROMPT), [user.data for user in users], JudgeAnswer, progress=snapshot.progress
        )
        for user, outcome in zip(users, outcomes, strict=True):
            if outcome.answer is not None:
                rows.extend(user.opinions(outcome.answer))
    return pl.DataFrame(rows, schema=OPINION_SCHEMA, orient="row")


def judged_users(rows: pl.DataFrame) -> dict[str, float]:
    """Users who are judged."""
    return {"judged_users": rows["user_id"].n_unique()}


@snapshot_asset(
    grain="one row per as_of, user and judged or missed journey",
    columns={
        "journey_id": text("the journey"),
        "rank": integer("place in the user's list; null where it was missed", nullable=True),
        "level": integer("5 highly relevant to 1 irrelevant or harmful", nullable=True),
        **{
            name: double(f"evidence, 0 to 1: {what}")
            for name, what in zip(
                EVIDENCE,
                (
                    "share of the activity of four weeks, as of a quarter",
                    "half as much every 14 days since the last event",
                    "mean cosine of the keywords to their centre",
                    "1 less the cosine to the nearest journey ranked above",
                    "cosine of the name to the centre",
                ),
                strict=True,
            )
        },
        "faults": texts("duplicate, wrong name, wrong stage; missed: not on the list"),
        "explanation": text("why; says whether a language model took part"),
        "judge": text("evidence (no language model), or the language model's name"),
        "stratum": text(f"the user's activity: {', '.join(STRATA)}; or labelled"),
        "sample_share": double("share of the stratum's users who are judged"),
    },
    key=("as_of", "user_id", "journey_id"),
    read=of_sampled_users,
    deps=(
        *(tables_of(_JOURNEYS, _KEYWORDS, _MEMBERS) - {"sample"}),
        *("keyword_embeddings", "user_events", "human_labels"),
    ),
    kinds={"polars", "numpy"},
    count=judged_users,
    of_every_user=False,
    llm=("judge",),
)
def judge_scores(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """What the judge says of the first journeys of a sample of users, stratified by activity; users with human
    labels of the day are in it too.
    """
    members, vectors = with_codes(frames["members"], frames["embeddings"])
    starts = segment_starts(members.select("user_id", "journey_id"))
    centres = centroids(vectors, members["code"].to_numpy(), members["weight"].to_numpy(), starts)
    # Both are sorted by user and journey; a journey without an event that counts any more is not judged.
    of_member = members.select("user_id", "journey_id")[starts[:-1]].with_row_index("place")
    journeys = frames["journeys"].join(of_member, on=["user_id", "journey_id"], maintain_order="left")
    measured = measure(journeys, centres[journeys["place"].to_numpy()])
    by_evidence = judged(measured, top=settings.judge.top).with_columns(judge=pl.lit(EVIDENCE_JUDGE))
    scores = apply_opinions(measured, by_evidence, frames["opinions"], judge=settings.llm.model)
    sampled = journeys.select("user_id", "stratum", "sample_share").unique()
    return scores.join(sampled, on="user_id", maintain_order="left")
