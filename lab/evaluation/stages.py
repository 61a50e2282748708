"""Whether journeys that count as ongoing are come back to, against simple forecasts; and what is evergreen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import click
import polars as pl

from journeys_dagster.inference.stage_model import StageModel
from journeys_dagster.inference.stages import EVERGREEN, stage_journeys
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.replay import labelled_snapshots, replay_features
from journeys_dagster.training.spans import WARM_UP_DAYS
from journeys_dagster.training.stager import (
    StageComparison,
    baseline_probabilities,
    compare_forecasts,
    returned_within,
    train_stage_model,
)
from lab.benchmark import Result, Run, argument, option
from lab.evaluation.corpora import is_purchases, read_log
from lab.evaluation.naming import name_in
from lab.evaluation.statistics import gain_text

HORIZONS = (14, 30)
"""Days within which a return is forecast."""
THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2)
MIN_JOURNEYS = 30
_TRAINING_WEEKS = 10
_ENGAGEMENT = "select user_id, journey_id, first_seen, last_seen, active_weeks from journey_engagement"
_KEYWORDS = """
    select user_id, journey_id, keyword, weight, events, sources, centroid_similarity
    from clusters join journey_identities using (user_id, cluster)
"""


@dataclass(frozen=True)
class Stages:
    """Whether journeys that count as ongoing are come back to, forecast on the last days of a log.

    PATH is UCI Online Retail (Parquet), of which the most evergreen names are shown too, or search missions
    (tab-separated).
    """

    name: ClassVar[str] = "stages"
    path: Path = argument()
    test_days: int | None = option(
        None,
        "Newest days to forecast: of purchases 60, of searches all after ten weeks.",
        type=click.IntRange(1),
    )
    topics: tuple[str, ...] = option(
        ("christmas",), "May be repeated.", flag="--topic", multiple=True, show_default=True
    )

    def measure(self, run: Run) -> Result:
        """Forecast returns, and see who came back."""
        history, purchases = read_log(self.path, run.settings), is_purchases(self.path)
        first, last = history.span
        test_days = self.test_days or (60 if purchases else (last - first).days - 7 * _TRAINING_WEEKS + 1)
        with run.step("replay") as advance:
            forecasts = evaluate_stages(
                history, run.settings, run.vectors, test_from=last - timedelta(days=test_days), progress=advance
            )
        figures: dict[str, Any] = {}
        tables, notes = {}, []
        for found in forecasts:
            within, comparison = f"within {found.return_days} days", found.comparison
            figures[within.replace(" ", "_")] = {
                "seen_days": found.seen_days,
                "parts": found.parts,
                "test": comparison.table,
                "brier_gains": comparison.brier_gains,
                "thresholds": found.thresholds,
                "weights": found.model.weights,
            }
            seen = "" if found.seen_days == found.return_days else f" (the history holds {found.seen_days})"
            tables[f"snapshots, returns {within}{seen}"] = found.parts
            tables[f"return {within}"] = comparison.table
            tables[f"what ends below a threshold, {within}"] = found.thresholds
            better = (f"{gain_text(gain)} than {name}" for name, gain in comparison.brier_gains.items())
            notes.append(f"Brier score {within} lower by {', '.join(better)}")
        if purchases:
            names, topics = lifecycles(history, run.settings, run.vectors, as_of=last, topics=self.topics)
            figures |= {"names": names, "topics": topics}
            tables |= {"most evergreen names": names.head(15), "most situational names": names.tail(15)}
            tables["journeys by what their keywords say"] = topics
        return Result(figures, tables, notes)


@dataclass(frozen=True)
class Forecast:
    """How forecasts of a return within some days did.

    Attributes
    ----------
    return_days : int
    seen_days : int
        Days after the newest test snapshot that the history holds; fewer than `return_days` where it ends too soon.
    parts : DataFrame
        Columns ``part`` (train, test), ``first``, ``last`` (date of the snapshots), ``journeys``, ``returns``.
    comparison : StageComparison
        The model first.
    thresholds : DataFrame
        Columns ``ended_below``, ``ended_share`` (of all journeys), ``returning_share_of_ended`` and
        ``ended_share_of_returning``.
    model : StageModel
    """

    return_days: int
    seen_days: int
    parts: pl.DataFrame
    comparison: StageComparison
    thresholds: pl.DataFrame
    model: StageModel


def evaluate_stages(
    history: History,
    settings: Settings,
    vectors: KeywordVectors,
    *,
    test_from: date,
    progress: Callable[[float], None] | None = None,
) -> list[Forecast]:
    """Train on what was known on a day, and forecast from snapshots of that day and later ones.

    Returns
    -------
    list of Forecast
        One per horizon. Where no snapshot since has all its horizon in the history, the first one stands alone, with
        the returns that were seen.

    Raises
    ------
    TooFewReturnsError
        There are too few returns to train on.
    """
    first, last = history.span
    every = settings.ranking.snapshot_every_days
    days = _days_around(test_from, first + timedelta(days=WARM_UP_DAYS), last - timedelta(days=min(HORIZONS)), every)
    examples = pl.concat(labelled_snapshots(history, days, settings, vectors, progress=progress))
    return [_forecast(examples, settings, test_from, last, return_days) for return_days in HORIZONS]


def _days_around(middle: date, first: date, last: date, every: int) -> list[date]:
    """Every so many days before and after a day."""
    before = range((middle - first).days // every, 0, -1)
    after = range(max((last - middle).days, 0) // every + 1)
    return [middle - timedelta(days=every * step) for step in before] + [
        middle + timedelta(days=every * step) for step in after
    ]


def _forecast(examples: pl.DataFrame, settings: Settings, test_from: date, last: date, return_days: int) -> Forecast:
    horizon = timedelta(days=return_days)
    train = examples.filter(pl.col("as_of") <= test_from - horizon)
    test = examples.filter(pl.col("as_of").is_between(test_from, max(last - horizon, test_from)))
    model = train_stage_model(train, return_days=return_days, model_id="model")
    forecasts = {"model": model.probabilities(test)}
    ended_after_days = settings.stages.ended_after_days
    forecasts |= baseline_probabilities(test, return_days=return_days, ended_after_days=ended_after_days)
    parts = [
        {
            "part": name,
            "first": rows["as_of"].min(),
            "last": rows["as_of"].max(),
            "journeys": len(rows),
            "returns": int(returned_within(rows, return_days).sum()),
        }
        for name, rows in (("train", train), ("test", test))
    ]
    newest: date = test["as_of"].max()  # type: ignore[assignment]
    return Forecast(
        return_days=return_days,
        seen_days=min(return_days, (last - newest).days),
        parts=pl.DataFrame(parts),
        comparison=compare_forecasts(test, forecasts, return_days=return_days),
        thresholds=_thresholds(test, pl.Series(forecasts["model"]), return_days),
        model=model,
    )


def _thresholds(test: pl.DataFrame, probabilities: pl.Series, return_days: int) -> pl.DataFrame:
    returned = pl.Series(returned_within(test, return_days))
    rows = []
    for threshold in THRESHOLDS:
        is_ended = probabilities < threshold
        rows.append(
            {
                "ended_below": threshold,
                "ended_share": is_ended.mean(),
                "returning_share_of_ended": returned.filter(is_ended).mean(),
                "ended_share_of_returning": is_ended.filter(returned).mean(),
            }
        )
    return pl.DataFrame(rows, schema_overrides={"returning_share_of_ended": pl.Float64})


def lifecycles(
    history: History, settings: Settings, vectors: KeywordVectors, *, as_of: date, topics: Sequence[str] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """How evergreen journeys of a name are, and those about some topics.

    Only journeys whose first event is long enough ago to be evergreen count.

    Returns
    -------
    names : DataFrame
        Columns ``name``, ``journeys`` (int, at least `MIN_JOURNEYS`), ``evergreen_share``, ``active_weeks_share``
        (mean, of the weeks since the first event), sorted from the most evergreen to the most situational.
    topics : DataFrame
        The same of journeys with a topic in half of their keywords or more, and of all.
    """
    chosen = settings.stages
    replay_features(history, as_of, settings, vectors)
    staged = stage_journeys(
        history.query(_ENGAGEMENT, {}),
        as_of=as_of,
        evergreen_min_span_days=chosen.evergreen_min_span_days,
        evergreen_min_active_weeks_share=chosen.evergreen_min_active_weeks_share,
        ended_after_days=chosen.ended_after_days,
    )
    members = history.query(_KEYWORDS, {})
    named = name_in(history, members, settings)
    key = ["user_id", "journey_id"]
    journeys = staged.join(named, on=key).filter(
        pl.col("span_days") + pl.col("days_since_last") >= chosen.evergreen_min_span_days
    )
    measures = {
        "journeys": pl.len(),
        "evergreen_share": (pl.col("lifecycle") == EVERGREEN).mean(),
        "active_weeks_share": pl.col("active_weeks_share").mean(),
    }
    by_name = (
        journeys.group_by("name")
        .agg(**measures)
        .filter(pl.col("journeys") >= MIN_JOURNEYS)
        .sort("evergreen_share", "active_weeks_share", "name", descending=[True, True, False])
    )
    rows = []
    for topic in ("", *topics):
        share = pl.col("keyword").str.contains(topic, literal=True).mean()
        about = members.group_by(key).agg(share=share).filter(pl.col("share") >= 0.5)
        rows.append(
            journeys.join(about, on=key, how="semi").select(topic=pl.lit(topic or "all"), **measures),
        )
    return by_name, pl.concat(rows)
