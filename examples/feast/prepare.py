"""Write the newest export of the marts as the one file that the feature repository reads.

Run ``journeys export --to EXPORTS``, then ``python prepare.py EXPORTS``. Feast keeps one row per entity and time, so
that a user's list is one row: a row per journey would leave those behind that a list has lost.
"""

import sys
from pathlib import Path

import duckdb

TO = Path(__file__).parent / "data" / "user_journeys.parquet"
_LISTED = "journey_id, name, may_notify, phase, confidence, return_probability, ends_on, evergreen_until"
_TEXTS = {"ends_on": "cast(ends_on as varchar)", "evergreen_until": "coalesce(cast(evergreen_until as varchar), '')"}


def prepare(exports: Path, to: Path = TO) -> Path:
    """Write the file, and return its path.

    A list counts from the day after its snapshot, which sees what had arrived by then. Of each user's newest snapshot
    it is `current_user_journeys`, which leaves out what the user has hidden since.
    """
    finished = [done.parent for done in exports.glob("marts_as_of_*/_SUCCESS")]
    if not finished:
        raise SystemExit(f"no finished export in {exports}: use `journeys export --to {exports}` first")
    export = max(finished, key=lambda folder: folder.name.rsplit("_", 1)[-1])
    quoted = str(export).replace("'", "''")
    marts = ("user_snapshots", "user_journeys", "current_user_journeys")
    snapshots, journeys, current = (f"read_parquet('{quoted}/{name}.parquet')" for name in marts)
    features = ", ".join(
        f"coalesce(list({_TEXTS.get(name, name)} order by rank) filter (rank is not null), []) as {name}"
        for name in _LISTED.split(", ")
    )
    sql = f"""
        with snapshots as (select user_id, as_of from {snapshots}),
        newest as (select user_id, max(as_of) as as_of from snapshots group by user_id),
        listed as (
            select user_id, as_of, rank, {_LISTED} from {journeys} anti join newest using (user_id, as_of)
            union all by name
            select user_id, as_of, rank, {_LISTED} from {current}
        )

        select user_id, cast(as_of + 1 as timestamp) as known_from, count(rank) as journeys, {features}
        from snapshots left join listed using (user_id, as_of)
        group by user_id, as_of
        order by as_of, user_id
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    new = to.with_suffix(".new")
    duckdb.sql(sql).write_parquet(str(new))
    new.replace(to)
    return to


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1])))
