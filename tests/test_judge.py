"""Agreement with people's grades, by oracles and by hand; judges of pairs on a small file."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import EMBEDDER
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import cohen_kappa_score

from journeys_dagster.cli import cli
from journeys_dagster.monitoring.bootstrap import Mean
from journeys_dagster.monitoring.judge_agreement import LEVELS, agreement
from lab.benchmark import BenchmarkError
from lab.evaluation.graded_pairs import COLUMNS, grade_pairs, read_pairs

HEADER = "\t".join(COLUMNS)
LEVEL = st.sampled_from(LEVELS)


def of_one_group(cases: list[tuple[int, int]]) -> dict[str, Mean]:
    human, judged = (pl.Series(levels, dtype=pl.Int64) for levels in zip(*cases, strict=True))
    return agreement(human, judged, pl.Series([0] * len(cases)), resamples=2)


@settings(deadline=None)
@given(st.lists(st.tuples(LEVEL, LEVEL), min_size=2, max_size=40))
def test_measures_are_those_of_scipy_and_scikit_learn(cases: list[tuple[int, int]]) -> None:
    human, judged = map(list, zip(*cases, strict=True))
    found = {name: mean.value for name, mean in of_one_group(cases).items()}
    assert found["exact"] == pytest.approx(np.mean(np.array(human) == np.array(judged)))
    assert found["within_one"] == pytest.approx(np.mean(np.abs(np.array(human) - np.array(judged)) <= 1))
    if len(set(human)) > 1 and len(set(judged)) > 1:
        assert found["kendall_tau_b"] == pytest.approx(kendalltau(human, judged)[0])
    else:
        assert math.isnan(found["kendall_tau_b"])
    if human != judged or len(set(human)) > 1:
        expected = cohen_kappa_score(human, judged, weights="quadratic", labels=list(LEVELS))
        assert found["quadratic_kappa"] == pytest.approx(expected, abs=1e-12)


def test_by_hand() -> None:
    found = of_one_group([(1, 1), (2, 3), (5, 5), (4, 1)])
    assert found["exact"].value == 0.5
    assert found["within_one"].value == 0.75
    # Of six pairs four are in the same order, one is in the opposite, and one is a tie for the judge.
    assert found["kendall_tau_b"].value == pytest.approx((4 - 1) / math.sqrt(6 * 5))


def test_a_judge_of_one_level_has_no_order() -> None:
    found = of_one_group([(1, 1), (2, 1), (1, 1)])
    assert math.isnan(found["kendall_tau_b"].value)
    assert math.isnan(found["kendall_tau_b"].low)
    assert found["quadratic_kappa"].value == 0.0


def test_a_single_grade_has_no_order() -> None:
    found = of_one_group([(4, 3)])
    assert math.isnan(found["kendall_tau_b"].value)
    assert (found["exact"].value, found["within_one"].value) == (0.0, 1.0)


def test_intervals_come_from_groups_not_from_cases() -> None:
    human = pl.Series([1, 1, 5, 5] * 25)
    judged = pl.Series([1, 1, 1, 1] * 25)
    groups = pl.Series(["a", "a", "b", "b"] * 25)
    assert agreement(human, judged, groups)["exact"] == Mean(0.5, 0.0, 1.0)
    shuffled = pl.DataFrame([human.alias("h"), judged.alias("j"), groups.alias("g")]).sample(fraction=1.0, shuffle=True)
    assert agreement(shuffled["h"], shuffled["j"], shuffled["g"])["quadratic_kappa"] == Mean(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("human", "judged", "groups"),
    [([], [], []), ([1, 2], [1], [0, 0]), ([0], [1], [0]), ([1], [6], [0]), ([None], [1], [0])],
)
def test_wrong_levels_are_refused(human: list, judged: list, groups: list) -> None:
    with pytest.raises(ValueError, match=r"equally many|another level"):
        agreement(*(pl.Series(values, dtype=pl.Int64) for values in (human, judged, groups)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Ten topics, each with a text about it and two about others."""
    topics = ["kitchen tiles", "sail boats", "violin lessons", "tomato plants", "mountain bikes"]
    topics += ["rabbit hutches", "winter coats", "chess openings", "coffee roasting", "moon photography"]
    lines = [HEADER]
    for number, topic in enumerate(topics):
        lines.append(f"{number}\tYou want to know all about {topic}\tAll about {topic}\tBest {topic} for you\t2")
        lines += [
            f"{number}\tYou want to know all about {topic}\t{other}\t\t{grade}"
            for other, grade in ((topics[number - 1], 0), (topics[number - 3], -2))
        ]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_judges_find_the_text_about_the_need(file: Path) -> None:
    judged = grade_pairs(read_pairs(file), EMBEDDER)
    assert judged["level"].to_list() == [3, 1, 1] * 10
    assert judged["evidence"].to_list() == [3, 1, 1] * 10
    assert judged["embedding only"].to_list() == [3, 1, 1] * 10
    assert judged["majority class"].to_list() == [1] * 30


def test_the_order_of_lines_does_not_matter(file: Path) -> None:
    judged = grade_pairs(read_pairs(file), EMBEDDER)
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([header, *reversed(lines)]), encoding="utf-8")
    assert grade_pairs(read_pairs(file), EMBEDDER).reverse().equals(judged)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1 must be the columns"),
        ("topic\tgrade\n", "line 1 must be the columns"),
        (f"{HEADER}\n1\ta\tb\tc\n", "line 2 has 4 fields, 5 are needed"),
        (f"{HEADER}\n1\ta\tb\tc\t5\n", "line 2: grade must be"),
        (f"{HEADER}\n1\ta\tb\tc\t1.5\n", "line 2: grade must be"),
        (f"{HEADER}\n1\ta\tb\tc\t1\n", "has 1 topics, 5 are needed"),
    ],
)
def test_a_bad_file_is_told_without_its_text(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"pairs\.tsv") as error:
        read_pairs(path)
    assert said in str(error.value)
    assert CliRunner().invoke(cli, ["evaluate", "judge", str(path)]).exit_code == 1


def test_the_command_prints_json_and_tables(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.evaluation.judge.RESAMPLES", 50)
    result = CliRunner().invoke(cli, ["evaluate", "judge", str(file), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["pairs"], report["topics"]) == (30, 10)
    assert report["judges"]["evidence"]["exact"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert report["judges"]["majority class"]["kendall_tau_b"]["value"] is None
    assert np.sum(report["judges"]["evidence"]["confusion"]) == 30
    table = CliRunner().invoke(cli, ["evaluate", "judge", str(file)], env={"COLUMNS": "140"})
    for words in ("evidence", "embedding only", "majority class", "quadratic_kappa", "30 graded pairs, 10 topics"):
        assert words in table.output


def test_judges_on_graded_search_results(data_path: Path) -> None:
    path = data_path / "trec-sessions" / "judge_pairs.tsv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    pairs = read_pairs(path)
    assert len(pairs) == 1749
    assert pairs["level"].value_counts().sort("level")["count"].to_list() == [1363, 311, 61, 10, 4]
