"""What of the landing zone a snapshot has seen: its fingerprint, and the states of landing days in order."""

from journeys_dagster.sources.contracts import LANDED_DAYS
from journeys_dagster.tables import Table, bigint, text, utc_day

SEEN_LANDING_DAYS = Table(
    name="seen_landing_days",
    kind="kept",
    description="Every state of a landing day that an inference has seen, in order. Shows what has changed since a "
    "snapshot.",
    grain="one row per number, source and arrival_day",
    columns={
        "number": bigint("1 for what the first inference saw, then one more per change"),
        "source": text("the source"),
        "arrival_day": utc_day("UTC day on which the rows arrived"),
        "fingerprint": text("as in landed_days"),
    },
    key=("number", "source", "arrival_day"),
)
LANDED_DAY_KEY = "md5_number_lower(concat_ws('|', source, arrival_day, fingerprint))"
LANDING_FINGERPRINT = f"""
    select coalesce(cast(sum({LANDED_DAY_KEY}) as varchar), '0') as landing_fingerprint
    from landed_days where arrival_day <= $as_of
"""
"""What of the landing zone a snapshot sees. A sum, so that a running sum gives it for all days in one pass."""

UNSEEN_LANDING_DAYS = """
    select (select coalesce(max(number), 0) + 1 from seen_landing_days), source, arrival_day, landed_days.fingerprint
    from landed_days
    left join (
        select source, arrival_day, arg_max(fingerprint, number) as fingerprint
        from seen_landing_days
        group by source, arrival_day
    ) as latest using (source, arrival_day)
    where latest.fingerprint is distinct from landed_days.fingerprint
    order by arrival_day, source
"""
"""What has changed since `seen_landing_days`, in the shape of its next rows."""
SEE_LANDING_DAYS = (
    LANDED_DAYS.create_sql(),
    SEEN_LANDING_DAYS.create_sql(),
    f"insert into seen_landing_days {UNSEEN_LANDING_DAYS}",
)
"""Statements that note the state of the landing days for `seen_landing_days`."""
