"""Lifecycle and stage: every edge by hand, and the day on which a journey ends."""

from datetime import date, datetime, time, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference.stages import ENDED, EVERGREEN, ONGOING, SITUATIONAL, stage_journeys

SCHEMA = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "first_seen": pl.Datetime("us"),
    "last_seen": pl.Datetime("us"),
    "active_weeks": pl.Int32,
}
OUTPUT = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "lifecycle": pl.String,
    "stage": pl.String,
    "stage_model": pl.String,
    "return_probability": pl.Float64,
    "span_days": pl.Int32,
    "active_weeks_share": pl.Float64,
    "days_since_last": pl.Int32,
    "ends_on": pl.Date,
    "evergreen_until": pl.Date,
}
LATE = time(23, 59, 59)


def stage(
    first: datetime, last: datetime, weeks: int, *, as_of: date, span: int = 42, share: float = 0.5, ended: int = 30
) -> dict:
    found = stage_journeys(
        pl.DataFrame([("u", "j", first, last, weeks)], schema=SCHEMA, orient="row"),
        as_of=as_of,
        evergreen_min_span_days=span,
        evergreen_min_active_weeks_share=share,
        ended_after_days=ended,
    )
    assert dict(found.schema) == OUTPUT
    return found.row(0, named=True)


@pytest.mark.parametrize(("days", "lifecycle"), [(41, SITUATIONAL), (42, EVERGREEN), (43, EVERGREEN)])
def test_a_span_of_just_the_threshold_is_evergreen(days: int, lifecycle: str):
    first = datetime(2025, 3, 3)
    # The hour of the day plays no part: late on the first day to early on the last counts whole days.
    row = stage(
        datetime.combine(first, LATE), first + timedelta(days=days), 99, as_of=(first + timedelta(days=days)).date()
    )
    assert (row["lifecycle"], row["span_days"]) == (lifecycle, days)


@pytest.mark.parametrize(("weeks", "lifecycle"), [(4, SITUATIONAL), (5, EVERGREEN), (6, EVERGREEN)])
def test_activity_in_just_the_threshold_share_of_weeks_is_evergreen(weeks: int, lifecycle: str):
    # Monday 3 March to Sunday 11 May 2025: ten calendar weeks.
    row = stage(datetime(2025, 3, 3), datetime(2025, 5, 11, 23), weeks, as_of=date(2025, 5, 11))
    assert (row["lifecycle"], row["active_weeks_share"]) == (lifecycle, weeks / 10)


def test_weeks_count_to_the_day_of_the_snapshot_so_silence_makes_a_journey_situational():
    first, last = datetime(2025, 3, 3), datetime(2025, 5, 11)
    assert stage(first, last, 10, as_of=date(2025, 7, 20))["stage"] == EVERGREEN
    silent = stage(first, last, 10, as_of=date(2025, 7, 21))
    assert silent["active_weeks_share"] == pytest.approx(10 / 21)
    assert (silent["lifecycle"], silent["stage"]) == (SITUATIONAL, ENDED)


@pytest.mark.parametrize(("since", "expected"), [(0, ONGOING), (29, ONGOING), (30, ONGOING), (31, ENDED), (300, ENDED)])
def test_a_situational_journey_ends_when_left_alone_for_more_than_the_given_days(since: int, expected: str):
    last = datetime(2025, 3, 3, 23, 59)
    row = stage(last, last, 1, as_of=last.date() + timedelta(days=since))
    assert (row["lifecycle"], row["stage"], row["days_since_last"]) == (SITUATIONAL, expected, since)
    assert row["ends_on"] == date(2025, 4, 3)


def test_an_evergreen_journey_stays_so_until_too_many_weeks_were_idle():
    first, last = datetime(2024, 1, 1), datetime(2024, 12, 30)  # both Mondays, 53 active weeks
    row = stage(first, last, 53, as_of=date(2025, 12, 31))
    assert row["days_since_last"] == 366
    assert (row["lifecycle"], row["stage"], row["evergreen_until"]) == (EVERGREEN, EVERGREEN, date(2026, 1, 12))
    assert stage(first, last, 53, as_of=date(2026, 1, 11))["stage"] == EVERGREEN
    after = stage(first, last, 53, as_of=date(2026, 1, 12))
    assert (after["lifecycle"], after["stage"], after["evergreen_until"]) == (SITUATIONAL, ENDED, None)


def test_without_a_share_an_evergreen_journey_stays_so():
    row = stage(datetime(2024, 1, 1), datetime(2025, 1, 1), 2, as_of=date(2060, 1, 1), share=0.0)
    assert row["stage"] == EVERGREEN


@pytest.mark.parametrize(
    ("first", "as_of", "weeks"),
    [
        (datetime(2024, 12, 30), date(2025, 1, 5), 1),  # Monday to Sunday, over the year's end
        (datetime(2024, 12, 29, 23), date(2025, 1, 1), 2),  # Sunday to Wednesday
        (datetime(2024, 12, 30), date(2025, 1, 6), 2),
        (datetime(2020, 12, 28), date(2021, 1, 4), 2),  # the ISO year 2020 has 53 weeks
        (datetime(2024, 2, 26), date(2024, 3, 4), 2),  # over a leap day
        (datetime(2025, 1, 1), date(2025, 1, 1), 1),
    ],
)
def test_weeks_run_from_monday_also_over_the_years_end(first: datetime, as_of: date, weeks: int):
    row = stage(first, datetime.combine(as_of, LATE), 1, as_of=as_of)
    assert row["active_weeks_share"] == pytest.approx(1 / weeks)


def test_an_event_after_the_day_of_the_snapshot_counts_as_of_that_day():
    # Sunday's snapshot holds an event of Monday, the first of its week.
    row = stage(datetime(2025, 6, 30, 8), datetime(2025, 6, 30, 9), 1, as_of=date(2025, 6, 29))
    assert (row["stage"], row["days_since_last"], row["active_weeks_share"]) == (ONGOING, 0, 1.0)
    assert row["ends_on"] == date(2025, 7, 31)
    far = stage(datetime(2025, 7, 20), datetime(2025, 7, 20), 1, as_of=date(2025, 6, 29))
    assert (far["stage"], far["days_since_last"], far["active_weeks_share"]) == (ONGOING, 0, 1.0)
    both = stage(datetime(2025, 6, 29, 8), datetime(2025, 6, 30, 9), 2, as_of=date(2025, 6, 29))
    assert both["active_weeks_share"] == 1.0


def test_no_journeys_have_no_stages():
    found = stage_journeys(
        pl.DataFrame(schema=SCHEMA),
        as_of=date(2025, 6, 30),
        evergreen_min_span_days=42,
        evergreen_min_active_weeks_share=0.5,
        ended_after_days=30,
    )
    assert found.is_empty()
    assert dict(found.schema) == OUTPUT


MOMENTS = st.datetimes(datetime(2023, 12, 1), datetime(2025, 2, 1))


@settings(deadline=None)
@given(MOMENTS, MOMENTS, st.integers(0, 400))
def test_weeks_are_counted_as_distinct_mondays(one: datetime, other: datetime, later: int):
    first, last = min(one, other), max(one, other)
    as_of = last.date() + timedelta(days=later)
    days = (first.date() + timedelta(days=n) for n in range((as_of - first.date()).days + 1))
    mondays = {day - timedelta(days=day.weekday()) for day in days}
    assert stage(first, last, 1, as_of=as_of)["active_weeks_share"] == pytest.approx(1 / len(mondays))


@settings(deadline=None, max_examples=40)
@given(MOMENTS, MOMENTS, st.integers(1, 9), st.integers(1, 40))
def test_a_situational_journey_is_ended_from_the_day_it_was_said_to_end(
    one: datetime, other: datetime, weeks: int, ended_after_days: int
):
    first, last = min(one, other), max(one, other)
    ends_on = last.date() + timedelta(days=ended_after_days + 1)
    for offset in (-50, -3, -1, 0, 1, 2, 60):
        day = ends_on + timedelta(days=offset)
        # A span that no journey reaches leaves all of them situational.
        row = stage(first, last, weeks, as_of=day, span=10**4, ended=ended_after_days)
        assert row["ends_on"] == ends_on
        assert row["stage"] == (ENDED if day >= ends_on else ONGOING)
        assert row["days_since_last"] == max((day - last.date()).days, 0)


@settings(deadline=None, max_examples=60)
@given(MOMENTS, MOMENTS, st.integers(1, 60), st.sampled_from([0.1, 0.3, 0.5, 0.6, 0.7, 1.0]), st.integers(0, 500))
def test_a_snapshot_tells_the_stage_of_every_later_day(
    one: datetime, other: datetime, weeks: int, share: float, later: int
):
    first, last = min(one, other), max(one, other)
    told = stage(first, last, weeks, as_of=last.date(), share=share)
    day = last.date() + timedelta(days=later)
    seen = stage(first, last, weeks, as_of=day, share=share)
    if told["evergreen_until"] is not None and day < told["evergreen_until"]:
        expected = EVERGREEN
    else:
        expected = ONGOING if day < told["ends_on"] else ENDED
    assert seen["stage"] == expected
    enough = seen["active_weeks_share"] >= share and seen["span_days"] >= 42
    assert (seen["lifecycle"] == EVERGREEN) == enough


def test_a_user_gets_the_same_bits_without_the_others():
    moments = [datetime(2024, 1, 1) + timedelta(hours=37 * n) for n in range(150)]
    journeys = pl.DataFrame(
        [(f"user {n:03}", "j", moment, moment + timedelta(days=n % 60), 1 + n % 7) for n, moment in enumerate(moments)],
        schema=SCHEMA,
        orient="row",
    )

    def stages(rows: pl.DataFrame) -> pl.DataFrame:
        return stage_journeys(
            rows,
            as_of=date(2024, 10, 1),
            evergreen_min_span_days=42,
            evergreen_min_active_weeks_share=0.1,
            ended_after_days=90,
        )

    together = stages(journeys)
    assert set(together["stage"]) == {EVERGREEN, ONGOING, ENDED}
    assert_frame_equal(pl.concat([stages(row) for row in journeys.iter_slices(1)]), together, check_exact=True)
