"""A home against its truth, some users at a time."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import KeywordVectors
from lab.benchmark import BenchmarkError
from lab.evaluation.home.grouping import grouping_values
from lab.evaluation.home.lists import (
    content_values,
    forecasts_of,
    name_values,
    order_values,
    stage_values,
    staged,
)
from lab.evaluation.home.reading import Part, Query, Truth, knows_returns, read_part
from lab.evaluation.home.report import PIPELINE, HomeReport, summarise, values
from lab.evaluation.identity import kept_by_user
from lab.simulation.journey_types import Half
from lab.simulation.truth import scan_truth

USERS_PER_PART = 2_000
_IDS = {PIPELINE: "journey_id", "place in the list": "place", "heaviest keyword": "heaviest"}
_EMBEDDINGS = "select keyword, embedding from keyword_embeddings where model_revision = $revision"
_DAYS = "select distinct as_of from user_snapshots"


def evaluate_home(
    query: Query,
    folder: Path,
    settings: Settings,
    vectors: KeywordVectors,
    *,
    half: Half | None = None,
    sample: int = 1_000,
    users_per_part: int = USERS_PER_PART,
    progress: Callable[[float], None] | None = None,
) -> HomeReport:
    """Compare what a home's warehouse says of its users with the truth beside its landing zone.

    Users are taken some at a time, in the order of their ids; of each, only its values are kept.

    Parameters
    ----------
    query : callable
        Rows of the warehouse, by SQL and parameters.
    folder : Path
        The truth.
    vectors : KeywordVectors
        Of the model that the settings name; takes in what the warehouse has embedded.
    half : {"tune", "report"}, optional
        Only true journeys of this half of the catalogue count: keywords and events of the others are not scored,
        journeys that are mostly of them are taken off the lists, and the places close up.
    sample : int
        Users for whom the costly baselines are computed too.

    Raises
    ------
    BenchmarkError
        There is no truth, or it is of other users than the warehouse.
    """
    truth = Truth.of(folder, half)
    inferred = query("select distinct user_id from user_snapshots", {})["user_id"].sort()
    known = scan_truth(folder, "people").select("user_id").collect()["user_id"]
    users = inferred.filter(inferred.is_in(known.implode())).to_list()
    if not users:
        raise BenchmarkError(
            f"the truth in {folder} is of other users than the warehouse: simulate and run in one home"
        )
    days: list[date] = query(_DAYS, {})["as_of"].sort().to_list()
    chosen = settings.embedding
    vectors.remember(query(_EMBEDDINGS, {"revision": model_revision(chosen.model, chosen.revision)}))
    costly = set(users[:: max(1, -(-len(users) // sample))]) if sample else set()
    found, forecasts, confusions = [], [], []
    for done, batch in _batches(users, users_per_part):
        part = read_part(query, truth, settings, batch)
        found.append(_values(part, truth, settings, vectors, costly))
        forecasts.append(forecasts_of(part))
        confusions.append(staged(part).group_by("true_stage", "stage").len("journeys"))
        if progress is not None:
            progress(done)
    confusion = pl.concat(confusions).group_by("true_stage", "stage").agg(pl.col("journeys").sum())
    return HomeReport(
        measures=summarise(pl.concat(found), pl.concat(forecasts)),
        stage_confusion=confusion.sort("true_stage", "stage"),
        users=len(users),
        days=days,
        half=half,
        returns_happened=knows_returns(truth, days[-1], days=settings.ranking.return_days),
    )


def _values(part: Part, truth: Truth, settings: Settings, vectors: KeywordVectors, costly: set[str]) -> pl.DataFrame:
    identity = []
    for method, ids in _IDS.items() if not part.followed.is_empty() else ():
        followed = part.followed.select("user_id", "as_of", "weight", before=f"{ids}_before", after=ids)
        identity.append(values(kept_by_user(followed), "id_kept", method, pl.col("kept_share")))
    return pl.concat(
        [
            grouping_values(part.keywords, truth.types, vectors, costly),
            name_values(part, vectors),
            stage_values(part),
            order_values(part),
            content_values(part),
            *identity,
        ]
    )


def _batches(users: Sequence[str], size: int) -> Iterator[tuple[float, Sequence[str]]]:
    for first in range(0, len(users), size):
        yield min(1.0, (first + size) / len(users)), users[first : first + size]
