"""The `journeys evaluate` commands: tables, JSON, files, and what they say when they cannot."""

import inspect
import json
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import ClassVar

import click
import polars as pl
import pytest
from click.testing import CliRunner
from click.testing import Result as Result_
from test_online_retail import SCHEMA, line
from test_search_missions import HEADER, PRIVATE, ROWS, written

from journeys_dagster.cli import cli
from journeys_dagster.monitoring.bootstrap import Mean
from lab.benchmark import Benchmark, BenchmarkError, Result, Run, option
from lab.command import BENCHMARKS, command_of, evaluate, plain
from lab.evaluation.metrics import MEASURES


def evaluated(*words: object) -> Result_:
    return CliRunner().invoke(cli, ["evaluate", *map(str, words)], env={"COLUMNS": "140"})


def as_json(*words: object) -> dict:
    result = evaluated(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def missions(tmp_path: Path) -> Path:
    return written(tmp_path, [HEADER, *ROWS])


@pytest.fixture
def retail(tmp_path: Path) -> Path:
    """Two customers who each bought twelve different things, over three days."""
    path = tmp_path / "retail.parquet"
    lines = [
        line(
            CustomerID=customer,
            StockCode=f"{customer[-1]}{number:04}",
            Description=f"{kind} {number}",
            InvoiceDate=line()["InvoiceDate"].replace(day=1 + number % 3, hour=8 + number),  # type: ignore[attr-defined]
        )
        for customer, kind in (("70001", "TIN ROBOT"), ("70002", "GARDEN BENCH"))
        for number in range(12)
    ]
    pl.DataFrame(lines, schema=SCHEMA).write_parquet(path)
    return path


def test_search_missions_as_a_table(missions: Path) -> None:
    result = evaluated("search-missions", missions, "--baselines")
    assert result.exit_code == 0, result.output
    for words in ("2 users, 6 distinct queries", "journeys", "sessions", "tf-idf", "embedding only", *MEASURES):
        assert words in result.output
    assert PRIVATE not in result.output


def test_search_missions_as_json_and_files(missions: Path, tmp_path: Path) -> None:
    table, plots = tmp_path / "users.csv", tmp_path / "plots"
    options = ["--baselines", "--per-user", table, "--plots", plots]
    report = as_json("search-missions", missions, *options)
    assert (report["users"], report["queries"], report["b3_f"]) == (2, 6, 1.0)
    assert report["intervals"]["pair_f"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert len(report["baselines"]) == 3
    users = pl.read_csv(table)
    assert users["user"].to_list() == [1, 2]
    assert users["queries"].to_list() == [5, 1]
    assert PRIVATE not in table.read_text() + json.dumps(report)
    assert (plots / "threshold-curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_bad_line_is_named_without_its_text(tmp_path: Path) -> None:
    result = evaluated("search-missions", written(tmp_path, [HEADER, f"u1\t{PRIVATE}\tnever\t\tm1"]))
    assert result.exit_code == 1
    assert "line 2: occurred_at" in result.output
    assert PRIVATE not in result.output


def test_clusters_of_half_a_world() -> None:
    report = as_json("clusters", "--users", 20, "--days", 14, "--baselines", "--half", "report")
    assert report["users"] == 20
    assert all(report["b3_f"] > method["b3_f"] for method in report["baselines"].values())


@pytest.mark.slow
def test_clusters_of_several_corpora_are_told_what_was_chosen_on_the_others(missions: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    other.write_text(missions.read_text())
    report = as_json("clusters", missions, other, "--users", 4, "--days", 10)
    assert {name.rpartition("/")[2] for name in report["corpora"]} == {"missions", "other", "world"}
    rows = pl.DataFrame(report["left_out"])
    assert rows.group_by("method").len()["len"].unique().to_list() == [3]
    assert rows["chosen"].str.starts_with("threshold 0.").all()
    assert rows["b3_f"].is_between(0, 1).all()
    assert len(report["means"]) == rows["method"].n_unique()
    assert PRIVATE not in json.dumps(report)


def test_mixing(retail: Path) -> None:
    report = as_json("mixing", retail, "--customers-per-user", 2)
    assert report["users"] == 1
    ours = report["clusterers"][0]
    assert (ours["clusterer"], ours["same_person"], ours["purity"]) == ("journeys", 1.0, 1.0)
    table = evaluated("mixing", retail, "--customers-per-user", 2)
    assert "kept_together" in table.output


def test_mixing_of_too_few_says_so(retail: Path) -> None:
    result = evaluated("mixing", retail)
    assert result.exit_code == 1
    assert "3 are needed" in result.output


def test_identity_of_purchases(retail: Path) -> None:
    report = as_json("identity", retail, "--days", 2)
    assert (report["users"], report["snapshots"]) == (2, 4)
    assert report["kept_share"] == report["keyword_kept_share"] == 1.0


def test_no_purchases_to_replay_says_so(tmp_path: Path) -> None:
    path = tmp_path / "retail.parquet"
    pl.DataFrame([line(Quantity=-1)], schema=SCHEMA).write_parquet(path)
    result = evaluated("identity", path)
    assert result.exit_code == 1
    assert "no line of" in result.output


def test_identity_of_searches(missions: Path) -> None:
    result = evaluated("identity", missions)
    assert result.exit_code == 0, result.output
    assert "kept_share" in result.output
    assert PRIVATE not in result.output


def test_ranking_without_enough_history_says_what_is_needed(retail: Path) -> None:
    result = evaluated("ranking", retail)
    assert result.exit_code == 1
    assert "the first snapshot with known returns needs 21" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["online-retail", "search-missions"])
def test_stages_of_too_short_a_log_say_so(corpus: str, retail: Path, missions: Path) -> None:
    log = retail if corpus == "online-retail" else missions
    result = evaluated("stages", "--users", 4, "--days", 20, log)
    assert result.exit_code == 1
    assert "too short to see who came back" in result.output
    assert PRIVATE not in result.output


@pytest.mark.slow
def test_stages_of_a_world() -> None:
    report = as_json("stages", "--users", 8, "--days", 40)
    assert report["truth"][0]["method"] == "rule"
    assert report["logs"] == {}


@pytest.mark.slow
def test_names_of_a_world() -> None:
    result = evaluated("naming", "--users", 4, "--days", 20, "--seed", 3)
    assert result.exit_code == 0, result.output
    for words in ("shipped", "KeyBERT", "above what is shipped"):
        assert words in result.output


@pytest.mark.slow
def test_titles_say_more_than_no_items_and_less_than_tags() -> None:
    report = as_json("titles", "--users", 12, "--days", 30)
    tags, titles, nothing = report["catalogues"]
    # Some searches are no topics.
    assert min(tags["with_keywords"], titles["with_keywords"]) > 0.95 > nothing["with_keywords"]
    assert tags["b3_f"] > titles["b3_f"] > nothing["b3_f"]


def test_names_from_day_to_day(retail: Path) -> None:
    report = as_json("naming", retail, "--days", 2)
    assert report["journeys"] == 4
    assert report["unchanged_kept_share"] == 1.0 or report["unchanged_journeys"] == 0


@pytest.mark.slow
def test_intent_without_enough_days_says_what_is_needed() -> None:
    result = evaluated("intent", "--users", 5, "--days", 30, "--seed", 3)
    assert result.exit_code == 1
    assert "too few" in result.output


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_every_benchmark_has_the_common_options_and_says_what_it_measures(benchmark: type[Benchmark]) -> None:
    command = command_of(benchmark)
    names = [parameter.name for parameter in command.params]
    assert names == [*(field.name for field in fields(benchmark)), "plots", "as_json"]  # type: ignore[arg-type]
    assert evaluate.commands[benchmark.name].help == command.help == inspect.getdoc(benchmark)
    assert (command.help or "").endswith(".")


def test_what_json_does_not_know_is_turned_into_what_it_does() -> None:
    rows = pl.DataFrame({"day": [date(2025, 6, 30)], "share": [float("nan")]})
    figures = {"mean": Mean(1.0, float("nan"), 2.0), "rows": rows, "path": ["a"], 3: None}
    assert plain(figures) == {
        "mean": {"value": 1.0, "low": None, "high": 2.0},
        "rows": [{"day": "2025-06-30", "share": None}],
        "path": ["a"],
        "3": None,
    }


@dataclass(frozen=True)
class _Coins:
    """Tosses."""

    name: ClassVar[str] = "coins"
    tosses: int = option(2, "How many.", type=click.IntRange(1))

    def measure(self, run: Run) -> Result:
        if self.tosses == 13:
            raise BenchmarkError("thirteen tosses")
        rows = pl.DataFrame({"coin": ["penny"], "heads": [0.5], "heads_low": [0.25], "heads_high": [0.75], "n": [1000]})
        return Result({"tosses": self.tosses}, {"one coin": rows}, ["that was all"], {"coin": lambda: b"picture"})


def test_one_way_to_print_to_draw_and_to_fail(tmp_path: Path) -> None:
    def run(*words: str) -> Result_:
        return CliRunner().invoke(command_of(_Coins), words, env={"COLUMNS": "140"})

    shown = run("--plots", str(tmp_path / "plots"))
    for words in ("one coin", "penny", "0.500 (0.250–0.750)", "1,000", "that was all"):
        assert words in shown.output
    assert "heads_low" not in shown.output
    assert (tmp_path / "plots" / "coin.png").read_bytes() == b"picture"
    assert json.loads(run("--json", "--tosses", "3").stdout) == {"tosses": 3}
    failed = run("--tosses", "13")
    assert (failed.exit_code, failed.output) == (1, "Error: thirteen tosses\n")
    assert run("--tosses", "0").exit_code == 2
