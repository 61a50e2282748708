"""Lifts, their intervals and verdicts: against closed forms, resampling, and another library where it is installed."""

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from journeys_dagster.notification.lifts import (
    BEFORE,
    COUNTS,
    METRICS,
    Z,
    always_p_value,
    always_width,
    corrected,
    lift_of,
    sample_of,
    split_p_value,
)
from journeys_dagster.notification.readout import READOUT_SCHEMA, USERS_SCHEMA, in_words, read_out
from journeys_dagster.settings import Experiment

pytest.importorskip("tea_tasting", reason="the extra `experiments` is not installed")
START = date(2026, 3, 1)


def users(arm: str, number: int, *, clicks: float = 0.1, active: float = 5.0, seed: int = 0) -> pl.DataFrame:
    """Some users of an arm, alike before and after."""
    draw = np.random.default_rng([seed, len(arm)])
    often = draw.gamma(3.0, 1 / 3, number)
    sends, before = draw.poisson(4, number), draw.poisson(4, number)
    columns = {
        **dict.fromkeys((*COUNTS, *(f"{BEFORE}{name}" for name in COUNTS)), np.zeros(number)),
        "sends": sends,
        "opens": draw.binomial(sends, 0.4),
        "clicks": draw.binomial(sends, np.minimum(clicks * often, 1)),
        "active_days": draw.poisson(active * often),
        "opt_outs": (draw.random(number) < 0.05).astype(float),
        f"{BEFORE}sends": before,
        f"{BEFORE}clicks": draw.binomial(before, np.minimum(0.1 * often, 1)),
        f"{BEFORE}active_days": draw.poisson(5.0 * often),
    }
    frame = pl.DataFrame({"arm": [arm] * number, "days": [14] * number, **columns})
    return frame.select(*USERS_SCHEMA).cast(pl.Schema(USERS_SCHEMA))  # type: ignore[arg-type]


CONTROL, TREATED = users("a", 900), users("bb", 1100, clicks=0.12)
SAMPLES = sample_of(CONTROL), sample_of(TREATED)


def linear(frame: pl.DataFrame, total: str, per: str | None) -> tuple[float, NDArray[np.float64]]:
    """A metric, and what each user adds to its error: the delta method."""
    above = frame[total].to_numpy()
    below = frame[per].to_numpy() if per else np.ones(len(above))
    ratio = above.sum() / below.sum()
    return ratio, (above - ratio * below) / below.mean()


@pytest.mark.parametrize("metric", ["clicks_per_send", "clicks_per_user", "active_days", "opt_outs", "opens_per_send"])
def test_a_lift_and_its_error_are_those_of_the_closed_form(metric: str) -> None:
    measure, found = METRICS[metric], lift_of(*SAMPLES, metric)
    assert found is not None
    before = f"{BEFORE}{measure.total}", measure.per and f"{BEFORE}{measure.per}"
    values, terms = zip(*(linear(of, measure.total, measure.per) for of in (CONTROL, TREATED)), strict=True)
    slope, earlier, earlier_terms = 0.0, (0.0, 0.0), tuple(np.zeros(len(of)) for of in terms)
    together = pl.concat([CONTROL, TREATED])
    if together[before[0]].sum():
        earlier, earlier_terms = zip(*(linear(of, *before) for of in (CONTROL, TREATED)), strict=True)
        own, other = (linear(together, *of)[1] for of in ((measure.total, measure.per), before))
        slope = np.cov(own, other)[0, 1] / other.var(ddof=1)
    expected = (values[1] - values[0]) - slope * (earlier[1] - earlier[0])
    error = math.sqrt(
        sum((of - slope * was).var(ddof=1) / len(of) for of, was in zip(terms, earlier_terms, strict=True))
    )
    assert found.value == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found.error == pytest.approx(error, rel=1e-9)
    assert found.interval() == pytest.approx((expected - Z * error, expected + Z * error), rel=1e-9, abs=1e-12)
    assert found.p_value == pytest.approx(math.erfc(abs(expected) / error / math.sqrt(2)), rel=1e-6)
    assert math.exp(found.log_value) == pytest.approx(found.treated / found.control)
    plain = math.sqrt(sum(of.var(ddof=1) / len(of) for of in terms))
    assert found.variance_saved == pytest.approx(1 - (error / plain) ** 2, abs=1e-9)


def test_the_error_of_a_ratio_is_that_of_resampled_users() -> None:
    draw = np.random.default_rng(5)
    ratios = []
    for frame in (CONTROL, TREATED):
        counts = draw.multinomial(frame.height, np.full(frame.height, 1 / frame.height), size=4000)
        ratios.append((counts @ frame["opens"].to_numpy()) / (counts @ frame["sends"].to_numpy()))
    found = lift_of(*SAMPLES, "opens_per_send")
    assert found is not None
    # The error of a standard deviation from 4,000 draws is 1.1 %.
    assert found.error == pytest.approx((ratios[1] - ratios[0]).std(), rel=0.05)


def test_what_cannot_be_compared_is_not() -> None:
    none = sample_of(CONTROL.with_columns(sends=0.0, clicks=0.0))
    assert lift_of(none, SAMPLES[1], "clicks_per_send") is None
    assert lift_of(SAMPLES[0], none, "clicks_per_send") is None
    without = sample_of(TREATED.with_columns(clicks=0.0))
    assert lift_of(none, without, "clicks_per_user") is None
    without = sample_of(TREATED.with_columns(clicks=0.0, before_clicks=0.0))
    found = lift_of(sample_of(CONTROL.with_columns(before_clicks=0.0)), without, "clicks_per_user")
    assert found is not None
    assert math.isnan(found.log_error)
    # Nobody was sent anything before: there is nothing to adjust by.
    fresh = [sample_of(of.with_columns(before_sends=0.0, before_clicks=0.0)) for of in (CONTROL, TREATED)]
    found = lift_of(fresh[0], fresh[1], "clicks_per_send")
    assert found is not None
    assert found.variance_saved == 0.0


def test_corrections_are_those_of_the_books() -> None:
    from scipy.stats import false_discovery_control

    p_values = [0.01, 0.04, 0.03, 0.005]
    assert corrected(p_values, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert corrected(p_values, "benjamini-hochberg") == pytest.approx(false_discovery_control(p_values))
    assert corrected([], "holm") == []


def test_an_uneven_split_is_as_improbable_as_it_is() -> None:
    from scipy.stats import binomtest

    assert split_p_value(520, 440, ratio=1.0) == pytest.approx(binomtest(440, 960, 0.5).pvalue)
    assert split_p_value(66_000, 34_000, ratio=0.5) == pytest.approx(binomtest(34_000, 100_000, 1 / 3).pvalue, rel=0.03)
    assert split_p_value(51_000, 49_000, ratio=1.0) < 1e-9


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0, 7.0])
def test_the_p_value_for_every_look_is_where_its_interval_leaves_zero(share: float) -> None:
    width = always_width(share, 1.0)
    assert always_p_value(width, share, 1.0) == pytest.approx(0.05)
    assert always_p_value(width + 0.01, share, 1.0) < 0.05 < always_p_value(width - 0.01, share, 1.0)
    assert always_p_value(0.0, share, 1.0) == 1.0
    narrowest = min(always_width(at, 1.0) for at in (0.25, 0.5, 1.0, 2.0, 4.0))
    assert always_width(1.0, 1.0) == narrowest > Z


def test_a_random_walk_seldom_leaves_the_interval_for_every_look() -> None:
    walks = np.random.default_rng(3).standard_normal((4000, 400)).cumsum(axis=1)
    looks = np.arange(1, 401)
    z = np.abs(walks) / np.sqrt(looks)
    widths = np.array([always_width(float(look), 100.0) for look in looks])
    left = (z > widths).any(axis=1).mean()
    assert left < 0.05
    assert (z > Z).any(axis=1).mean() > 0.3


def experiment(**changed: Any) -> Experiment:
    given = {
        "name": "trial",
        "start": START,
        "control": "a",
        "arms": {"a": {"share": 0.45}, "bb": {"share": 0.55}},
        "metrics": ["clicks_per_user", "active_days"],
        "guardrails": {"opt_outs": 0.5},
        "minimum_days": 14,
        "minimum_users": 800,
    }
    return Experiment.model_validate({**given, **changed})


def said(frame: pl.DataFrame, *, day: int = 14, **changed: Any) -> dict[str, str]:
    rows = read_out(frame, experiment(**changed), as_of=START + timedelta(days=day - 1))
    assert rows.schema == pl.Schema(READOUT_SCHEMA)
    assert len(in_words(rows)) == rows.height
    return dict(rows.select("metric", "verdict").iter_rows())


def test_verdicts_go_by_one_look_on_the_reading_day_and_by_every_look_on_others() -> None:
    good = pl.concat([users("a", 900), users("bb", 1100, clicks=0.2, active=5.02)])
    # Without those who entered today there were too few yesterday.
    entering = good.with_columns(days=pl.when(pl.int_range(pl.len()).over("arm") < 200).then(1).otherwise("days"))
    read = read_out(entering, experiment(), as_of=START + timedelta(days=13))
    assert read["is_reading_day"].all()
    verdicts = said(entering)
    assert verdicts["clicks_per_user"].startswith("better: +")
    assert verdicts["active_days"].startswith("no difference shown: ")
    assert "guardrail" in verdicts["opt_outs"]
    after = said(good, day=20)
    assert after["clicks_per_user"].startswith("better: +")
    assert after["active_days"] == "nothing shown yet"
    early = said(good, day=6)
    assert early["active_days"] == "too early (6 of 14 days)"
    assert early["clicks_per_user"].startswith("too early (6 of 14 days); so far: better: +")
    assert said(good, day=14, minimum_users=1000)["active_days"] == "too early (14 of 14 days, 900 of 1,000 users)"


def test_worse_and_broken_are_said_and_fewer_may_be_better() -> None:
    frame = pl.concat([users("a", 900), users("bb", 1100, clicks=0.03)])
    assert said(frame)["clicks_per_user"].startswith("worse: -")
    is_treated = pl.col("arm") == "bb"
    often = (pl.int_range(pl.len()) % 4 == 0).cast(pl.Float64)
    more = frame.with_columns(opt_outs=pl.when(is_treated).then(often).otherwise("opt_outs"))
    assert said(more)["opt_outs"].startswith("guardrail broken: worse by more than 50.0%: +")
    once = frame.with_columns(sends=pl.when(is_treated).then(1.0).otherwise("sends"))
    fewer = said(once, metrics=["sends_per_user"])
    assert fewer["sends_per_user"].startswith("better: -")


def test_an_uneven_split_is_not_read() -> None:
    frame = pl.concat([users("a", 900), users("bb", 800, clicks=0.5)])
    (verdict,) = set(said(frame).values())
    assert verdict.startswith("not to be read: 900 users and 800 in place of 0.45 : 0.55 (p = ")


def test_an_experiment_that_has_just_begun_says_little() -> None:
    assert read_out(users("a", 900), experiment(), as_of=START).is_empty()
    few = pl.concat([users("a", 9), users("bb", 11)])
    read = read_out(few, experiment(), as_of=START)
    assert read["always_low"].null_count() == read.height
    assert read["verdict"].str.starts_with("too early (1 of 14 days, 9 of 800 users)").all()


def test_other_libraries_agree() -> None:
    """Needs spotify-confidence, whose pandas is an older one: in an environment of its own."""
    confidence = pytest.importorskip("spotify_confidence", reason="spotify-confidence is not installed")
    import pandas as pd

    found = lift_of(*SAMPLES, "active_days")
    without = [sample_of(of.drop("before_active_days")) for of in (CONTROL, TREATED)]
    plain = lift_of(without[0], without[1], "active_days")
    assert found is not None
    assert plain is not None
    rows = []
    for arm, frame in (("a", CONTROL), ("bb", TREATED)):
        own, was = frame["active_days"].to_numpy(), frame["before_active_days"].to_numpy()
        sums = {"n": len(own), "x": own.sum(), "xx": (own**2).sum(), "f": was.sum(), "ff": (was**2).sum()}
        rows.append({"arm": arm, **sums, "xf": (own * was).sum()})
    data = pd.DataFrame(rows)
    columns: dict[str, Any] = {
        "numerator_column": "x",
        "numerator_sum_squares_column": "xx",
        "denominator_column": "n",
        "categorical_group_columns": "arm",
        "interval_size": 0.95,
    }
    theirs = confidence.ZTest(data, **columns).difference(level_1="a", level_2="bb").iloc[0]
    assert (theirs["difference"], theirs["p-value"]) == pytest.approx((plain.value, plain.p_value), rel=1e-6)
    assert (theirs["ci_lower"], theirs["ci_upper"]) == pytest.approx(plain.interval(), rel=1e-6)
    before = {"feature_column": "f", "feature_sum_squares_column": "ff", "feature_cross_sum_column": "xf"}
    theirs = confidence.ZTestLinreg(data, **columns, **before).difference(level_1="a", level_2="bb").iloc[0]
    # Its slope is that within arms, ours that of both together.
    assert theirs["difference"] == pytest.approx(found.value, abs=0.02 * found.error)
    assert (theirs["ci_upper"] - theirs["ci_lower"]) / (2 * Z) == pytest.approx(found.error, rel=0.01)
