"""Whether each journey may be listed, and notified."""

from datetime import date

import polars as pl

from assets.safety_verdicts import checked_texts, read_verdicts, revision_of, safety_verdicts
from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.safety import journey_outcomes, shown_spellings
from journeys_dagster.inference.safety_policy import ALLOW, BLOCK, QUIET, UNKNOWN
from journeys_dagster.inference.spelling import misspelt, respelt
from journeys_dagster.orchestration.reads import SPELLINGS
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Column, text, texts

# Whole millionths add up to the same sum in any order.
_WEIGHT_UNITS = "cast(round_even(weight * 1e6, 0) as bigint)"
_JOURNEYS = f"""
    with members as (
        select user_id, cluster, count(*) as keywords, cast(sum({_WEIGHT_UNITS}) as bigint) as weight_units
        from clusters where as_of = $as_of and {{of_batch}}
        group by user_id, cluster
    )
    select user_id, journey_id, name, coalesce(keywords, 0) as keywords, coalesce(weight_units, 0) as weight_units
    from names
    left join journey_identities using (as_of, user_id, journey_id)
    left join members using (user_id, cluster)
    where as_of = $as_of and {{of_batch}}
"""
# A verdict is on lower case, which a keyword that equals an allowed text is in. The others may still be allowed.
_FLAGGED = f"""
    with flagged as (
        select user_id, cluster, keyword, {_WEIGHT_UNITS} as weight_units
        from clusters
        where as_of = $as_of and {{of_batch}} and keyword not in (
            select text from {safety_verdicts.name} where revision = $revision and outcome = '{ALLOW}' and not by_model
        )
    )
    select user_id, journey_id, keyword, weight_units
    from flagged
    join journey_identities using (user_id, cluster)
    where as_of = $as_of and {{of_batch}}
"""

_RESPELT = """
    with words as (
        select keyword, unnest(string_split(keyword, ' ')) as word
        from (select distinct keyword from clusters where as_of = $as_of and {of_batch})
    )
    select user_id, journey_id, keyword
    from clusters
    join journey_identities using (as_of, user_id, cluster)
    where as_of = $as_of and {of_batch} and keyword in (
        select keyword from words where word in (select word from spellings where as_of = $as_of)
    )
    order by user_id, journey_id, keyword
"""


def with_verdicts(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """Those keywords of the journeys that may not be allowed, those that are spelt in another way than most people do,
    and the verdicts on all of them and on the names.
    """
    warehouse, settings, journeys = snapshot.warehouse, snapshot.settings, frames["journeys"]
    flagged = snapshot.read(_FLAGGED, batch=batch, params={"revision": revision_of(settings)})
    usual = respelt(pl.col("keyword"), misspelt(frames["spellings"]))
    spelt = frames["spelt"].with_columns(shown=usual).filter(pl.col("shown") != pl.col("keyword"))
    # Distinct first: a batch says the same thousand texts many times.
    texts = {
        "name": checked_texts(journeys["name"].unique()),
        "keyword": checked_texts(pl.concat([flagged["keyword"], spelt["shown"]]).unique()),
    }
    return {
        **frames,
        "flagged": flagged,
        "spelt": spelt,
        "name_verdicts": read_verdicts(warehouse, texts["name"], settings, names=True),
        "keyword_verdicts": read_verdicts(warehouse, texts["keyword"], settings, names=False),
    }


def not_simply_allowed(rows: pl.DataFrame) -> dict[str, float]:
    """Journeys that are not simply allowed."""
    return {outcome: rows.filter(outcome=outcome).height for outcome in (UNKNOWN, QUIET, BLOCK)}


@snapshot_asset(
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": text("the journey"),
        "outcome": text("allow; unknown (not covered by the policy) or quiet: never notified; block: not listed"),
        "category": text("the policy's category; null where allowed", nullable=True),
        "reasons": texts("what was found in name and keywords, in the policy's words"),
        "unlisted_keywords": texts("the journey's keywords that may not be listed"),
        "respelt_keywords": Column(
            type="STRUCT(keyword VARCHAR, shown VARCHAR)[]",
            description="misspelt keywords, and the spelling to show, which the policy allows",
        ),
    },
    key=("as_of", "user_id", "journey_id"),
    reads={"journeys": _JOURNEYS, "spelt": _RESPELT, "spellings": SPELLINGS},
    read=with_verdicts,
    deps=("clusters", safety_verdicts.name),
    kinds={"polars"},
    count=not_simply_allowed,
)
def safety(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Whether each journey may be listed, and notified: by the verdicts on its name and keywords. A journey without
    a verdict is blocked, and a keyword whose usual spelling is not allowed stays as it was typed.
    """
    journeys, key = frames["journeys"], ["user_id", "journey_id"]
    numbered = journeys.select(key).with_row_index("journey").cast({"journey": pl.Int64})
    outcomes = journey_outcomes(
        journeys,
        frames["flagged"].join(numbered, on=key).select("journey", "keyword", "weight_units"),
        frames["keyword_verdicts"],
        settings.safety,
        name_verdicts=frames["name_verdicts"],
    )
    return outcomes.join(
        shown_spellings(frames["spelt"], frames["keyword_verdicts"]), on=key, how="left", maintain_order="left"
    ).with_columns(pl.col("respelt_keywords").fill_null([]))
