"""The quality watch: drift in closed form, expectations, judging of days, and its asset on a small world."""

import math
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from conftest import EMBEDDER, Pipeline
from scipy.stats import chi2, entropy

from assets.quality_metrics import watch_days
from journeys_dagster.monitoring.baselines import baseline
from journeys_dagster.monitoring.drift import best_shift, population_stability_index, silent_share, surprise
from journeys_dagster.monitoring.measures import MEASURED_SCHEMA, PAIR_SYMBOLS, symbol_of
from journeys_dagster.monitoring.metrics import LANDING, METRICS
from journeys_dagster.monitoring.watch import alarms_text, check_days
from journeys_dagster.reporting.watch_plot import watched_days, watched_ranges
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import QualitySettings, Settings

FIRST = date(2025, 1, 6)  # a Monday
QUALITY = QualitySettings()  # type: ignore[call-arg]
NOISE = np.random.default_rng(3).normal(0, 0.08, 120)


def test_the_index_is_the_sum_of_both_divergences() -> None:
    counts, reference = np.array([90_000, 60_000, 50_000]), np.array([50_000, 30_000, 20_000])
    p, q = counts / counts.sum(), reference / reference.sum()
    expected = entropy(p, q) + entropy(q, p)
    assert population_stability_index(counts, reference) == pytest.approx(expected, rel=1e-4)
    assert population_stability_index([2, 2], [1, 3]) == pytest.approx((2.5 / 5 - 1.5 / 5) * math.log(2.5 / 1.5) * 2 - (
        (2.5 / 5 - 1.5 / 5) * math.log(2.5 / 1.5) - (2.5 / 5 - 3.5 / 5) * math.log(2.5 / 3.5)
    ))  # fmt: skip
    assert population_stability_index(reference, reference) == 0


def test_the_index_of_two_samples_of_one_distribution_is_a_scaled_chi_square() -> None:
    generator = np.random.default_rng(0)
    shares, n, m = np.full(10, 0.1), 2_000, 8_000
    found = [
        population_stability_index(generator.multinomial(n, shares), generator.multinomial(m, shares))
        for _ in range(2_000)
    ]
    assert np.mean(found) == pytest.approx(9 * (1 / n + 1 / m), rel=0.05)
    assert np.quantile(found, 0.95) == pytest.approx(chi2.ppf(0.95, 9) * (1 / n + 1 / m), rel=0.08)


def test_counts_of_different_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="counts have 2 bins and the reference 3"):
        population_stability_index([1, 2], [1, 2, 3])


@pytest.mark.parametrize("hours", [-11, -5, -1, 0, 1, 5, 12])
def test_the_shift_of_a_profile_is_found(hours: int) -> None:
    profile = np.array([0] * 7 + [1, 5, 9, 12, 14, 15, 13, 9, 6, 3, 1, 1, 2, 1, 0, 0, 0])
    assert best_shift(np.roll(profile, hours), 8 * profile) == hours


def test_the_silent_share_is_of_the_usual_day() -> None:
    assert silent_share([0, 5, 0, 1], [10, 20, 30, 40]) == 0.4
    assert silent_share([0, 0], [0, 0]) == 0


def test_surprise_is_the_entropy_rate_on_the_model_itself_and_more_on_anything_else() -> None:
    pairs = np.array([[900_000, 100_000], [500_000, 500_000]])
    rates = [entropy([0.9, 0.1], base=2), 1.0]
    assert surprise(pairs, pairs) == pytest.approx(np.mean(rates), rel=1e-4)
    assert surprise(np.array([[1, 9], [5, 5]]), pairs) > surprise(np.array([[9, 1], [5, 5]]), pairs)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("a", "A", True), ("a", "b", False), ("1", "9", True), (" ", "\u3000", True), ("\ufffd", "\x00", True),
     (".", ",", True), (".", " ", False), ("1", ".", False), ("ж", "и", True), ("ж", "z", False), ("$", "\x00", True)],
)  # fmt: skip
def test_characters_share_a_symbol_by_kind(one: str, other: str, same: bool) -> None:
    assert (symbol_of(one) == symbol_of(other)) is same
    assert 0 <= symbol_of(one) < PAIR_SYMBOLS


def weekdays_of(days: int) -> np.ndarray:
    return np.arange(days) % 7


def test_a_weekday_is_expected_by_its_own_effect_and_the_newest_level() -> None:
    values = np.log(np.where(weekdays_of(56) == 6, 300.0, 1_000.0)) + NOISE[:56]
    assert math.exp(baseline(values, weekdays_of(56), 6).centre) == pytest.approx(300, rel=0.25)
    assert math.exp(baseline(values, weekdays_of(56), 0).centre) == pytest.approx(1_000, rel=0.1)
    grown = values + np.where(np.arange(56) >= 42, math.log(2), 0)
    assert math.exp(baseline(grown, weekdays_of(56), 0).centre) == pytest.approx(2_000, rel=0.15)


def test_an_outlier_among_the_days_before_changes_little() -> None:
    values = np.log(1_000.0) + NOISE[:56]
    plain = baseline(values, weekdays_of(56), 0)
    values[50] -= 5
    spoilt = baseline(values, weekdays_of(56), 0)
    assert spoilt.centre == pytest.approx(plain.centre, abs=0.05)
    assert spoilt.deviation == pytest.approx(plain.deviation, rel=0.3)


def rows_of(metric: str, values: dict[date, float | None], *, counts: dict[date, list[int]] | None = None,
            observations: int = 1_000) -> pl.DataFrame:  # fmt: skip
    scope, name = (LANDING, "searches") if METRICS[metric].landing else ("active_users", "")
    return pl.DataFrame(
        [
            {"as_of": day, "scope": scope, "metric": metric, "slice": name, "value": value,
             "observations": observations, "counts": (counts or {}).get(day), "fingerprint": "f"}
            for day, value in values.items()
        ],
        schema=MEASURED_SCHEMA,
    )  # fmt: skip


def checked(metric: str, past: list[float], value: float, settings: QualitySettings = QUALITY) -> dict:
    days = {FIRST + timedelta(days=step): amount for step, amount in enumerate(past)}
    today = FIRST + timedelta(days=len(past))
    return check_days(rows_of(metric, {today: value}), rows_of(metric, dict(days)), settings).row(0, named=True)


@pytest.mark.parametrize(
    ("metric", "usual", "fault"),
    [
        ("volume", 1_000.0, 400.0),
        ("volume", 1_000.0, 2_600.0),
        ("volume", 1_000.0, 0.0),
        ("rows_per_user", 5.0, 2.5),
        ("duplicate_share", 0.01, 0.5),
        ("rejected_share", 0.0, 0.03),
        ("same_day_share", 0.99, 0.02),
        ("text_length", 20.0, 4.0),
        ("no_journey_share", 0.01, 0.3),
        ("journeys_per_user", 6.0, 3.0),
        ("keyword_growth", 1.1, 0.55),
        ("unnamed_share", 0.0, 0.1),
        ("embedding_coverage", 1.0, 0.98),
    ],
)
def test_a_fault_is_an_alarm_and_an_ordinary_day_is_not(metric: str, usual: float, fault: float) -> None:
    noise = NOISE[:42] if METRICS[metric].scale == "factor" else np.zeros(42)
    past = list(usual * np.exp(noise))
    found = checked(metric, past, fault)
    assert found["alarm"]
    assert found["severity"] == getattr(QUALITY, metric).severity
    assert METRICS[metric].advice in found["reason"]
    ordinary = checked(metric, past, usual)
    assert not ordinary["alarm"]
    assert ordinary["reason"] == ""
    assert ordinary["low"] <= usual <= ordinary["high"]
    assert ordinary["history_days"] == 42


def test_a_tenth_of_users_without_journeys_is_seen_by_their_share_alone() -> None:
    assert checked("no_journey_share", [0.01] * 42, 0.11)["alarm"]
    assert not checked("journeys_per_user", list(6.0 * np.exp(NOISE[:42])), 5.4)["alarm"]


def test_metrics_that_are_measured_no_more_are_left_alone() -> None:
    past = rows_of("volume", {FIRST + timedelta(days=step): 1_000.0 for step in range(42)})
    with_others = pl.concat([past, past.with_columns(metric=pl.lit("text_drift"))])
    today = rows_of("volume", {FIRST + timedelta(days=42): 100.0})
    assert check_days(today, with_others, QUALITY).equals(check_days(today, past, QUALITY))


def test_nothing_is_an_alarm_before_there_is_enough_history() -> None:
    young = checked("volume", [1_000.0] * (QUALITY.min_history_days - 1), 1.0)
    assert (young["alarm"], young["expected"], young["history_days"]) == (False, None, 20)
    assert checked("volume", [1_000.0] * QUALITY.min_history_days, 1.0)["alarm"]


def test_tolerance_and_deviations_both_have_to_be_passed() -> None:
    steady = [100.0] * 42
    assert not checked("volume", steady, 140.0)["alarm"]
    assert checked("volume", steady, 160.0)["alarm"]
    wide = QUALITY.model_copy(update={"volume": QUALITY.volume.model_copy(update={"tolerance": 1.0})})
    assert not checked("volume", steady, 160.0, wide)["alarm"]


def test_days_after_the_one_that_is_judged_do_not_count() -> None:
    past = {FIRST + timedelta(days=step): 1_000.0 + step for step in range(42)}
    today, later = FIRST + timedelta(days=42), {FIRST + timedelta(days=43 + step): 9.0 for step in range(20)}
    alone = check_days(rows_of("volume", {today: 500.0}), rows_of("volume", dict(past)), QUALITY)
    with_later = check_days(rows_of("volume", {today: 500.0}), rows_of("volume", {**past, **later}), QUALITY)
    assert alone.equals(with_later)


def test_judging_days_together_equals_judging_them_one_after_the_other() -> None:
    values: dict[date, float | None] = {FIRST + timedelta(days=step): 100 * math.exp(NOISE[step]) for step in range(60)}
    together = check_days(rows_of("volume", values), rows_of("volume", {}), QUALITY)
    one_by_one = pl.DataFrame(schema=together.schema)
    for day, value in values.items():
        one_by_one = pl.concat([one_by_one, check_days(rows_of("volume", {day: value}), one_by_one, QUALITY)])
    assert together.equals(one_by_one)


def closed_on_saturdays(days: int, level: float) -> dict[date, float | None]:
    every = [FIRST + timedelta(days=step) for step in range(days)]
    return {day: level * math.exp(NOISE[step]) for step, day in enumerate(every) if day.weekday() != 5}


def silence(day: date, level: float, settings: QualitySettings = QUALITY) -> bool:
    past = {other: value for other, value in closed_on_saturdays(120, level).items() if other < day}
    return check_days(rows_of("volume", {day: 0.0}), rows_of("volume", past), settings)["alarm"][0]


def test_a_silent_source_is_an_alarm_on_the_days_on_which_it_usually_has_rows() -> None:
    saturday = FIRST + timedelta(days=54)
    assert saturday.weekday() == 5
    assert not silence(saturday, 1_000)
    assert silence(saturday + timedelta(days=1), 1_000)
    holiday = QUALITY.model_copy(update={"closed_days": [saturday + timedelta(days=1)]})
    assert not silence(saturday + timedelta(days=1), 1_000, holiday)


def test_a_source_of_a_few_rows_is_missed_on_the_third_day() -> None:
    past = dict(closed_on_saturdays(50, 4.0))
    generator = np.random.default_rng(1)
    past = {day: float(generator.choice([1, 2, 4, 9, 20])) for day in past}
    alarms = {}
    for step in range(50, 54):
        day = FIRST + timedelta(days=step)
        alarms[step] = check_days(rows_of("volume", {day: 0.0}), rows_of("volume", dict(past)), QUALITY)["alarm"][0]
        past[day] = 0.0
    assert alarms == {50: False, 51: False, 52: True, 53: True}


def hours(level: float, generator: np.random.Generator, *, shift: int = 0, late_only: bool = False) -> list[int]:
    profile = np.roll(np.array([0] * 8 + [2, 5, 8, 9, 10, 9, 8, 6, 4, 2] + [0] * 6), shift) * level
    counts = generator.poisson(profile)
    return [int(count) * (not late_only or hour >= 13) for hour, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("metric", "fault", "alarm"),
    [
        ("hour_drift", {}, False),
        ("hour_drift", {"shift": 5}, True),
        ("silent_hours", {}, False),
        ("silent_hours", {"late_only": True}, True),
        ("silent_hours", {"shift": -5}, True),
    ],
)
def test_a_moved_or_halved_day_is_seen_in_its_hours(metric: str, fault: dict, alarm: bool) -> None:
    generator = np.random.default_rng(5)
    past = {FIRST + timedelta(days=step): hours(1, generator) for step in range(56)}
    history = check_days(rows_of(metric, dict.fromkeys(past), counts=past), rows_of(metric, {}), QUALITY)
    assert not history["alarm"].any()
    today = FIRST + timedelta(days=56)
    counts = {today: hours(1, generator, **fault)}
    found = check_days(rows_of(metric, {today: None}, counts=counts), history, QUALITY).row(0, named=True)
    assert found["alarm"] is alarm
    if metric == "hour_drift" and alarm:
        assert "moved by +5 h" in found["reason"]


def test_alarms_are_told_newest_first_and_the_rest_counted() -> None:
    rows = [
        {"as_of": FIRST + timedelta(days=n), "slice": "", "alarm": n != 3, "reason": f"fault {n}."} for n in range(8)
    ]
    text = alarms_text(rows, most=2)
    assert text == "2025-01-13 fault 7. 2025-01-12 fault 6. 5 more are in quality_metrics."


def test_a_plot_is_drawn_of_ranges_alarms_and_gaps(tmp_path: Path) -> None:
    series = pl.DataFrame(
        {
            "day": [FIRST + timedelta(days=step) for step in range(4)],
            "value": [10.0, 0.0, None, 900.0],
            "low": [None, 5.0, 5.0, 5.0],
            "high": [None, 20.0, 20.0, 20.0],
            "alarm": [False, True, False, True],
        }
    )
    for log in (False, True):
        png = watched_days({"searches": series, "items": series.clear()}, title="volume", y_label="rows", log=log)
        assert png == watched_days({"searches": series}, title="volume", y_label="rows", log=log)
        assert png.startswith(b"\x89PNG")
    assert watched_days({}, title="volume", y_label="rows").startswith(b"\x89PNG")


def test_ranges_are_drawn_a_line_for_each_series_with_something_expected() -> None:
    def line(name: str, deviations: list[float | None]) -> pl.DataFrame:
        days = [FIRST + timedelta(days=step) for step in range(len(deviations))]
        alarms = [deviation is not None and abs(deviation) > 1 for deviation in deviations]
        return pl.DataFrame(
            {"series": name, "day": days, "deviation": deviations, "alarm": alarms},
            schema_overrides={"deviation": pl.Float64},
        )

    usual, unknown = line("volume", [None, 0.0, -0.5, 3.0]), line("length", [None, None])
    png = watched_ranges(usual, title="ranges")
    assert png.startswith(b"\x89PNG")
    assert watched_ranges(pl.concat([unknown, usual]), title="ranges") == png
    assert watched_ranges(line("volume", [None, 0.0, -0.5, 0.5]), title="ranges") != png
    # Beyond a range of one value is as far as can be, not unknown.
    assert watched_ranges(line("volume", [0.0, math.inf, -math.inf]), title="ranges") == watched_ranges(
        line("volume", [0.0, 9.0, -9.0]), title="ranges"
    )
    assert watched_ranges(unknown, title="ranges") == watched_ranges(unknown.clear(), title="ranges")


def test_the_watch_has_history_from_its_first_run(finished: Pipeline, world_days: list[date]) -> None:
    metrics = finished.table("quality_metrics")
    assert metrics.select("as_of", "scope", "metric", "slice").is_unique().all()
    volume = metrics.filter(metric="volume", slice="searches")
    landed = finished.table("landed_days", "source = 'searches'")
    assert volume.sort("as_of")["value"].to_list() == landed.sort("arrival_day")["rows_accepted"].to_list()
    assert set(metrics.filter(pl.col("scope") != LANDING)["as_of"]) == set(world_days)
    assert set(metrics["metric"]) == set(METRICS)
    of_last_day = metrics.filter(pl.col("scope") == "active_users", pl.col("as_of") == world_days[-1])
    values = dict(of_last_day.select("metric", "value").iter_rows())
    snapshots = finished.table("user_snapshots", f"as_of = '{world_days[-1]}'")
    assert values["journeys_per_user"] == snapshots["journeys"].mean()
    assert values["embedding_coverage"] == 1
    counts = finished.table("keywords").group_by("user_id", "as_of").len().sort("user_id", "as_of")
    growth = counts.with_columns(growth=pl.col("len") / pl.col("len").shift(1).over("user_id")).drop_nulls()
    assert values["keyword_growth"] == growth.filter(as_of=world_days[-1])["growth"].median()


def test_a_day_watched_again_has_the_same_rows(
    finished: Pipeline, tmp_path: Path, finished_home: Path, world_days: list[date]
) -> None:
    shutil.copytree(finished_home, tmp_path / "again")
    again = Pipeline(Home(tmp_path / "again"))
    before = again.table("quality_metrics")
    for days in ([world_days[-1]], world_days):
        watch_days(again.warehouse, again.settings, days, model_revision=EMBEDDER.revision)
        assert (
            again.table("quality_metrics")
            .filter(pl.col("as_of") == world_days[-1])
            .equals(before.filter(pl.col("as_of") == world_days[-1]))
        )


def test_an_alarm_is_a_failed_check_that_does_not_stop_the_run(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline = copy_of_world("thinned")
    pipeline.settings = Settings.model_validate({"quality": {"min_history_days": 14}})
    for file in (pipeline.home.landing / "engagements" / f"date={world_days[-2]}").glob("*.parquet"):
        pl.read_parquet(file).head(1).write_parquet(file)
    defs = Pipeline(pipeline.home, pipeline.settings)
    result = defs.materialize("engagements", "quality_metrics", days=(world_days[-2], world_days[-2]))
    assert result.success
    checks = {
        check.check_name: check
        for check in result.get_asset_check_evaluations()
        if check.asset_key == dg.AssetKey("quality_metrics")
    }
    assert set(checks) == set(METRICS)
    volume = checks["volume"]
    assert not volume.passed
    assert not volume.blocking
    assert volume.severity == dg.AssetCheckSeverity.ERROR
    assert "engagements: rows accepted 1, below" in (volume.description or "")
    assert "data:image/png;base64," in str(volume.metadata["plot"].value)
    assert checks["embedding_coverage"].passed
    assert "plot" not in checks["embedding_coverage"].metadata
    assert "Too little history" in (checks["stage_drift"].description or "")
