"""Agreement of clusters with the truth: by hand, and against definitions written out and scikit-learn."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.cluster import pair_confusion_matrix

from journeys_dagster.monitoring.bootstrap import bootstrap_mean
from lab.evaluation.metrics import agreement

labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25)


def of_one_user(clusters: list[int], truth: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({"user_id": "u", "cluster": clusters, "truth": truth}, schema_overrides={"truth": pl.String})


def test_agreement_by_hand() -> None:
    found = agreement(of_one_user([1, 1, 1, 2], ["a", "a", "b", "b"])).row(0, named=True)
    assert (found["keywords"], found["true_clusters"], found["clusters"]) == (4, 2, 2)
    assert found["b3_precision"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1) / 4)
    assert found["b3_recall"] == pytest.approx((1 + 1 + 1 / 2 + 1 / 2) / 4)
    assert found["pair_f"] == pytest.approx(2 / 5)


@given(labels)
def test_agreement_is_what_its_definition_says(pairs: list[tuple[int, int]]) -> None:
    clusters, truth = [cluster for cluster, _ in pairs], [str(mission) for _, mission in pairs]
    found = agreement(of_one_user(clusters, [*truth])).row(0, named=True)
    precision, recall = [], []
    for cluster, mission in pairs:
        both = sum(pair == (cluster, mission) for pair in pairs)
        precision.append(both / clusters.count(cluster))
        recall.append(both / truth.count(str(mission)))
    assert found["b3_precision"] == pytest.approx(np.mean(precision))
    assert found["b3_recall"] == pytest.approx(np.mean(recall))
    expected = 2 * np.mean(precision) * np.mean(recall) / (np.mean(precision) + np.mean(recall))
    assert found["b3_f"] == pytest.approx(expected)
    (_, apart), (missed, together) = pair_confusion_matrix(truth, clusters)
    if together + missed + apart:
        assert found["pair_f"] == pytest.approx(2 * together / (2 * together + missed + apart))
    else:
        assert found["pair_f"] == 1


def test_users_are_scored_one_by_one_and_rows_without_truth_left_out() -> None:
    rows = pl.DataFrame(
        {
            "user_id": ["b", "b", "a", "a", "a", "nobody"],
            "cluster": [1, 2, 1, 1, 1, 1],
            "truth": ["x", "x", "x", "x", None, None],
        }
    )
    found = agreement(rows)
    assert found["user_id"].to_list() == ["a", "b"]
    assert found["pair_f"].to_list() == [1, 0]
    assert found["keywords"].to_list() == [2, 2]


def test_bootstrap_interval_holds_the_mean_and_narrows_with_users() -> None:
    few = bootstrap_mean(pl.Series([0.0, 1.0] * 5))
    many = bootstrap_mean(pl.Series([0.0, 1.0] * 500))
    assert few.value == many.value == 0.5
    assert few.low < many.low < 0.5 < many.high < few.high
    # The standard error of a mean of 1,000 coin tosses is 0.0158.
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.0158, rel=0.1)
    assert bootstrap_mean(pl.Series([0.25])).low == 0.25


def test_bootstrap_of_nothing_says_so() -> None:
    with pytest.raises(ValueError, match="no user"):
        bootstrap_mean(pl.Series([], dtype=pl.Float64))
