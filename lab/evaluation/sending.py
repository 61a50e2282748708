"""Whether the loop of notifications learns: days of run, decide, export, react, feedback and training, by policy."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from journeys_dagster.notification.draws import draws, user_seeds
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.send_export import export_sends
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.reader import read_days
from journeys_dagster.training.spans import TooFewReturnsError
from lab.benchmark import HALF, HALF_HELP, Result, Run, option
from lab.evaluation.home.feedback import simulate_feedback
from lab.simulation import simulate
from lab.simulation.journey_types import Half

POLICIES: Mapping[str, Mapping[str, Any]] = {
    "trained": {"use_model": True},
    "rule": {"use_model": False},
    "interest only": {"use_model": False, "fatigue_penalty": 1.0},
}
"""What each third of the users is decided by; all else is the same, and each is sent as much."""
_DECISIONS = "notification_decisions"
_LEADS = {"journey_expansions", "expansions", "keyword_items"}
"""What says where a send leads; simulated people do not look at that."""
_RESAMPLES = 2000
_FIRST_SCORES = f"""
    select score from {_DECISIONS} where as_of = $as_of and is_sent and place = 1
        and user_id in (select user_id from users_in_scope where as_of = $as_of)
    order by score desc
"""


@dataclass(frozen=True)
class Sending:
    """Days of notifications in a simulated home: clicks per send, opt-outs and fatigue by policy, at equal volume.

    Each third of the users is decided by another policy. The bar of each is set anew each day, so that all send to the
    same share of their users in scope. Journeys are inferred for the users who were active, models are trained weekly
    on the sends of all three, and people react by what is true of them.
    """

    name: ClassVar[str] = "sending"
    users: int = option(1500, type=click.IntRange(30))
    warm_up: int = option(60, "Days of activity before the first notification.", type=click.IntRange(14))
    days: int = option(60, "Days of notifications.", type=click.IntRange(7))
    share: float = option(0.3, "Share of users in scope who are notified each day.", type=click.FloatRange(0.01, 1))
    judged: int = option(30, "Last days that are compared.", type=click.IntRange(1))
    seed: int = option(31, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)

    def measure(self, run: Run) -> Result:
        """Simulate the days one by one, and compare."""
        with tempfile.TemporaryDirectory() as folder, run.step("days of notifications") as advance:
            loop = Loop(Home(Path(folder)), run.settings, run.vectors.embedder, share=self.share)
            days = self.warm_up + self.days
            made = simulate(
                loop.home.landing,
                users=self.users,
                days=days,
                seed=self.seed,
                half=self.half,
                truth=loop.home.path / "truth",
            )
            sends = loop.run(made.first_day, warm_up=self.warm_up, days=days, progress=advance)
            decisions = list(loop.trainings)
        last = sends["day"].max() or made.last_day
        compared = sends.filter(pl.col("day") > last - timedelta(days=self.judged))
        by_policy, gains = compare_policies(sends), compare_policies(compared)
        titles = (f"all {self.days} days", f"the last {self.judged} days, by which policies are compared")
        return Result(
            {"seed": self.seed, "users": self.users, "all_days": by_policy, "compared": gains, "trainings": decisions},
            dict(zip(titles, (by_policy, gains), strict=True)),
            [f"trained as of {day}: {decision}" for day, decision in decisions],
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
        self._base, self._embedder = self._settings["trained"], embedder
        self._warehouse = home.warehouse(self._base)
        self._sources, self._models = declared_sources(self._base), load_models()
        self._declared = [asset for asset in declared_assets(self._base) if asset.is_in_use(self._base)]
        self._location = build_location(self._base, self._declared, dg.DailyPartitionsDefinition("2020-01-01"))
        self._steps = [asset for asset in needed_for(_DECISIONS, self._declared) if asset.partitioned]

    def run(self, first_day: date, *, warm_up: int, days: int, progress: Callable[[float], None]) -> pl.DataFrame:
        """All days; returns the sends with what became of them: ``policy``, ``clicked``, ``opts_out``, ``patience``."""
        from journeys_dagster.resources.database_file import open_database

        met = []
        with open_database(self._warehouse.path, read_only=False, config=self._warehouse.connection_config):
            for source in self._sources:
                self._do(source, first_day)
            self._take_in([first_day + timedelta(days=step) for step in range(warm_up)])
            for step in range(warm_up - 1, days):
                day = first_day + timedelta(days=step)
                if step >= warm_up:
                    met.append(simulate_feedback(self.home, self._base, day).reactions.sends)
                    self._take_in([day])
                self._infer(day, is_first=step == warm_up - 1)
                self._decide(day)
                export_sends(self._warehouse, self.home.path / "exports", as_of=day)
                if step >= warm_up and (step - warm_up) % 7 == 6:
                    self._train(day)
                progress((step - warm_up + 2) / (days - warm_up + 1))
        sends = pl.concat(met)
        return sends.with_columns(policy=policies_of(sends["user_id"]))

    def _take_in(self, days: Sequence[date]) -> None:
        from assets.sources import write_landed

        zone = self.home.landing_zone()
        for source in self._sources.values():
            if folders := zone.landed_folders(source.name, days):
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

    def _decide(self, day: date) -> None:
        """Decide on each third by its policy, with the bar above which the wanted share of its users is notified."""
        from assets.notification_decisions import notification_decisions
        from journeys_dagster.orchestration.snapshot_asset import open_snapshot, replace_step

        scope = self._warehouse.query("from users_in_scope where as_of = $day order by user_id", {"day": day})
        for policy, of_users in _thirds(scope):
            settings = self._settings[policy]
            self._be_in_scope(day, of_users)
            replace_step(notification_decisions, open_snapshot(self._warehouse, _with_bar(settings, 0.0), day))
            scores = self._warehouse.query(_FIRST_SCORES, {"as_of": day})["score"]
            wanted = round(self.share * len(of_users))
            bar = scores[wanted - 1] if 0 < wanted < len(scores) else 0.0
            # Of the best that each may be sent, as those that explore may be sent what is worth less.
            replace_step(notification_decisions, open_snapshot(self._warehouse, _with_bar(settings, bar), day))
        self._be_in_scope(day, scope)

    def _be_in_scope(self, day: date, users: pl.DataFrame) -> None:
        with self._warehouse.write() as connection:
            connection.register("chosen", users)
            connection.execute("delete from users_in_scope where as_of = $day", {"day": day})
            connection.execute("insert into users_in_scope by name from chosen")
            connection.unregister("chosen")

    def _train(self, day: date) -> None:
        from assets.send_model import attempt
        from journeys_dagster.resources.trained_models import keep_send_model

        try:
            found = attempt(self._warehouse, self._base, day)
        except TooFewReturnsError as error:
            self.trainings.append((day, f"not trained: {error}"))
            return
        keep_send_model(self._warehouse, day, found)
        self.trainings.append((day, found.decision))


def policies_of(users: pl.Series) -> pl.Series:
    """The policy that decides on each user: a third each, by a hash."""
    third = (draws(user_seeds(users, "policies"), 0) * len(POLICIES)).astype(np.int64)
    return pl.Series(list(POLICIES)).gather(pl.Series(third))


def _thirds(scope: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    policies = policies_of(scope["user_id"])
    for policy in POLICIES:
        yield policy, scope.filter(policies == policy)


def _notifying(settings: Settings, changed: Mapping[str, Any]) -> Settings:
    return settings.model_copy(update={"notifications": settings.notifications.model_copy(update=changed)})


def _with_bar(settings: Settings, bar: float) -> Settings:
    channels = {
        name: each.model_copy(update={"min_score": bar, "min_click": bar})
        for name, each in settings.notifications.channels.items()
    }
    return _notifying(settings, {"channels": channels})


def compare_policies(sends: pl.DataFrame) -> pl.DataFrame:
    """One row per policy: sends, clicks per send and its gain over interest only with a 95 % interval over users, users
    who opted out as a share of sends, and ``patience``, what fatigue leaves of the share opened (mean over sends).
    """
    of_users = sends.group_by("policy", "user_id").agg(sends=pl.len(), clicks=pl.col("clicked").sum()).sort("user_id")
    rng = np.random.default_rng(0)
    drawn = {}
    for policy in POLICIES:
        users = of_users.filter(policy=policy).select("sends", "clicks").to_numpy().astype(np.float64)
        times = rng.multinomial(len(users), np.full(len(users), 1 / len(users)), size=_RESAMPLES) @ users
        drawn[policy] = times[:, 1] / times[:, 0]
    rows = []
    rates = {name: float(sends.filter(policy=name)["clicked"].cast(pl.Float64).mean() or 0.0) for name in POLICIES}  # type: ignore[arg-type]
    for policy in POLICIES:
        low, high = np.quantile(drawn[policy], [0.025, 0.975])
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = drawn[policy] / drawn["interest only"] - 1
        of_policy = sends.filter(policy=policy)
        is_base = policy == "interest only"
        rows.append(
            {
                "policy": policy,
                "users": of_policy["user_id"].n_unique(),
                "sends": of_policy.height,
                "clicks_per_send": rates[policy],
                "clicks_per_send_low": float(low),
                "clicks_per_send_high": float(high),
                "gain": 0.0 if is_base else rates[policy] / rates["interest only"] - 1,
                "gain_low": 0.0 if is_base else float(np.quantile(gains, 0.025)),
                "gain_high": 0.0 if is_base else float(np.quantile(gains, 0.975)),
                "opt_outs": int(of_policy["opts_out"].sum()),
                "opt_outs_per_1000": 1000 * float(of_policy["opts_out"].sum()) / max(of_policy.height, 1),
                "patience": float(of_policy["patience"].mean() or 0.0),  # type: ignore[arg-type]
            }
        )
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
