"""`journeys run`: ingest what is missing, infer as of a day, and say what was not read, was rejected, or is lacking."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import click
import dagster as dg
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.landing_reports import print_passed_over, print_rejected
from journeys_dagster.cli.progress import out, progress_bar, say
from journeys_dagster.cli.rejected import days_over, rejected_by_reason
from journeys_dagster.orchestration.runs import MissingDays, RowsRejectedError, infer, ingest, missing_days
from journeys_dagster.orchestration.shortfalls import ITEMS_KNOWN, what_is_missing
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.shards import layout_of
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings, load_settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.folder_names import DAY_FOLDER
from journeys_dagster.sources.survey import Survey

_DAY = click.DateTime(["%Y-%m-%d"])
_COUNTS = """
    select 'landing rows read' as what, sum(rows_read) as n, 0 as place from landed_days where arrival_day <= $day
    union all select 'landing rows accepted', sum(rows_accepted), 1 from landed_days where arrival_day <= $day
    union all select 'exact duplicates', sum(rows_duplicate), 2 from landed_days where arrival_day <= $day
    union all select 'over the cap of rows per user and day', sum(rows_over_cap), 3
    from landed_days where arrival_day <= $day having sum(rows_over_cap) > 0
    union all select 'rejected: ' || reason, count(*), 3 from rejected_rows where arrival_day <= $day group by all
    union all select 'journeys listed', count(*), 8 from user_journeys where as_of = $day
    union all select 'users with journeys', count(distinct user_id), 9 from user_journeys where as_of = $day
"""
_OF_USERS = """
    union all select 'users in scope', count(*), 4 from users_in_scope where as_of = $day
    union all select 'keywords of users', count(*), 5 from keywords where as_of = $day
    union all select 'distinct keywords', count(distinct keyword), 6 from keywords where as_of = $day
    union all select 'journeys found', count(*), 7 from rankings where as_of = $day
"""
# The rest lies in the shards.
_OF_SHARDS = "union all select 'users with a snapshot', count(*), 4 from user_snapshots where as_of = $day"


@click.command("run")
@click.option("--date", "day", required=True, type=_DAY, help="Day to infer as of (UTC).")
@click.option(
    "--scope",
    default="active_users",
    show_default=True,
    type=click.Choice(["active_users", "all_users"]),
    help="Users with a row that arrived that day, or everyone with history.",
)
def run_command(day: datetime, scope: str) -> None:
    """Ingest the landing days that are missing, then infer journeys as of a day."""
    home = Home.from_environment()
    with plain_errors():
        settings = load_settings()
        run(home, settings, as_of=day.date(), scope=scope)
        print_counts(home.warehouse(settings), day.date())


def run(home: Home, settings: Settings, *, as_of: date, scope: str) -> None:
    """Ingest what is missing up to `as_of`, then infer, and say what was not read and what was rejected."""
    # Building the definitions reads every model; a wrong date is reported before that.
    _require_past(as_of)
    from journeys_dagster.definitions import build_defs

    landing_zone, warehouse = home.landing_zone(), home.warehouse(settings)
    warehouse.migrate()
    survey = landing_zone.survey(declared_sources(settings))
    print_passed_over(survey, home.landing)
    sources = [name for name in declared_sources(settings) if name in survey.sources]
    _require_days(survey, home)
    with home.dagster_instance() as instance:
        # The day itself is ingested by the run that infers it.
        missing = missing_days(
            warehouse,
            landing_zone,
            sources,
            since=settings.landing.first_day or date.min,
            up_to=as_of - timedelta(days=1),
            max_rejected_share=settings.landing.max_rejected_share,
            landed=survey.days,
        )
        _say_incomplete(home, missing, survey)
        for source in sources:
            landing_zone.landed_folders(source, [as_of])
        defs = build_defs(settings=settings, home=home)
        _require_partition(defs, as_of)
        days = [*missing.fingerprints, as_of]
        with _rejected_rows_said(warehouse, days, settings.landing.max_rejected_share):
            if missing.ranges:
                count = sum((last - first).days + 1 for first, last in missing.ranges)
                title = f"ingest landing days up to {missing.ranges[-1][1]} ({count} days)"
                with progress_bar(title, total=None) as advance:
                    ingest(defs, instance, missing.ranges, sources=sources, begun=advance, warn=say)
            with progress_bar(f"infer as of {as_of}, {scope}", total=None) as advance:
                failed = infer(defs, instance, as_of=as_of, scope=scope, begun=advance, warn=say)
    # The items that users dealt with are in the shards; of these the check itself says what is not known.
    failed -= {ITEMS_KNOWN} if settings.run.shards > 1 else set()
    for line in what_is_missing(warehouse, survey, as_of, failed):
        say(line)


@contextmanager
def _rejected_rows_said(warehouse: Warehouse, days: Sequence[date], limit: float) -> Iterator[None]:
    """Print why rows of the days were rejected, when the work is done, or stops for it."""
    what = f"of {days[-1]}" if len(days) == 1 else f"of {len(days):,} days up to {days[-1]}"
    try:
        yield
    except RowsRejectedError:
        print_rejected(rejected_by_reason(warehouse, days=days), what)
        held_up = days_over(warehouse, limit, days)
        raise click.ClickException(
            f"the run stopped: more than {limit:.1%} was rejected of {held_up}. The good rows are in. Mend what the "
            "table says and run again; `journeys rejected` shows the rows. Only where they may be lost, raise "
            "landing.max_rejected_share."
        ) from None
    print_rejected(rejected_by_reason(warehouse, days=days), what)


def _require_days(survey: Survey, home: Home) -> None:
    if survey.sources:
        return
    if survey.passed_over:
        raise click.ClickException(
            f"landing zone {home.landing} is not empty, but holds no day by the names that are read: "
            f"SOURCE/{DAY_FOLDER}. What lies there is listed above, with what to do"
        )
    raise click.ClickException(
        f"landing zone {home.landing} is empty: use `journeys simulate`, `journeys import`, or write your own "
        "days to it (README, 'Your own data')"
    )


def _require_past(as_of: date) -> None:
    today = datetime.now(UTC).date()
    if as_of >= today:
        raise click.BadParameter(
            f"{as_of} is not over yet (today is {today}, UTC); the newest day that can be inferred is "
            f"{today - timedelta(days=1)}",
            param_hint="--date",
        )


def _require_partition(defs: dg.Definitions, as_of: date) -> None:
    partitions = defs.resolve_job_def("daily_incremental").partitions_def
    first = partitions.get_first_partition_key() if partitions else None
    if first is not None and as_of.isoformat() < first:
        raise click.BadParameter(f"{as_of} is before the first day, {first}", param_hint="--date")


def _say_incomplete(home: Home, missing: MissingDays, survey: Survey) -> None:
    for source, day in missing.incomplete:
        folder = home.landing_zone().folder(source, day)
        say(f"Left out: {day} of {source} is not complete ({folder} has no _SUCCESS file).")
    for source in sorted({source for source, _ in missing.incomplete} & survey.marked_at_root):
        say(f"The _SUCCESS in the folder of {source} itself says so of no day: each day's folder needs its own.")


def print_counts(warehouse: Warehouse, as_of: date) -> None:
    """What came in and what came out."""
    table = Table("what", "count", title=f"As of {as_of}")
    layout = layout_of(warehouse)
    counts = warehouse.query(_COUNTS + (_OF_USERS if layout is None else _OF_SHARDS), {"day": as_of})
    for what, count, _ in counts.sort("place", "what").iter_rows():
        table.add_row(what, f"{int(count or 0):,}")
    out.print(table)
    if layout is not None:
        out.print(
            f"Users are split over {layout.count} shards: training, retention, the quality watch and the judge's "
            "metrics do not run. `journeys reshard --shards 1` moves users together"
        )
