"""Judge scores and metrics in the small world: human labels put users into the sample, and a low kappa withholds."""

from collections.abc import Callable
from datetime import date

import polars as pl
from conftest import Pipeline

from journeys_dagster.settings import Settings


def test_labelled_users_are_judged_and_a_judge_under_its_floor_is_withheld(
    copy_of_world: Callable[[str], Pipeline], world_days: list[date]
) -> None:
    pipeline, day = copy_of_world("labelled"), world_days[-2]
    shown = pipeline.table("user_journeys", f"as_of = '{day}' and rank <= 2")
    contrary = pl.when(pl.int_range(pl.len()) % 2 == 0).then(1).otherwise(5)
    labels = shown.select("user_id", "journey_id", grade=contrary, annotator=pl.lit("ann"))
    with pipeline.warehouse.write() as connection:
        connection.register("labels", labels)
        connection.execute(
            "insert into human_labels by name select cast($day as date) as arrival_day, *, "
            "cast($day as timestamp) as occurred_at from labels",
            {"day": day},
        )
    for floor, is_withheld in ((0.0, False), (1.0, True)):
        settings = Settings.model_validate({"judge": {"floor": floor, "min_graded": 1 if is_withheld else 100_000}})
        judged = Pipeline(pipeline.home, settings)
        run = judged.materialize("judge_scores", "judge_metrics", days=(day, day))
        assert run.success
        scores = judged.table("judge_scores", f"as_of = '{day}'")
        assert set(labels["user_id"]) <= set(scores["user_id"])
        assert set(scores["judge"]) == {"evidence"}
        assert scores["explanation"].str.contains("not a language model").all()
        metrics = judged.table("judge_metrics", f"as_of = '{day}'")
        assert metrics.is_empty() == is_withheld
        (check,) = run.get_asset_check_evaluations()
        assert check.passed != is_withheld
        assert check.metadata["graded"].value
