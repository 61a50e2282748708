"""Past snapshots of a history with their stages: by the rule, after training and by a baseline; what is evergreen.

How right they are belongs to `stages`.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from journeys_dagster.inference.confidence import with_confidence
from journeys_dagster.inference.stage_model import FEATURES, StageModel
from journeys_dagster.inference.stages import ENDED, EVERGREEN, ONGOING, stage_journeys
from journeys_dagster.settings import Settings
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.replay import labelled_snapshots, replay_features
from journeys_dagster.training.spans import WARM_UP_DAYS, TooFewReturnsError
from journeys_dagster.training.stager import train_stage_model
from lab.evaluation.naming import name_in

FIXED_DAYS = 30
RULE, TRAINED, FIXED = "rule", "after training", f"{FIXED_DAYS} days of silence"
JOURNEY = ["user_id", "journey_id"]
TRAINING_SNAPSHOTS = 8
MIN_JOURNEYS = 30
_JOURNEYS = """
    select user_id, journey_id, weight, search_count + action_count as events, keywords, cohesion, days_active,
        first_seen, last_seen, active_months
    from journey_engagement
    order by user_id, journey_id
"""
KEYWORDS = """
    select user_id, journey_id, keyword, weight, events, sources, centroid_similarity
    from clusters join journey_identities using (user_id, cluster)
"""


def stages_on(
    history: History, as_of: date, settings: Settings, vectors: KeywordVectors, model: StageModel | None = None
) -> pl.DataFrame:
    """Stages of the journeys that may be listed as of a day, by the rule, with a model, and those of a baseline.

    Returns
    -------
    DataFrame
        From `stage_journeys`, for each ``method``: `RULE`; `TRAINED`, if there is a model; and `FIXED` days of silence
        with the same evergreen ones.
    """
    features = replay_features(history, as_of, settings, vectors).select(*JOURNEY, *FEATURES)
    engagement = with_confidence(history.query(_JOURNEYS, {}), as_of=as_of)
    listed = engagement.filter(pl.col("confidence") >= settings.output.min_confidence)
    journeys = listed.select(*JOURNEY, "first_seen", "last_seen", "active_months")
    journeys = journeys.join(features, on=JOURNEY, how="left", maintain_order="left")
    found = {RULE: stage_journeys(journeys, as_of=as_of, settings=settings.stages)}
    if model is not None:
        found[TRAINED] = stage_journeys(journeys, as_of=as_of, settings=settings.stages, model=model)
    idle = pl.col("days_since_last").cast(pl.Int64)
    silent = pl.when(idle > FIXED_DAYS).then(pl.lit(ENDED)).otherwise(pl.lit(ONGOING))
    found[FIXED] = found[RULE].with_columns(
        ends_on=pl.lit(as_of) + pl.duration(days=FIXED_DAYS + 1 - idle),
        stage=pl.when(pl.col("stage") == EVERGREEN).then(pl.lit(EVERGREEN)).otherwise(silent),
    )
    return pl.concat(rows.with_columns(method=pl.lit(name), as_of=as_of) for name, rows in found.items())


def model_before(day: date, history: History, settings: Settings, vectors: KeywordVectors) -> StageModel | None:
    """A stage model of what was known on a day, or none where that is too little."""
    first, horizon = history.span[0], settings.stages.return_days
    free = (day - first).days - horizon - WARM_UP_DAYS
    step = max(free // TRAINING_SNAPSHOTS, 1)
    days = [day - timedelta(days=horizon + step * back) for back in range(TRAINING_SNAPSHOTS) if step * back <= free]
    if free < 0:
        return None
    try:
        examples = pl.concat(labelled_snapshots(history, days[::-1], settings, vectors))
        return train_stage_model(examples, return_days=horizon, model_id=TRAINED)
    except TooFewReturnsError:
        return None


def lifecycles(
    history: History, settings: Settings, vectors: KeywordVectors, *, as_of: date, topics: Sequence[str] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """How evergreen journeys of a name are, and those about some topics.

    Only journeys whose first event is long enough ago to be evergreen count.

    Returns
    -------
    names : DataFrame
        Columns ``name``, ``journeys`` (int, at least `MIN_JOURNEYS`), ``evergreen_share``, sorted from the most
        evergreen to the most situational.
    topics : DataFrame
        The same of journeys with a topic in half of their keywords or more, and of all.
    """
    staged = stages_on(history, as_of, settings, vectors).filter(method=RULE)
    members = history.query(KEYWORDS, {})
    journeys = staged.join(name_in(history, members, settings), on=JOURNEY).filter(
        pl.col("span_days") + pl.col("days_since_last") >= settings.stages.evergreen_min_span_days
    )
    measures = {"journeys": pl.len(), "evergreen_share": (pl.col("lifecycle") == EVERGREEN).mean()}
    by_name = (
        journeys.group_by("name")
        .agg(**measures)
        .filter(pl.col("journeys") >= MIN_JOURNEYS)
        .sort("evergreen_share", "name", descending=[True, False])
    )
    rows = []
    for topic in ("", *topics):
        share = pl.col("keyword").str.contains(topic, literal=True).mean()
        about = members.group_by(JOURNEY).agg(share=share).filter(pl.col("share") >= 0.5)
        rows.append(journeys.join(about, on=JOURNEY, how="semi").select(topic=pl.lit(topic or "all"), **measures))
    return by_name, pl.concat(rows)
