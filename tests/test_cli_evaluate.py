"""The `journeys evaluate` commands: tables, JSON, files, and what they say when they cannot."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from test_online_retail import SCHEMA, line
from test_search_missions import HEADER, PRIVATE, ROWS, written

from journeys_dagster.cli import cli
from lab.evaluation.metrics import MEASURES


def evaluate(*words: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, words)], env={"COLUMNS": "140"})


def as_json(*words: object) -> dict:
    result = evaluate(*words, "--json")
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
    result = evaluate("search-missions", missions, "--baselines")
    assert result.exit_code == 0, result.output
    for words in ("2 users, 6 distinct queries", "journeys", "sessions", "tf-idf", "embedding only", *MEASURES):
        assert words in result.output
    assert PRIVATE not in result.output


def test_search_missions_as_json_and_files(missions: Path, tmp_path: Path) -> None:
    table, plot = tmp_path / "users.csv", tmp_path / "curve.png"
    options = ["--baselines", "--cross-validate", "--per-user", table, "--threshold-curve", plot]
    report = as_json("search-missions", missions, *options)
    assert (report["users"], report["queries"], report["b3_f"]) == (2, 6, 1.0)
    assert report["intervals"]["pair_f"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert {len(report["baselines"]), len(report["cross_validation"])} == {3}
    users = pl.read_csv(table)
    assert users["user"].to_list() == [1, 2]
    assert users["queries"].to_list() == [5, 1]
    assert PRIVATE not in table.read_text() + json.dumps(report)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_bad_line_is_named_without_its_text(tmp_path: Path) -> None:
    result = evaluate("search-missions", written(tmp_path, [HEADER, f"u1\t{PRIVATE}\tnever\t\tm1"]))
    assert result.exit_code == 1
    assert "line 2: occurred_at" in result.output
    assert PRIVATE not in result.output


@pytest.mark.parametrize("half", [[], ["--half", "report"]])
def test_clusters(half: list[str]) -> None:
    report = as_json("clusters", "--users", 20, "--days", 14, "--baselines", *half)
    assert report["users"] == 20
    assert all(report["b3_f"] > of_way["b3_f"] for of_way in report["baselines"].values())


def test_mixing(retail: Path) -> None:
    report = as_json("mixing", retail, "--customers-per-user", 2)
    assert report["users"] == 1
    ours = report["clusterers"][0]
    assert (ours["clusterer"], ours["same_person"], ours["purity"]) == ("journeys", 1.0, 1.0)
    table = evaluate("mixing", retail, "--customers-per-user", 2)
    assert "kept_together" in table.output


def test_mixing_of_too_few_says_so(retail: Path) -> None:
    result = evaluate("mixing", retail)
    assert result.exit_code == 1
    assert "3 are needed" in result.output


def test_identity_of_purchases(retail: Path) -> None:
    report = as_json("identity", "online-retail", retail, "--days", 2)
    assert (report["users"], report["snapshots"]) == (2, 4)
    assert report["kept_share"] == report["keyword_kept_share"] == 1.0


def test_no_purchases_to_replay_says_so(tmp_path: Path) -> None:
    path = tmp_path / "retail.parquet"
    pl.DataFrame([line(Quantity=-1)], schema=SCHEMA).write_parquet(path)
    result = evaluate("identity", "online-retail", path)
    assert result.exit_code == 1
    assert "no line of" in result.output


def test_identity_of_searches(missions: Path) -> None:
    result = evaluate("identity", "search-missions", missions)
    assert result.exit_code == 0, result.output
    assert "kept_share" in result.output
    assert PRIVATE not in result.output


def test_ranking_without_enough_history_says_what_is_needed(retail: Path) -> None:
    result = evaluate("ranking", retail)
    assert result.exit_code == 1
    assert "the first snapshot with known returns needs 21" in result.output


@pytest.mark.parametrize("corpus", ["online-retail", "search-missions"])
def test_stages_without_enough_returns_say_what_is_needed(corpus: str, retail: Path, missions: Path) -> None:
    result = evaluate("stages", corpus, retail if corpus == "online-retail" else missions)
    assert result.exit_code == 1
    assert "too few" in result.output or "returns" in result.output
    assert PRIVATE not in result.output


def test_names_of_a_world() -> None:
    result = evaluate("naming", "world", "--users", 4, "--days", 20, "--seed", 3)
    assert result.exit_code == 0, result.output
    for words in ("shipped", "KeyBERT", "cosine higher by"):
        assert words in result.output


def test_names_from_day_to_day(retail: Path) -> None:
    report = as_json("naming", "online-retail", retail, "--days", 2)
    assert report["journeys"] == 4
    assert report["unchanged_kept_share"] == 1.0 or report["unchanged_journeys"] == 0


def test_intent_without_enough_days_says_what_is_needed() -> None:
    result = evaluate("intent", "--users", 5, "--days", 30, "--seed", 3)
    assert result.exit_code == 1
    assert "too few" in result.output
