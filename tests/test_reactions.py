"""What simulated people do with notifications: each effect goes its way, and the same is done again."""

from datetime import date, timedelta

import polars as pl
import pytest

from lab.evaluation.sending import compare_policies
from lab.simulation.reactions import Reactions, react

DAY = date(2025, 6, 10)
PEOPLE = 6000
NOBODY = pl.DataFrame(schema={"user_id": pl.String, "day": pl.Date, "truth": pl.String})


def sends(*, intent: float | None = 0.3, hour_share: float = 1.0, channel: str = "push") -> pl.DataFrame:
    people = [f"u{number}" for number in range(PEOPLE)]
    return pl.DataFrame({"user_id": people, "send_id": [f"s{number}" for number in range(PEOPLE)]}).with_columns(
        journey_id=pl.lit("j"),
        channel=pl.lit(channel),
        day=pl.lit(DAY),
        utc_hour=pl.lit(18),
        truth=pl.lit("tents"),
        intent=pl.lit(intent, dtype=pl.Float64),
        hour_share=pl.lit(hour_share),
    )


def before(truth: str, times: int) -> pl.DataFrame:
    earlier = [(row, DAY - timedelta(days=1), truth) for row in sends()["user_id"] for _ in range(times)]
    return pl.DataFrame(earlier, schema=NOBODY.schema, orient="row")


def met(rows: pl.DataFrame, earlier: pl.DataFrame = NOBODY) -> Reactions:
    return react(rows, earlier, day=DAY, seed=1)


def share(reactions: Reactions, what: str) -> float:
    return int(reactions.sends[what].sum()) / PEOPLE


def test_interest_hour_channel_and_fatigue_each_have_their_effect():
    usual = met(sends())
    assert share(usual, "clicked") < share(usual, "opened")
    for less in (
        met(sends(intent=None)),
        met(sends(hour_share=0.0)),
        met(sends(channel="email")),
        met(sends(), before("stoves", 3)),
    ):
        assert share(less, "clicked") < 0.85 * share(usual, "clicked")
    assert share(met(sends(), before("tents", 3)), "clicked") < share(met(sends(), before("stoves", 3)), "clicked")
    tired = met(sends(), before("stoves", 12))
    assert share(tired, "opts_out") > 3 * share(usual, "opts_out") > 0


def test_what_lands_is_about_the_sends_and_the_same_again():
    once, again = met(sends()), met(sends())
    assert once.sends.equals(again.sends)
    rows = pl.concat([once.feedback(late=False), once.feedback(late=True)])
    counts = dict(rows["event"].value_counts().iter_rows())
    assert counts == {
        "sent": PEOPLE,
        "opened": int(once.sends["opened"].sum()),
        "clicked": int(once.sends["clicked"].sum()),
    }
    assert 0.03 < once.feedback(late=True).filter(event="sent").height / PEOPLE < 0.07
    assert 0.08 < rows["send_id"].is_null().mean() < 0.12  # type: ignore[operator]
    assert set(rows["occurred_at"].dt.date()) == {DAY}
    assert once.controls()["control"].unique().to_list() == ["opt_out"]


def test_policies_are_compared_per_send():
    rows = pl.concat(
        met(sends(intent=intent)).sends.with_columns(policy=pl.lit(policy))
        for policy, intent in (("trained", 0.9), ("rule", 0.3), ("interest only", 0.05))
    )
    found = {row["policy"]: row for row in compare_policies(rows).to_dicts()}
    trained, base = found["trained"], found["interest only"]
    assert trained["sends"] == base["sends"] == PEOPLE
    assert trained["gain"] == pytest.approx(trained["clicks_per_send"] / base["clicks_per_send"] - 1)
    assert 0 < trained["gain_low"] < trained["gain"] < trained["gain_high"]
