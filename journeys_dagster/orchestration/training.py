"""What the assets of trained models do alike: train, keep the attempt with its card, and say whether it takes over."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, TypeVar

import dagster as dg

from journeys_dagster.orchestration.asset import Run
from journeys_dagster.orchestration.checks import promotion_result
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.training.ranker import Attempt
from journeys_dagster.training.sender import SendAttempt
from journeys_dagster.training.spans import TooFewReturnsError
from journeys_dagster.training.stager import StageAttempt

AnyAttempt = TypeVar("AnyAttempt", Attempt, StageAttempt, SendAttempt)


def train_model(
    run: Run,
    train: Callable[[], tuple[date, AnyAttempt]],
    *,
    keep: Callable[[Warehouse, date, AnyAttempt], None],
    show: Callable[[AnyAttempt, date], Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Train a model and keep it; with too few returns, say so and leave what is in use.

    Parameters
    ----------
    train : callable
        Returns the last day that was seen, and the attempt.
    keep : callable
        Stores the attempt.
    show : callable
        Metadata of the model's own.
    """
    try:
        as_of, attempt = train()
    except TooFewReturnsError as error:
        decision = f"not trained: {error}"
        run.warn(decision)
        check = promotion_result(decision, promoted=False)
        return dg.MaterializeResult(metadata={"decision": decision}, check_results=[check])
    keep(run.warehouse, as_of, attempt)
    run.log(attempt.decision)
    test = attempt.comparison.table
    return dg.MaterializeResult(
        metadata={
            "decision": attempt.decision,
            "promoted": attempt.promoted,
            "model_id": attempt.card["model_id"],
            "as_of": str(as_of),
            "test": dg.MetadataValue.md(markdown_table(test)),
            **show(attempt, as_of),
        },
        check_results=[promotion_result(attempt.decision, promoted=attempt.promoted, test=test)],
    )
