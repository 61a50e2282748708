"""Whether the loop of notifications learns: days of run, decide, export, react, feedback and training, by policy."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import click
import dagster as dg
import numpy as np
import polars as pl

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.notification.sends import NOTIFICATION_SENDS
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.send_export import export_sends
from journeys_dagster.resources.trained_models import SEND_MODEL, keep_send_model
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.reader import read_days
from journeys_dagster.training.spans import TooFewReturnsError
from lab.benchmark import HALF, HALF_HELP, Result, Run, option
from lab.evaluation.home.feedback import simulate_feedback
from lab.evaluation.statistics import resampled_totals
from lab.simulation import simulate
from lab.simulation.journey_types import Half

POLICIES: Mapping[str, Mapping[str, Any]] = {
    "trained": {"use_model": True},
    "rule": {"use_model": False},
    "interest only": {"use_model": False, "fatigue_penalty": 1.0},
}
"""What decides; all else is the same, and each sends as much."""
_DECISIONS = "notification_decisions"
_SAID = ("notification_feedback", "user_controls")
_LEADS = {"journey_expansions", "expansions", "keyword_items"}
"""What says where a send leads; simulated people do not look at that."""
_FIRST_SCORES = f"""
    select score from {_DECISIONS} where as_of = $as_of and is_sent and place = 1 order by score desc
"""


@dataclass(frozen=True)
class Sending:
    """Days of notifications in a simulated home: clicks per send, opt-outs and fatigue by policy, at equal volume.

    Journeys are inferred day by day, for the users who were active. Then each policy has the same days, people and
    chance to itself: its sends are decided, exported, met by what is true of people, landed as feedback, and, where it
    learns, learned from each week. The bar is set anew each day, so that all policies send to the same share of the
    users in scope.
    """

    name: ClassVar[str] = "sending"
    users: int = option(1500, type=click.IntRange(30))
    warm_up: int = option(45, "Days of activity before the first notification.", type=click.IntRange(14))
    days: int = option(60, "Days of notifications.", type=click.IntRange(7))
    share: float = option(0.2, "Share of users in scope who are notified each day.", type=click.FloatRange(0.01, 1))
    judged: int = option(30, "Last days that are compared.", type=click.IntRange(1))
    seed: int = option(31, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)

    def measure(self, run: Run) -> Result:
        """Simulate the days one by one, and compare."""
        with tempfile.TemporaryDirectory() as folder, run.step("days of notifications") as advance:
            home = Home(Path(folder))
            made = simulate(
                home.landing,
                users=self.users,
                days=self.warm_up + self.days,
                seed=self.seed,
                half=self.half,
                truth=home.path / "truth",
            )
            loop = Loop(home, run.settings, run.vectors.embedder, share=self.share)
            last = made.first_day + timedelta(days=self.warm_up + self.days - 1)
            sends = loop.run(
                made.first_day, first=made.first_day + timedelta(days=self.warm_up), last=last, told=advance
            )
            return report(sends, loop.trainings, seed=self.seed, users=self.users, judged=self.judged)


def report(sends: pl.DataFrame, trainings: Sequence[tuple[date, str]], *, seed: int, users: int, judged: int) -> Result:
    """Tables and the plot of the sends of all policies."""
    last: date = sends["day"].max()  # type: ignore[assignment]
    compared = compare_policies(sends.filter(pl.col("day") > last - timedelta(days=judged)))
    everything = compare_policies(sends)
    return Result(
        {"seed": seed, "users": users, "all_days": everything, "compared": compared, "trainings": trainings},
        {"all days": everything, f"the last {judged} days, by which policies are compared": compared},
        [f"trained as of {day}: {decision}" for day, decision in trainings],
        {"sending": partial(_plot, sends)},
    )


class Loop:
    """A simulated home in which notifications are decided, exported, met and learned from, day by day."""

    def __init__(self, home: Home, settings: Settings, embedder: TextEmbedder, *, share: float) -> None:
        from journeys_dagster.definitions import build_location, declared_assets
        from journeys_dagster.orchestration.bare import needed_for
        from journeys_dagster.sql.models import load_models

        self.home, self.share, self.trainings = home, share, list[tuple[date, str]]()
        self._settings = {
            name: _notifying(settings, {"enabled": True, "holdout_share": 0.0, **changed})
            for name, changed in POLICIES.items()
        }
        self._base, self._embedder = _notifying(settings, {"enabled": True}), embedder
        self._warehouse = home.warehouse(self._base)
        self._sources, self._models = declared_sources(self._base), load_models()
        self._declared = [asset for asset in declared_assets(self._base) if asset.is_in_use(self._base)]
        self._location = build_location(self._base, self._declared, dg.DailyPartitionsDefinition("2020-01-01"))
        self._steps = [asset for asset in needed_for(_DECISIONS, self._declared) if asset.partitioned]

    def run(self, first_day: date, *, first: date, last: date, told: Callable[[float], None]) -> pl.DataFrame:
        """All of it; the sends with what became of them: ``policy``, ``clicked``, ``opts_out``, ``patience``."""
        from journeys_dagster.resources.database_file import open_database

        with open_database(self._warehouse.path, read_only=False, config=self._warehouse.connection_config):
            self.infer(first_day, first=first, last=last, told=lambda done: told(done / 2))
            return self.notify(first, last, told=lambda done: told((1 + done) / 2))

    def infer(self, first_day: date, *, first: date, last: date, told: Callable[[float], None]) -> None:
        """Take in the landing zone from `first_day` on, and infer each day from the one before `first` on."""
        for source in self._sources:
            self._do(source, first_day)
        self._take_in([first_day + timedelta(days=step) for step in range((first - first_day).days)])
        days = _days(first - timedelta(days=1), last)
        for day in days:
            if day >= first:
                self._take_in([day])
            self._infer(day, is_first=day < first)
            told((day - days[0]).days / len(days))

    def notify(self, first: date, last: date, *, told: Callable[[float], None]) -> pl.DataFrame:
        """Send from `first` to `last` by each policy in turn, on the days that were inferred."""
        met = []
        days = _days(first, last)
        for place, policy in enumerate(POLICIES):
            self._begin_anew()
            self._decide(policy, first - timedelta(days=1))
            for done, day in enumerate(days, start=1):
                reactions = simulate_feedback(self.home, self._base, day).reactions
                met.append(reactions.sends.with_columns(policy=pl.lit(policy)))
                self._take_in([day], only=_SAID)
                self._decide(policy, day)
                if done % 7 == 0 and self._settings[policy].notifications.use_model:
                    self._train(day)
                told((place + done / len(days)) / len(POLICIES))
        return pl.concat(met)

    def _begin_anew(self) -> None:
        """Nothing has been sent, said or learned yet."""
        for source in _SAID:
            shutil.rmtree(self.home.landing / source, ignore_errors=True)
        with self._warehouse.write() as connection:
            for table in (_DECISIONS, NOTIFICATION_SENDS.name, SEND_MODEL.name):
                connection.execute(f'drop table if exists "{table}"')
            for source in _SAID:
                connection.execute(f'delete from "{source}"')
        self._warehouse.create_missing([NOTIFICATION_SENDS])

    def _take_in(self, days: Sequence[date], only: Sequence[str] = ()) -> None:
        from assets.sources import write_landed

        zone = self.home.landing_zone()
        for name, source in self._sources.items():
            if (not only or name in only) and (folders := zone.landed_folders(name, days)):
                landed = read_days(source, folders, self._base.landing)
                write_landed(self._warehouse, source, landed, list(folders))

    def _infer(self, day: date, *, is_first: bool) -> None:
        """Everyone on the first day, then who was active; views, and what nobody reacts to, are made once."""
        for asset in self._steps:
            is_once = asset.name in _LEADS or (asset.table is not None and asset.table.kind == "view")
            if asset.name not in {*self._sources, _DECISIONS} and (is_first or not is_once):
                self._do(asset.name, day, scope="all_users" if is_first else "active_users")

    def _do(self, name: str, day: date, scope: str = "all_users") -> None:
        from journeys_dagster.orchestration.asset import Run as AssetRun
        from journeys_dagster.orchestration.bare import replace_rows
        from journeys_dagster.orchestration.run_config import ScopeConfig

        (asset,) = (each for each in self._declared if each.name == name)
        run = AssetRun(
            days=[day],
            location=self._location,
            warehouse=self._warehouse,
            embedder=self._embedder,
            landing_zone=self.home.landing_zone(),
            config=ScopeConfig(scope=scope),
        )
        replace_rows(asset, run, self._models)

    def _decide(self, policy: str, day: date) -> None:
        """Decide and export, with the bar above which the wanted share of the users in scope is notified."""
        from assets.notification_decisions import notification_decisions
        from journeys_dagster.orchestration.snapshot_asset import open_snapshot, replace_step

        def decide(bar: float) -> None:
            settings = _with_bar(self._settings[policy], bar)
            replace_step(notification_decisions, open_snapshot(self._warehouse, settings, day))

        decide(0.0)
        scores = self._warehouse.query(_FIRST_SCORES, {"as_of": day})["score"]
        users = self._warehouse.query("select count(*) from users_in_scope where as_of = $as_of", {"as_of": day}).item()
        wanted = round(self.share * users)
        # Of the best that each may be sent: those that explore may be sent what is worth less.
        decide(scores[wanted - 1] if 0 < wanted < len(scores) else 0.0)
        export_sends(self._warehouse, self.home.path / "exports", as_of=day)

    def _train(self, day: date) -> None:
        from assets.send_model import attempt

        try:
            found = attempt(self._warehouse, self._base, day)
        except TooFewReturnsError as error:
            self.trainings.append((day, f"not trained: {error}"))
            return
        keep_send_model(self._warehouse, day, found)
        self.trainings.append((day, found.decision))


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=step) for step in range((last - first).days + 1)]


def _notifying(settings: Settings, changed: Mapping[str, Any]) -> Settings:
    return settings.model_copy(update={"notifications": settings.notifications.model_copy(update=changed)})


def _with_bar(settings: Settings, bar: float) -> Settings:
    channels = {
        name: each.model_copy(update={"min_score": bar, "min_click": bar})
        for name, each in settings.notifications.channels.items()
    }
    return _notifying(settings, {"channels": channels})


def compare_policies(sends: pl.DataFrame) -> pl.DataFrame:
    """One row per policy: sends, clicks per send and its gain over interest only with 95 % intervals over users, the
    same ones for all; opt-outs, also per 1,000 sends; ``patience``, what fatigue leaves of the share opened (mean).
    """
    users = sends.select(pl.col("user_id").unique().sort())
    counts = {}
    for policy in POLICIES:
        of_policy = sends.filter(policy=policy).group_by("user_id")
        found = of_policy.agg(sends=pl.len(), clicks=pl.col("clicked").sum(), out=pl.col("opts_out").sum())
        joined = users.join(found, on="user_id", how="left", maintain_order="left").drop("user_id").fill_null(0)
        counts[policy] = joined.to_numpy().astype(np.float64)
    drawn = np.hsplit(resampled_totals(np.hstack(list(counts.values()))), len(counts))
    totals = dict(zip(counts, drawn, strict=True))
    base = "interest only"
    rows = []
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = {policy: of[:, 1] / of[:, 0] for policy, of in totals.items()}
        for policy, of in counts.items():
            sent, clicked, out = of.sum(axis=0)
            gain = (clicked / sent) / (counts[base][:, 1].sum() / counts[base][:, 0].sum()) - 1
            row = {"policy": policy, "users": int((of[:, 0] > 0).sum()), "sends": int(sent)}
            for name, value, spread in (
                ("clicks_per_send", clicked / sent, rates[policy]),
                ("gain", gain, rates[policy] / rates[base] - 1),
            ):
                low, high = np.quantile(spread, [0.025, 0.975])
                row |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
            patience = sends.filter(policy=policy)["patience"].mean()
            row |= {"opt_outs": int(out), "opt_outs_per_1000": float(1000 * out / sent), "patience": patience}
            rows.append(row)
    return pl.DataFrame(rows)


def _plot(sends: pl.DataFrame) -> bytes:
    from journeys_dagster.reporting.plots import daily_counts

    weekly = (
        sends.with_columns(day=pl.col("day").dt.truncate("1w"))
        .group_by("day", "policy")
        .agg(clicks=pl.col("clicked").cast(pl.Float64).mean())
        .pivot("policy", index="day", values="clicks")
        .sort("day")
    )
    series = {name: weekly[name] for name in POLICIES if name in weekly.columns}
    return daily_counts(weekly["day"], series, title="Clicks per send by week and policy", y_label="clicks per send")
