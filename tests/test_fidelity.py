"""A simulated world beside real logs: what is measured, and that it is told apart from what it is not."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from journeys_dagster.cli import cli
from lab.evaluation.fidelity import MEASURES, compare, distribution, measures

START = datetime(2025, 6, 1, 12)


def log(*times: tuple[str, float]) -> pl.DataFrame:
    """Events of users, by minutes since the start."""
    return pl.DataFrame(
        {
            "user_id": [user for user, _ in times],
            "occurred_at": [START + timedelta(minutes=minutes) for _, minutes in times],
        }
    )


def test_measures_of_a_known_log() -> None:
    day = 24 * 60
    found = measures(log(("a", 0), ("a", 0), ("a", 10), ("a", 30), ("a", day), ("b", 5)))
    assert found["events_per_user"].tolist() == [1, 4]
    assert found["sessions_per_user"].tolist() == [1, 2]
    assert found["days_between_sessions"].tolist() == pytest.approx([(day - 30) / day])
    assert found["events_per_session"].tolist() == [1, 1, 3]
    assert found["minutes_per_session"].tolist() == [30]
    assert found["seconds_between_events"].tolist() == [600, 1200]
    assert found.keys() == MEASURES.keys()


def test_equal_logs_have_no_distance_and_scale_is_told_from_shape() -> None:
    slow = log(*((user, minutes) for user in "abcd" for minutes in (0, 4, 8, 20)))
    fast = log(*((user, minutes / 2) for user in "abcd" for minutes in (0, 4, 8, 20)))
    same = compare("itself", slow, slow).table()
    assert same["ks"].to_list() == same["ks_shape"].to_list() == [0.0] * same.height
    other = compare("faster", slow, fast).table().filter(pl.col("measure") == MEASURES["seconds_between_events"])
    assert other["ks"][0] > 0.5
    assert other["ks_shape"][0] == 0


def test_the_longer_log_is_cut_to_its_last_days() -> None:
    short = log(("a", 0), ("a", 24 * 60))
    long = log(*(("a", 24 * 60 * day) for day in range(50)))
    found = compare("longer", short, long)
    assert found.days == 2
    assert found.real["events_per_user"].tolist() == [2]


def test_every_measure_has_its_picture() -> None:
    rows = log(*((user, minutes) for user in "abcd" for minutes in (0, 4, 8, 2000)))
    comparison = compare("itself", rows, rows)
    assert comparison.measured() == list(MEASURES)
    assert all(distribution(measure, comparison).startswith(b"\x89PNG") for measure in MEASURES)


@pytest.mark.slow
def test_the_command_compares_with_real_logs(data_path: Path, tmp_path: Path) -> None:
    retail = data_path / "online-retail" / "online_retail.parquet"
    missions = data_path / "search-missions" / "dev.tsv"
    arguments = ["evaluate", "fidelity", str(retail), "--missions", str(missions), "--users", "200", "--json"]
    result = CliRunner().invoke(cli, [*arguments, "--plots", str(tmp_path / "plots")], catch_exceptions=False)
    rows = pl.DataFrame(json.loads(result.stdout)["measures"])
    assert set(rows["log"]) == {"Online Retail", "search missions"}
    assert rows["ks"].is_between(0, 1).all()
    assert len(list((tmp_path / "plots").iterdir())) == rows.height
