"""Lifecycle and stage: every edge by hand, and the day on which a journey ends."""

from datetime import date, datetime, time, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference.stage_model import FEATURES
from journeys_dagster.inference.stages import (
    ENDED,
    EVERGREEN,
    MONTH_DAYS,
    ONGOING,
    SITUATIONAL,
    outlived_silence,
    stage_journeys,
)
from journeys_dagster.settings import Settings

STAGES = Settings().stages
OUTPUT = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "lifecycle": pl.String,
    "stage": pl.String,
    "stage_model": pl.String,
    "span_days": pl.Int32,
    "active_months_share": pl.Float64,
    "days_since_last": pl.Int32,
    "ends_on": pl.Date,
    "evergreen_until": pl.Date,
}
FIRST = date(2025, 1, 6)


def journeys_of(
    days: list[date], *, as_of: date, user_days: list[date] | None = None, name: str = "j", at: time = time(12)
) -> pl.DataFrame:
    """A journey with an event on each of some days, of a user who was here on these days or on others too."""
    known: list[date] = sorted({*(user_days or []), *days})
    since = {
        "days_since_last": (as_of - max(days)).days,
        "days_since_first": (as_of - min(days)).days,
        "user_days_since_last": (as_of - known[-1]).days,
        "user_tenure_days": (as_of - known[0]).days,
    }
    features = dict.fromkeys(FEATURES, 0.0) | {name: float(max(value, 0)) for name, value in since.items()}
    features |= {"days_active": float(len(days)), "user_active_days": float(len(known))}
    row: dict[str, Any] = {
        "user_id": "u",
        "journey_id": name,
        "first_seen": datetime.combine(min(days), at),
        "last_seen": datetime.combine(max(days), at),
        "active_months": len({(day - min(days)).days // MONTH_DAYS for day in days}),
    }
    return pl.DataFrame(row | features, schema_overrides={"active_months": pl.Int32})


def stage(days: list[date], *, as_of: date, user_days: list[date] | None = None, at: time = time(12), **changed: Any):
    settings = STAGES.model_copy(update=changed)
    found = stage_journeys(journeys_of(days, as_of=as_of, user_days=user_days, at=at), as_of=as_of, settings=settings)
    assert dict(found.schema) == OUTPUT
    return found.row(0, named=True)


def every(step: int, count: int, first: date = FIRST) -> list[date]:
    return [first + timedelta(days=step * place) for place in range(count)]


@pytest.mark.parametrize(("since", "expected"), [(0, ONGOING), (20, ONGOING), (21, ENDED), (300, ENDED)])
def test_a_journey_ends_after_twice_its_usual_gap(since: int, expected: str):
    # Five days ten apart, of a person who comes every ten days: twice ten days of silence are outlived.
    days = every(10, 5)
    row = stage(days, as_of=days[-1] + timedelta(days=since))
    assert (row["lifecycle"], row["stage"], row["days_since_last"]) == (SITUATIONAL, expected, since)
    assert row["ends_on"] == days[-1] + timedelta(days=21)


@pytest.mark.parametrize(
    ("days", "user_days", "silence"),
    [
        ([FIRST], every(3, 10), 10),  # a person who is often here: the least
        ([FIRST], every(8, 10), 16),  # their own gap decides on what was seen once
        ([FIRST], every(40, 10), 20),  # but counts for ten days at most
        ([FIRST], [FIRST], 20),  # and of who came once it is not known
        (every(1, 30), every(1, 30), 10),
        (every(7, 4), every(7, 20), 14),
        (every(25, 4), every(5, 20), 40),
        (every(60, 4), every(5, 60), 60),  # no journey outlives more
    ],
)
def test_silence_is_long_for_this_journey_and_this_person(days: list[date], user_days: list[date], silence: int):
    as_of = max(*days, *user_days)
    row = stage(days, as_of=as_of, user_days=user_days)
    assert row["ends_on"] == max(days) + timedelta(days=silence + 1)


def test_a_journey_left_alone_for_most_of_a_year_has_ended():
    weekly = every(7, 52, date(2024, 1, 1))
    row = stage(every(30, 3, date(2024, 1, 1)), as_of=date(2024, 12, 31), user_days=weekly)
    assert (row["days_since_last"], row["stage"]) == (305, ENDED)


def test_evergreen_holds_through_some_weeks_of_rest_where_engagement_is_spread_over_many_months():
    days = every(9, 30)  # 261 days
    assert stage(days, as_of=days[-1])["lifecycle"] == EVERGREEN
    until = days[-1] + timedelta(days=61)  # a quarter of the span, but 60 days at most
    for rest in (14, 35, 60):
        row = stage(days, as_of=days[-1] + timedelta(days=rest))
        assert (row["stage"], row["evergreen_until"]) == (EVERGREEN, until)
    after = stage(days, as_of=until)
    assert (after["lifecycle"], after["stage"], after["evergreen_until"]) == (SITUATIONAL, ENDED, None)
    # A rest within does not count against it either.
    rested = [day for day in days if not 100 < (day - FIRST).days < 142]
    assert stage(rested, as_of=days[-1])["stage"] == EVERGREEN


@pytest.mark.parametrize("length", [60, 75, 92])
def test_a_busy_season_is_not_evergreen(length: int):
    person = every(4, 90, date(2024, 1, 1))
    season = [date(2024, 9, 1) + timedelta(days=day) for day in range(length)]
    row = stage(season, as_of=season[-1], user_days=person)
    assert (row["lifecycle"], row["stage"]) == (SITUATIONAL, ONGOING)
    assert stage(season, as_of=season[-1] + timedelta(days=20), user_days=person)["stage"] == ENDED


def test_once_a_month_for_most_of_a_year_is_evergreen_and_twice_a_year_is_not():
    person = every(3, 110, date(2024, 1, 1))
    assert stage(every(30, 10, date(2024, 1, 1)), as_of=date(2024, 10, 15), user_days=person)["stage"] == EVERGREEN
    row = stage([date(2024, 1, 5), date(2024, 9, 5)], as_of=date(2024, 9, 6), user_days=person)
    assert (row["lifecycle"], row["active_months_share"]) == (SITUATIONAL, pytest.approx(2 / 9))


@pytest.mark.parametrize(("days", "lifecycle"), [(55, SITUATIONAL), (56, EVERGREEN), (57, EVERGREEN)])
def test_a_span_of_just_the_threshold_is_evergreen(days: int, lifecycle: str):
    last = FIRST + timedelta(days=days)
    row = stage([*every(5, 11), last], as_of=last, at=time(23, 59, 59))
    assert (row["lifecycle"], row["span_days"]) == (lifecycle, days)


@pytest.mark.parametrize(("before", "lifecycle"), [(70, EVERGREEN), (71, SITUATIONAL)])
def test_fewer_days_than_are_enough_must_be_half_of_what_is_known_of_the_person(before: int, lifecycle: str):
    days = every(7, 11)  # 70 days
    person = [FIRST - timedelta(days=before), *days]
    row = stage(days, as_of=days[-1], user_days=person)
    assert row["lifecycle"] == lifecycle
    enough = every(7, 17)  # 112 days
    long = [FIRST - timedelta(days=200), *enough]
    assert stage(enough, as_of=enough[-1], user_days=long)["lifecycle"] == EVERGREEN


def test_an_event_after_the_day_of_the_snapshot_counts_as_of_that_day():
    row = stage([date(2025, 6, 30)], as_of=date(2025, 6, 29))
    assert (row["stage"], row["days_since_last"], row["active_months_share"]) == (ONGOING, 0, 1.0)
    assert row["ends_on"] == date(2025, 7, 21)


def test_no_journeys_have_no_stages():
    found = stage_journeys(journeys_of([FIRST], as_of=FIRST).clear(), as_of=FIRST, settings=STAGES)
    assert found.is_empty()
    assert dict(found.schema) == OUTPUT


HISTORIES = st.lists(st.integers(0, 300), min_size=1, max_size=40, unique=True).map(
    lambda days: [FIRST + timedelta(days=day) for day in sorted(days)]
)


@given(HISTORIES, HISTORIES, st.integers(0, 200))
def test_a_snapshot_tells_the_stage_of_every_later_day(days: list[date], others: list[date], later: int):
    newest = max(*days, *others)
    told = stage(days, as_of=newest, user_days=others)
    day = newest + timedelta(days=later)
    seen = stage(days, as_of=day, user_days=others)
    if told["evergreen_until"] is not None and day < told["evergreen_until"]:
        expected = EVERGREEN
    else:
        expected = ONGOING if day < told["ends_on"] else ENDED
    assert (seen["stage"], seen["ends_on"]) == (expected, told["ends_on"])


@given(HISTORIES, st.floats(0.5, 5), st.integers(1, 90), st.integers(1, 90))
def test_what_is_outlived_lies_within_bounds_and_grows_with_the_gaps(
    days: list[date], gaps: float, least: int, most: int
):
    settings = STAGES.model_copy(update={"ended_after_gaps": gaps, "ended_min_days": least, "ended_max_days": most})
    rows = journeys_of(days, as_of=days[-1])
    (silence,) = outlived_silence(rows, settings)
    assert min(least, most) <= silence <= most
    (longer,) = outlived_silence(rows, settings.model_copy(update={"ended_after_gaps": gaps + 1}))
    assert longer >= silence


def test_a_user_gets_the_same_bits_without_the_others():
    as_of = date(2025, 12, 31)
    rows = [journeys_of(every(1 + n % 13, 1 + n % 29), as_of=as_of, name=f"j{n:03}") for n in range(150)]
    together = stage_journeys(pl.concat(rows), as_of=as_of, settings=STAGES)
    alone = [stage_journeys(row, as_of=as_of, settings=STAGES) for row in rows]
    assert_frame_equal(pl.concat(alone), together, check_exact=True)
