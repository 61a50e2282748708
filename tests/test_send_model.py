"""The model of sends: what it learns, that it takes over by proof alone, and what decisions do with it."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.send_model import attempt
from journeys_dagster.notification.features import FEATURES
from journeys_dagster.notification.send_model import SendModel
from journeys_dagster.notification.sends import NOTIFICATION_SENDS
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.trained_models import SEND_MODEL, keep_send_model, model_misfit, send_model_in_use
from journeys_dagster.settings import NotificationSettings, Settings
from journeys_dagster.training.sender import attempt_send_model, split_sends
from journeys_dagster.training.spans import TooFewReturnsError

FIRST, DAYS, A_DAY = date(2025, 3, 1), 50, 90
KNOWN_UNTIL = FIRST + timedelta(days=DAYS + 3)
SETTINGS = NotificationSettings.model_validate({})


def sends(*, learnable: bool, seed: int = 3) -> pl.DataFrame:
    """Sends that are clicked by how warm users are, or by chance; the rule's features are noise."""
    draw = np.random.default_rng(seed)
    rows = DAYS * A_DAY
    columns = {name: draw.random(rows) for name in FEATURES}
    warm = columns["click_rate"] if learnable else draw.random(rows)
    opened = draw.random(rows) < 0.2 + 0.6 * warm
    return pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in draw.integers(0, 300, rows)],
            "day": [FIRST + timedelta(days=number // A_DAY) for number in range(rows)],
            "opened": opened,
            "clicked": opened & (draw.random(rows) < 0.6 * warm),
            **columns,
        }
    )


def test_a_model_that_tells_who_clicks_takes_over_and_states_how_often_they_do():
    known = sends(learnable=True)
    found = attempt_send_model(known, SETTINGS, known_until=KNOWN_UNTIL, current=None)
    assert found.promoted, found.decision
    assert next(iter(found.importance)) == "click_rate"
    newer = sends(learnable=True, seed=4)
    stated = found.model.scores(newer)
    assert stated.mean() == pytest.approx(newer["clicked"].mean(), abs=0.02)
    warm = (newer["click_rate"] > 0.8).to_numpy()
    assert stated[warm].mean() == pytest.approx(newer["clicked"].to_numpy()[warm].mean(), abs=0.05)
    # Whatever it has learnt by chance, more of what was sent lately never speaks for a send.
    tired = newer.with_columns(pl.col("similar_lately", "sent_7") + 0.5)
    assert (found.model.scores(tired) <= stated + 1e-6).all()
    again = attempt_send_model(known, SETTINGS, known_until=KNOWN_UNTIL, current=found.model)
    assert {row["sends_by"] for row in again.card["test"]} == {"new model", "current model", "rule"}


def test_a_model_that_knows_no_more_than_the_rule_is_refused():
    found = attempt_send_model(sends(learnable=False), SETTINGS, known_until=KNOWN_UNTIL, current=None)
    assert not found.promoted
    assert found.decision.startswith("refused")


def test_no_span_sees_what_was_not_known_when_it_ended():
    spans = split_sends(sends(learnable=True), feedback_days=3, known_until=KNOWN_UNTIL - timedelta(days=10))
    train, validation, test = (rows["day"] for rows in spans.values())
    horizon = timedelta(days=3)
    assert train.max() + horizon <= validation.min()  # type: ignore[operator]
    assert validation.max() + horizon <= test.min()  # type: ignore[operator]
    assert test.max() + horizon <= KNOWN_UNTIL - timedelta(days=10)  # type: ignore[operator]


def test_a_model_is_kept_and_used_from_its_day_on_where_it_fits(home: Home):
    settings = Settings.model_validate({"notifications": {"enabled": True}})
    warehouse = home.warehouse(settings)
    with pytest.raises(TooFewReturnsError, match="nothing has been exported"):
        attempt(warehouse, settings, KNOWN_UNTIL)
    known = sends(learnable=True).with_row_index("number")
    channel = {"journey_id": "j", "channel": "push"}
    logged = known.select(
        *("user_id", "day"),
        *(pl.lit(value).alias(name) for name, value in {**LOGGED, **channel}.items()),
        send_id=pl.format("s{}", "number"),
        as_of=pl.col("day") - pl.duration(days=1),
        keywords=pl.lit([], dtype=pl.List(pl.String)),
        features=pl.struct(FEATURES),
        exported_at=pl.lit(FIRST).cast(pl.Datetime("us")),
    )
    said = pl.concat(
        known.filter(event).select(
            "user_id",
            send_id=pl.format("s{}", "number"),
            event=pl.lit(event),
            occurred_at=pl.col("day").cast(pl.Datetime("us")) + pl.duration(days=1),
            arrival_day=pl.col("day") + pl.duration(days=2),
            **{name: pl.lit(value) for name, value in channel.items()},
        )
        for event in ("opened", "clicked")
    )
    with warehouse.write() as connection:
        connection.execute(NOTIFICATION_SENDS.create_sql())
        connection.register("logged", logged)
        connection.register("said", said)
        connection.execute("insert into notification_sends by name from logged")
        connection.execute("create table notification_feedback as from said")
    found = attempt(warehouse, settings, KNOWN_UNTIL)
    assert found.promoted, found.decision
    parts = found.card["spans"].values()
    counted = split_sends(sends(learnable=True), feedback_days=3, known_until=KNOWN_UNTIL).values()
    assert [part["clicks"] for part in parts] == [int(rows["clicked"].sum()) for rows in counted]
    keep_send_model(warehouse, KNOWN_UNTIL, found)
    assert send_model_in_use(warehouse, settings, KNOWN_UNTIL - timedelta(days=1)) is None
    kept = send_model_in_use(warehouse, settings, KNOWN_UNTIL)
    assert isinstance(kept, SendModel)
    some = sends(learnable=True).head(50)
    assert np.array_equal(kept.scores(some), found.model.scores(some))
    other = settings.model_copy(update={"notifications": only_mail(settings.notifications)})
    assert "other channels" in model_misfit(warehouse, other, SEND_MODEL, KNOWN_UNTIL)
    assert send_model_in_use(warehouse, other, KNOWN_UNTIL) is None


LOGGED: Mapping[str, Any] = {
    **{"place": 1, "name": "n", "utc_hour": 9, "local_hour": 9, "lead_kind": "keyword", "lead": "w", "reason": "best"},
    **{"score": 0.5, "scored_by": "rule", "propensity": 1.0, "export": "here"},
}


def only_mail(chosen: NotificationSettings) -> NotificationSettings:
    return chosen.model_copy(update={"channels": {"email": chosen.channels["email"]}})
