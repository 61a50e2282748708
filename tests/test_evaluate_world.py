"""`journeys evaluate world`: the truth scores full marks, order of rows does not matter, other libraries agree."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from click.testing import CliRunner, Result
from conftest import EMBEDDER, Pipeline
from polars.testing import assert_frame_equal
from sklearn.metrics import brier_score_loss, ndcg_score
from sklearn.metrics.cluster import contingency_matrix

from journeys_dagster.cli import cli
from journeys_dagster.monitoring.bootstrap import bootstrap_mean
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import KeywordVectors
from journeys_dagster.training.ranking_metrics import expected_calibration_error
from lab.benchmark import BenchmarkError
from lab.evaluation.home import PIPELINE, HomeReport, evaluate_home
from lab.evaluation.home.grouping import grouping_values, purity
from lab.evaluation.home.lists import content_values, forecasts_of, name_values, order_values, stage_values
from lab.evaluation.home.reading import Part, Truth, knows_returns, read_part
from lab.evaluation.home.report import LOWER_IS_BETTER, MEASURES, summarise
from lab.evaluation.identity import identity_report, kept_by_user
from lab.evaluation.plots import purity_by_domain
from lab.evaluation.statistics import bootstrap_columns
from lab.simulation.journey_types import Half

SETTINGS = Settings()
NO_FORECASTS = pl.DataFrame(
    schema={"user_id": pl.String, "number": pl.String, "stated": pl.Float64, "true": pl.Float64}
)
WORST = set(LOWER_IS_BETTER)


@pytest.fixture(scope="module")
def truth_folder(finished_home: Path) -> Path:
    return finished_home / "truth"


@pytest.fixture
def users(finished: Pipeline) -> list[str]:
    return finished.warehouse.query("select distinct user_id from user_snapshots order by user_id")["user_id"].to_list()


@pytest.fixture
def part(finished: Pipeline, truth_folder: Path, users: list[str]) -> Part:
    return read_part(finished.warehouse.query, Truth.of(truth_folder, None), SETTINGS, users)


def report_of(pipeline: Pipeline, folder: Path, **options: Any) -> HomeReport:
    return evaluate_home(pipeline.warehouse.query, folder, SETTINGS, KeywordVectors(EMBEDDER), **options)


def overall(report: pl.DataFrame, method: str = PIPELINE) -> dict[str, float]:
    rows = report.filter(pl.col("domain") == "", pl.col("method") == method)
    return dict(rows.select("measure", "value").iter_rows())


def perfect(part: Part) -> Part:
    """The same users, with the truth in place of what was found."""
    keywords = part.keywords.with_columns(journey_id=pl.coalesce("truth", "keyword"))
    order = part.journeys.sort("user_id", "intent", "truth", descending=[False, True, False])
    listed = order.select(
        "user_id",
        "truth",
        "lifecycle",
        "stage",
        journey_id="truth",
        rank=pl.int_range(1, pl.len() + 1).over("user_id"),
        name="truth",
        returned=(pl.col("intent") > 0.05).cast(pl.Float64),
        return_probability=(pl.col("intent") > 0.05).cast(pl.Float64),
        confidence=pl.lit(1.0),
    )
    ranked = listed.select("user_id", "journey_id", "rank", "truth", frequency=pl.lit(1.0), recency_days=pl.lit(0.0))
    return replace(part, keywords=keywords, listed=listed, ranked=ranked)


def all_values(part: Part, types: pl.DataFrame) -> pl.DataFrame:
    vectors = KeywordVectors(EMBEDDER)
    parts = [
        grouping_values(part.keywords, types, vectors, []),
        name_values(part, vectors),
        stage_values(part),
        order_values(part),
        content_values(part),
    ]
    return pl.concat(parts)


def test_the_truth_itself_scores_full_marks(part: Part, truth_folder: Path) -> None:
    ideal = perfect(part)
    found = overall(summarise(all_values(ideal, Truth.of(truth_folder, None).types), forecasts_of(ideal)))
    assert set(found) == set(MEASURES) - {"id_kept"}
    # An event all of whose keywords are mostly of another journey is with that one, whatever is found.
    coverage = found.pop("event_coverage_right")
    assert 0.9 < coverage <= found.pop("event_coverage") <= 1.0
    assert found == pytest.approx({name: 0.0 if name in WORST else 1.0 for name in found}, abs=1e-6)


def test_what_is_found_lies_between_the_baselines_and_the_truth(finished: Pipeline, truth_folder: Path) -> None:
    report = report_of(finished, truth_folder)
    ours = overall(report.measures)
    assert set(ours) == set(MEASURES)
    for naive in ("every keyword by itself", "30-minute sessions", "character tf-idf", "embedding only"):
        assert overall(report.measures, naive)["b3_f"] < ours["b3_f"] < 1
    assert overall(report.measures, "heaviest keyword")["name_cosine"] < ours["name_cosine"]
    assert overall(report.measures, "random")["ndcg_at_5"] < ours["ndcg_at_5"]
    ceiling = overall(report.measures, "best order of what was found (ceiling)")["ndcg_at_5"]
    assert ours["ndcg_at_5"] <= ceiling <= 1
    # A base rate is that of its own users to the point, and of drawn ones only nearly.
    rows = report.measures.filter(pl.col("method") != "base rate")
    assert rows.select(pl.col("value").is_between(pl.col("low") - 1e-9, pl.col("high") + 1e-9).all()).item()
    leads = report.measures.filter(pl.col("method") == "every keyword by itself", pl.col("measure") == "b3_f")
    assert leads["lead"].item() == pytest.approx(ours["b3_f"] - leads["value"].item())


@pytest.mark.slow
def test_order_of_rows_and_size_of_parts_change_nothing(finished: Pipeline, truth_folder: Path, tmp_path: Path) -> None:
    shuffled = tmp_path / "truth"
    shutil.copytree(truth_folder, shuffled)
    for file in shuffled.rglob("*.parquet"):
        rows = pl.read_parquet(file)
        rows.sample(fraction=1.0, shuffle=True, seed=3).write_parquet(file)

    def query(sql: str, params: Mapping[str, Any]) -> pl.DataFrame:
        return finished.warehouse.query(sql, params).sample(fraction=1.0, shuffle=True, seed=5)

    usual = report_of(finished, truth_folder)
    other = evaluate_home(query, shuffled, SETTINGS, KeywordVectors(EMBEDDER), users_per_part=7)
    # Character tf-idf weighs n-grams by the texts of its part.
    kept = pl.col("method") != "character tf-idf"
    assert_frame_equal(usual.measures.filter(kept), other.measures.filter(kept), rel_tol=1e-9)
    assert usual.days == other.days
    assert usual.stage_confusion.equals(other.stage_confusion)


def test_order_agrees_with_scikit_learn(part: Part) -> None:
    """Where every true journey is found once and all have been ranked by chance."""
    ideal = perfect(part)
    lot = ideal.listed.with_columns(lot=pl.struct("user_id", "truth").hash(seed=1))
    mixed = lot.sort("user_id", "lot").with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id")).drop("lot")
    scores = order_values(replace(ideal, listed=mixed)).filter(pl.col("method") == PIPELINE)
    intents = mixed.join(ideal.journeys.select("user_id", "truth", "intent"), on=["user_id", "truth"])
    compared = 0
    for user, value in scores.select("user_id", "value").iter_rows():
        own = intents.filter(pl.col("user_id") == user)
        if len(own) > 1:
            assert value == pytest.approx(ndcg_score([own["intent"]], [-own["rank"].to_numpy()], k=5))
            compared += 1
    assert compared > 10


def test_a_journey_found_in_two_pieces_gains_once() -> None:
    listed = pl.DataFrame(
        {"user_id": "ann", "journey_id": ["a", "b", "c"], "rank": [1, 2, 3], "truth": ["x", "x", "y"]}
    )
    ranked = listed.with_columns(frequency=pl.lit(1.0), recency_days=pl.lit(0.0))
    journeys = pl.DataFrame({"user_id": "ann", "truth": ["x", "y"], "intent": [2.0, 1.0]})
    nothing = pl.DataFrame()
    part = Part(nothing, nothing, listed, ranked, journeys, nothing)
    (found,) = order_values(part).filter(pl.col("method") == PIPELINE)["value"]
    assert found == pytest.approx((2 + 1 / np.log2(4)) / (2 + 1 / np.log2(3)))


def test_what_is_noise_or_listed_again_is_no_journey() -> None:
    listed = pl.DataFrame(
        {
            "user_id": "ann",
            "journey_id": ["b", "a", "d", "c"],
            "rank": [2, 1, 4, 3],
            "truth": ["x", "x", None, "y"],
            "confidence": [0.6, 0.9, 0.2, 0.8],
            "return_probability": [0.3, 0.5, 0.1, 0.4],
            "returned": [1.0, 1.0, 0.0, 0.0],
        }
    )
    nothing = pl.DataFrame()
    found = forecasts_of(Part(nothing, nothing, listed, nothing, nothing, nothing))
    by_number = {name: rows.drop("user_id", "number").rows() for (name,), rows in found.group_by("number")}
    assert by_number["confidence"] == [(0.9, 1.0), (0.6, 0.0), (0.8, 1.0), (0.2, 0.0)]
    assert by_number["return"] == [(0.5, 1.0), (0.4, 0.0), (0.1, 0.0)]


def test_a_journey_that_ended_long_ago_need_not_be_listed() -> None:
    listed = pl.DataFrame({"user_id": "ann", "journey_id": ["a", "b"], "rank": [1, 2], "truth": ["x", "y"]})
    journeys = pl.DataFrame(
        {
            "user_id": "ann",
            "truth": ["x", "y", "z", "old"],
            "stage": ["ongoing", "ended", "ended", "ended"],
            "days_ended": [None, 90, 1, 91],
        }
    )
    no_words = {"user_id": pl.String, "keyword": pl.String, "truth": pl.String}
    keywords = pl.DataFrame(schema={**no_words, "journey_id": pl.String, "weight": pl.Float64})
    events = pl.DataFrame(schema={**no_words, "event": pl.UInt32})
    values = content_values(Part(keywords, events, listed, pl.DataFrame(), journeys, pl.DataFrame()))
    ours = dict(values.filter(method=PIPELINE).select("measure", "value").iter_rows())
    assert (ours["live_journeys_listed"], ours["ended_journeys_listed"]) == (1.0, 0.5)


def test_purity_agrees_with_scikit_learn(part: Part, truth_folder: Path) -> None:
    clusters = part.keywords.with_columns(cluster="journey_id")
    types = Truth.of(truth_folder, None).types
    found = purity(clusters, types, PIPELINE, by_domain=False)
    rows = clusters.filter(pl.col("truth").is_not_null())
    for measure, axis in (("purity", 0), ("inverse_purity", 1)):
        for user, value in found.filter(pl.col("measure") == measure).select("user_id", "value").iter_rows():
            own = rows.filter(pl.col("user_id") == user)
            counts = np.asarray(contingency_matrix(own["truth"], own["cluster"]))
            assert value == pytest.approx(counts.max(axis=axis).sum() / counts.sum())


def test_calibration_agrees_with_scikit_learn_and_the_ranker() -> None:
    rng = np.random.default_rng(0)
    stated = rng.random(3000).round(3)
    happened = rng.random(3000) < stated**2
    users = pl.Series(rng.integers(400, size=3000)).cast(pl.String)
    rows = pl.DataFrame({"user_id": users, "number": "return", "stated": stated, "true": happened.astype(float)})
    measures = summarise(_some_values(), rows)
    ours, base = overall(measures), overall(measures, "base rate")
    assert ours["return_ece"] == pytest.approx(expected_calibration_error(happened, stated), abs=1e-3)
    assert ours["return_brier"] == pytest.approx(brier_score_loss(happened, stated))
    assert base["return_brier"] == pytest.approx(happened.mean() * (1 - happened.mean()))
    assert base["return_ece"] == pytest.approx(0, abs=1e-9)


def _some_values() -> pl.DataFrame:
    return pl.DataFrame(
        {"measure": "b3_f", "method": PIPELINE, "domain": "", "user_id": ["ann", "bob"], "value": [0.25, 0.75]}
    )


def test_a_domain_without_a_found_journey_has_only_the_naive_value() -> None:
    naive = _some_values().with_columns(method=pl.lit("30-minute sessions"), domain=pl.lit("cars"))
    measures = summarise(pl.concat([_some_values(), naive]), NO_FORECASTS)
    (found,) = measures.filter(pl.col("domain") == "cars").to_dicts()
    assert (found["method"], found["value"], found["users"]) == ("30-minute sessions", 0.5, 2)
    assert np.isnan(found["lead"])


def test_the_plot_of_domains_leaves_out_what_has_no_purity() -> None:
    rows = [(measure, domain) for domain in ("cars", "food") for measure in ("purity", "inverse_purity")][1:]
    found = [_some_values().with_columns(measure=pl.lit(name), domain=pl.lit(domain)) for name, domain in rows]
    picture = purity_by_domain(summarise(pl.concat(found), NO_FORECASTS), title="Purity")
    assert picture.startswith(b"\x89PNG")


def test_intervals_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    full, holes = rng.random(300), rng.random(300)
    holes[::3] = np.nan
    means = bootstrap_columns(np.column_stack([full, holes, np.full(300, np.nan)]))
    assert np.isnan(means[2].value)
    for found, numbers in zip(means, (full, holes[np.isfinite(holes)]), strict=False):
        expected = scipy.stats.bootstrap((numbers,), np.mean, method="percentile", rng=np.random.default_rng(1))
        assert found.value == pytest.approx(numbers.mean())
        assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval), abs=4e-3)
    usual = bootstrap_mean(pl.Series(full))
    assert (means[0].low, means[0].high) == pytest.approx((usual.low, usual.high), abs=4e-3)


def test_ids_kept_are_those_of_the_replay(part: Part) -> None:
    followed = part.followed.select("user_id", "as_of", "weight", before="journey_id_before", after="journey_id")
    assert len(followed) > 100
    for user, kept in kept_by_user(followed).iter_rows():
        own = followed.filter(pl.col("user_id") == user)
        assert kept == pytest.approx(identity_report(own)["kept_share"])


@pytest.mark.parametrize("half", ["tune", "report"])
def test_a_half_counts_alone(finished: Pipeline, truth_folder: Path, users: list[str], part: Part, half: Half) -> None:
    types = pl.read_parquet(truth_folder / "types.parquet")
    of_half = set(types.filter(pl.col("half") == half)["journey"])
    only = read_part(finished.warehouse.query, Truth.of(truth_folder, half), SETTINGS, users)
    for name in ("keywords", "events", "listed", "ranked", "journeys"):
        ours, both = getattr(only, name), getattr(part, name)
        assert set(ours["truth"].drop_nulls()) == set(both["truth"].drop_nulls()) & of_half
        assert set(ours["truth"].drop_nulls()), name
    # Nobody's places have gaps, and noise stays where it is.
    assert (only.listed["rank"] == only.listed.select(pl.int_range(1, pl.len() + 1).over("user_id")).to_series()).all()
    assert only.listed["truth"].null_count() == part.listed["truth"].null_count()
    # The keywords are all there: clusters are as they were found.
    assert only.keywords.drop("truth").equals(part.keywords.drop("truth"))


def test_returns_are_those_that_happened_if_known(truth_folder: Path, world_days: list[date]) -> None:
    truth = Truth.of(truth_folder, None)
    assert not knows_returns(truth, world_days[-1], days=14)
    assert knows_returns(truth, truth.last_day - timedelta(days=14), days=14)


def test_returns_are_events_after_the_snapshot(copy_of_world: Any, truth_folder: Path, world_days: list[date]) -> None:
    """The world ends a day after the newest snapshot: whoever comes back to a journey that day has returned."""
    settings = Settings.model_validate({"ranking": {"return_days": 1}})
    pipeline = copy_of_world("a day before the end")
    query = pipeline.warehouse.query
    users = query("select distinct user_id from user_snapshots")["user_id"].to_list()
    newest = dict(query("select user_id, max(as_of) from user_snapshots group by all").iter_rows())
    part = read_part(query, Truth.of(truth_folder, None), settings, users)
    events = pl.read_parquet(truth_folder / "events" / "*.parquet").filter(pl.col("journey").is_not_null())
    came = set(events.select("user_id", "journey", pl.col("occurred_at").dt.date()).unique().iter_rows())
    for user, truth, returned in part.listed.select("user_id", "truth", "returned").iter_rows():
        assert returned == float((user, truth, newest[user] + timedelta(days=1)) in came)
    assert 0 < part.listed["returned"].sum() < len(part.listed)


# The command.


def evaluate(*words: object, home: Path | None = None) -> Result:
    environment = {"COLUMNS": "200"} | ({"JOURNEYS_HOME": str(home)} if home else {})
    return CliRunner().invoke(cli, ["evaluate", "world", *map(str, words)], env=environment)


@pytest.mark.slow
def test_the_table_and_its_json(finished_home: Path, tmp_path: Path) -> None:
    plots = tmp_path / "plots"
    result = evaluate("--half", "tune", "--half", "report", "--sample", 5, "--plots", plots, home=finished_home)
    assert result.exit_code == 0, result.output
    for words in ("tune: 50", "report: 50", "B³ F", "stage accuracy", "NDCG@5", "ids kept", "30-minute", "true_stage"):
        assert words in result.output
    assert all((plots / f"purity-by-domain-{n}.png").read_bytes().startswith(b"\x89PNG") for n in (1, 2))
    document = json.loads(evaluate("--sample", 0, "--json", home=finished_home).stdout)
    (world,) = document["worlds"]
    assert set(MEASURES) < set(world)
    assert len(world["days"]) == 4
    assert {row["method"] for row in world["measures"] if row["measure"] == "b3_f"}.isdisjoint({"character tf-idf"})


@pytest.mark.slow
def test_homes_side_by_side(finished_home: Path, world_home: Path) -> None:
    result = evaluate(finished_home, world_home, "--sample", 0, "--json")
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["worlds"]
    assert (first["world"], second["world"]) == (str(finished_home), str(world_home))
    assert len(first["days"]) > len(second["days"])


@pytest.mark.slow
def test_one_snapshot_says_what_following_ids_needs(home: Any) -> None:
    from lab.simulation import simulate

    summary = simulate(home.landing, users=4, days=10, seed=3, truth=home.path / "truth")
    Pipeline(home).run(summary.last_day, "all_users")
    result = evaluate("--sample", 0, home=home.path)
    assert result.exit_code == 0, result.output
    assert "snapshots of two days" in result.output
    assert "how likely the truth makes it" in " ".join(result.output.split())
    assert "stage accuracy" in result.output
    assert "ids kept" not in result.output


def test_no_truth_says_where_it_comes_from(finished_home: Path, tmp_path: Path) -> None:
    nothing = evaluate(home=tmp_path)
    assert nothing.exit_code == 1
    assert "journeys simulate" in nothing.output
    stranger = tmp_path / "stranger"
    shutil.copytree(finished_home / "truth", stranger / "truth")
    for file in (stranger / "truth" / "people").iterdir():
        pl.read_parquet(file).with_columns(user_id=pl.lit("x") + pl.col("user_id")).write_parquet(file)
    shutil.copy(finished_home / "warehouse.duckdb", stranger)
    result = evaluate(home=stranger)
    assert result.exit_code == 1
    assert "other users" in result.output


def test_an_empty_truth_is_refused(finished: Pipeline, truth_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "truth"
    shutil.copytree(truth_folder, folder)
    for file in (folder / "events").iterdir():
        pl.read_parquet(file).clear().write_parquet(file)
    with pytest.raises(BenchmarkError, match="no event"):
        report_of(finished, folder)
