"""Annotated search missions: reading, truth, and that no text gets out."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import EMBEDDER

from journeys_dagster.settings import Settings
from journeys_dagster.training.history import KeywordVectors
from lab.evaluation.clusterers import Baselines, journey_trees, journeys, sessions
from lab.evaluation.corpora import Corpus, search_corpus
from lab.evaluation.metrics import agreement
from lab.importers.search_missions import SearchMissionsError, read_search_missions

HEADER = "user_id\tquery\toccurred_at\tclicked_domain\tmission_id"
PRIVATE = "flights to lisbon"
ROWS = [
    "u1\tflights to lisbon\t2006-03-01 10:00:00\tair.example\tm1",
    "u1\tflights to lisbon\t2006-03-01 10:00:00\tfares.example\tm1",
    "u1\tcheap flights lisbon\t2006-03-01 10:04:00\t\tm1",
    "u1\tlisbon hotel\t2006-03-03 09:00:00\t\tm1",
    "u1\tfix leaking tap\t2006-03-09 18:00:00\tdiy.example\tm2",
    "u1\tleaking tap washer\t2006-03-09 18:02:00\tdiy.example\tm2",
    "u2\tFlights  to Lisbon\t2006-03-02 10:00:00\t\tm9",
    "u2\tflights to lisbon\t2006-03-04 10:00:00\t\tm8",
    "u2\tflights to lisbon\t2006-03-05 10:00:00\t\tm8",
]


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    return written(tmp_path, [HEADER, *ROWS])


def written(folder: Path, lines: list[str]) -> Path:
    path = folder / "missions.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def corpus(path: Path) -> Corpus:
    return search_corpus(read_search_missions(path), Settings(), KeywordVectors(EMBEDDER))


def test_queries_become_keywords_with_the_mission_of_most_of_their_rows(tsv: Path) -> None:
    keywords = corpus(tsv).keywords
    truth = {(user, keyword): mission for user, keyword, mission in keywords["user_id", "keyword", "truth"].iter_rows()}
    assert truth == {
        ("u1", "flights to lisbon"): "m1",
        ("u1", "cheap flights lisbon"): "m1",
        ("u1", "lisbon hotel"): "m1",
        ("u1", "fix leaking tap"): "m2",
        ("u1", "leaking tap washer"): "m2",
        ("u2", "flights to lisbon"): "m8",
    }


def test_clicks_are_the_items_of_a_query(tsv: Path) -> None:
    items = corpus(tsv).keywords.select("user_id", "keyword", "recent_items").rows_by_key(["user_id", "keyword"])
    assert set(items["u1", "flights to lisbon"][0][0]) == {"air.example", "fares.example"}
    assert items["u1", "fix leaking tap"][0][0] == items["u1", "leaking tap washer"][0][0] == ["diy.example"]


def test_clusters_are_those_that_anybody_would_draw(tsv: Path) -> None:
    scores = agreement(journeys(corpus(tsv), Settings().clusters))
    assert scores["b3_f"].to_list() == [1.0, 1.0]


def test_sessions_split_at_half_an_hour(tsv: Path) -> None:
    found = sessions(corpus(tsv)).filter(user_id="u1").group_by("cluster").agg("keyword")
    assert sorted(sorted(keywords) for keywords in found["keyword"].to_list()) == [
        ["cheap flights lisbon", "flights to lisbon"],
        ["fix leaking tap", "leaking tap washer"],
        ["lisbon hotel"],
    ]


def test_a_tree_cut_at_the_shipped_threshold_gives_the_journeys(tsv: Path) -> None:
    settings = Settings().clusters
    tree = journey_trees(corpus(tsv), settings).cut(settings.distance_threshold)
    assert partition(tree) == partition(journeys(corpus(tsv), settings))


@pytest.mark.parametrize("trees", ["embedding_only", "character_tfidf"])
def test_baselines_run_from_singles_to_one_cluster_per_user(tsv: Path, trees: str) -> None:
    grown = getattr(Baselines(corpus(tsv)), trees)
    assert grown.clusters_per_user(-1.0) == 3
    assert grown.clusters_per_user(2.0) == 1
    assert grown.clusters_per_user(grown.threshold_for(1.5)) <= 1.5
    assert agreement(grown.cut(-1.0))["b3_precision"].to_list() == [1.0, 1.0]


def test_baselines_of_a_corpus(tsv: Path) -> None:
    baselines = Baselines(corpus(tsv))
    assert len(baselines.at_fixed_thresholds()) == len(baselines.at_granularity(1.5)) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER.replace("mission_id", "mission"), *ROWS], "column mission_id is missing"),
        ([HEADER, *ROWS, f"u3\t{PRIVATE}\tyesterday\t\tm1"], r"line 11: occurred_at is empty or not readable"),
        ([HEADER, f"\t{PRIVATE}\t2006-03-01 10:00:00\t\tm1", *ROWS], r"line 2: user_id is empty"),
        ([HEADER, "u1\t\t2006-03-01 10:00:00\t\tm1"], r"line 2: query is empty"),
        ([HEADER, f"u1\t{PRIVATE}\t2006-03-01 10:00:00\t\tm1\tmore\tthan\ttold"], "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_errors_name_the_line_and_never_the_text(tmp_path: Path, lines: list[str], message: str) -> None:
    path = written(tmp_path, lines) if lines else tmp_path / "empty.tsv"
    path.touch()
    with pytest.raises(SearchMissionsError, match=message) as raised:
        read_search_missions(path)
    assert PRIVATE not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SearchMissionsError, match=r"none\.tsv is no file"):
        read_search_missions(tmp_path / "none.tsv")


def partition(clusters: pl.DataFrame) -> set[frozenset]:
    groups = clusters.group_by("user_id", "cluster").agg("keyword")
    return {frozenset((user, word) for word in words) for user, _, words in groups.iter_rows()}


# The corpus may not leave the folder it lies in; these run where it is present.


def test_journeys_agree_with_annotators(data_path: Path) -> None:
    scores = agreement(journeys(corpus(data_path / "search-missions" / "dev.tsv"), Settings().clusters))
    assert np.mean(scores["b3_f"].to_numpy()) > 0.87
    assert np.mean(scores["pair_f"].to_numpy()) > 0.74
