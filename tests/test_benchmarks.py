"""The benchmarks run, on few users; what they measure is not looked at."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
def test_clustering_ways_agree_on_few_users() -> None:
    words = ["--users", "40", "--keywords", "12", "--repeats", "1", "--no-growth", "--memory-users", "0", "--json"]
    command = [sys.executable, str(BENCHMARKS / "clustering.py"), *words, "--no-compile-times"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    same = json.loads(done.stdout)["main"]["same_clusters"]
    assert same.pop("largest difference of distances") < 1e-5
    assert set(same.values()) == {1.0}


@pytest.mark.slow
def test_engines_give_the_same_tables_on_few_users() -> None:
    # Not imported: this process would have Ray's own defaults from then on.
    if find_spec("ray") is None:
        pytest.skip("the extra [ray] is not installed")
    words = ["--users", "40", "--days", "8", "--shards", "2", "--rounds", "1", "--keywords", "32", "--json"]
    command = [sys.executable, str(BENCHMARKS / "engines.py"), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    steps = json.loads(done.stdout)["steps"]
    assert {"clusters", "rankings", "keyword_embeddings"} <= steps.keys()
    assert all(step["same"] for step in steps.values())


@pytest.mark.slow
def test_everything_scale_measures_is_there_on_few_users() -> None:
    words = ["--users", "200", "--days", "12", "--compare", "40", "--json"]
    command = [sys.executable, str(BENCHMARKS / "scale.py"), *words]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["full"]["users"] > found["incremental"]["users"] > 0
    assert found["full"]["users"] > found["first_incremental"]["users"] > 0
    assert {"keywords", "clusters", "user_journeys"} <= {step["step"] for step in found["full"]["steps"]}
    assert {"this pipeline, all users", "pandas + scikit-learn"} <= found["plain_loops"]["users_per_second"].keys()
    assert found["show"]["query_seconds"] < found["show"]["process_seconds"]


@pytest.mark.slow
def test_a_budget_stops_the_language_model_and_the_next_runs_go_on_to_the_end() -> None:
    words = ["--users", "60", "--days", "30", "--tokens", "20000", "--fault-share", "0.02", "--json"]
    command = [sys.executable, str(BENCHMARKS / "language_models.py"), *words]
    first, *others = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert sum(asset["left"] for asset in first["assets"].values()) > 0
    assert all("budget" in asset["stopped"] for asset in first["assets"].values() if asset["left"])
    *_, finished, again, next_day, that_day_again = others
    for run in (finished, again, next_day, that_day_again):
        assert sum(asset["left"] for asset in run["assets"].values()) == 0, run["run"]
        assert run["server"]["answered_twice"] == 0
    assert again["server"]["calls"] == that_day_again["server"]["calls"] == 0
    assert again["listed"] == finished["listed"]
    assert next_day["server"]["calls"] > 0
