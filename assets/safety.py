"""Step: whether each journey may be listed, and notified."""

import polars as pl

from assets.safety_verdicts import TABLE as VERDICTS
from assets.safety_verdicts import checked_texts, read_verdicts, revision_of
from journeys_dagster.inference import steps
from journeys_dagster.inference.safety_policy import ALLOW, BLOCK, QUIET
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.tables import Column

# Whole millionths add up to the same sum in any order.
_MASS = "cast(round_even(weight * 1e6, 0) as bigint)"
_JOURNEYS = f"""
    with members as (
        select user_id, cluster, count(*) as keywords, cast(sum({_MASS}) as bigint) as mass
        from clusters where as_of = $as_of and {{of_batch}}
        group by user_id, cluster
    )
    select user_id, journey_id, name, coalesce(keywords, 0) as keywords, coalesce(mass, 0) as mass
    from names
    left join journey_identities using (as_of, user_id, journey_id)
    left join members using (user_id, cluster)
    where as_of = $as_of and {{of_batch}}
"""
# A verdict is on lower case, which a keyword that equals an allowed text is in. The others may still be allowed.
_DOUBTFUL = f"""
    with doubtful as (
        select user_id, cluster, keyword, {_MASS} as mass
        from clusters
        where as_of = $as_of and {{of_batch}} and keyword not in (
            select text from {VERDICTS.name} where revision = $revision and outcome = '{ALLOW}' and not by_model
        )
    )
    select user_id, journey_id, keyword, mass
    from doubtful
    join journey_identities using (user_id, cluster)
    where as_of = $as_of and {{of_batch}}
"""


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """A batch of users' journeys, those of their keywords that may not be allowed, and the verdicts on both."""
    warehouse, settings = snapshot.warehouse, snapshot.settings
    journeys = snapshot.read(_JOURNEYS, batch=batch)
    doubtful = snapshot.read(_DOUBTFUL, batch=batch, params={"revision": revision_of(settings)})
    # Distinct first: a batch says the same thousand texts many times.
    texts = {"name": checked_texts(journeys["name"].unique()), "keyword": checked_texts(doubtful["keyword"].unique())}
    return {
        "journeys": journeys,
        "doubtful": doubtful,
        "name_verdicts": read_verdicts(warehouse, texts["name"], settings, names=True),
        "keyword_verdicts": read_verdicts(warehouse, texts["keyword"], settings, names=False),
    }


def count(rows: pl.DataFrame) -> dict[str, float]:
    """Journeys that are not simply allowed."""
    return {outcome: rows.filter(outcome=outcome).height for outcome in (QUIET, BLOCK)}


SAFETY = SnapshotStep(
    name="safety",
    description="Whether each journey may be listed, and notified: by the verdicts on its name and keywords. A journey "
    "without a verdict is blocked.",
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "outcome": Column(type="VARCHAR", description="allow, quiet (listed, never notified) or block (not listed)"),
        "category": Column(type="VARCHAR", description="the policy's category; null where allowed", nullable=True),
        "reasons": Column(type="VARCHAR[]", description="what was found in name and keywords, in the policy's words"),
        "unlisted_keywords": Column(type="VARCHAR[]", description="the journey's keywords that may not be listed"),
    },
    key=("as_of", "user_id", "journey_id"),
    deps=("clusters", "journey_identities", "names", VERDICTS.name, "users_in_scope"),
    kinds=frozenset({"polars"}),
    read=read,
    compute=steps.check_safety,
    count=count,
)
