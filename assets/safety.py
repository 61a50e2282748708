"""Step: whether each journey may be listed, and notified."""

import polars as pl

from assets.members import read_members
from assets.safety_verdicts import TABLE as VERDICTS
from assets.safety_verdicts import checked_texts, read_verdicts
from assets.snapshots import Snapshot, SnapshotStep
from journeys_dagster.inference import steps
from journeys_dagster.inference.safety_policy import BLOCK, QUIET
from journeys_dagster.tables import Column

_NAMES = "select user_id, journey_id, name from names where as_of = $as_of and {of_batch}"


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """Names and keywords of a batch of users' journeys, and the verdicts on them."""
    names, read = snapshot.read(_NAMES, batch=batch), read_members(snapshot, batch, "keyword, weight")
    warehouse, settings = snapshot.warehouse, snapshot.settings
    # Distinct first: a batch says the same thousand texts many times.
    return {
        **read,
        "names": names,
        "name_verdicts": read_verdicts(warehouse, checked_texts(names["name"].unique()), settings, names=True),
        "keyword_verdicts": read_verdicts(
            warehouse, checked_texts(read["members"]["keyword"].unique()), settings, names=False
        ),
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
