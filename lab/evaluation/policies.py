"""What policies of sending are worth, told from one policy's log, beside what they are truly worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, ClassVar

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.confidence import with_confidence
from journeys_dagster.inference.ranking import rank_by_heuristic
from journeys_dagster.notification.decisions import rule_score
from journeys_dagster.notification.off_policy import PolicyValue, doubly_robust, inverse_propensity, self_normalised
from journeys_dagster.settings import NotificationSettings, Settings
from journeys_dagster.training.history import KeywordVectors
from journeys_dagster.training.replay import replay_features
from lab.benchmark import HALF, HALF_HELP, BenchmarkError, Result, Run, option
from lab.evaluation.corpora import keyword_truth, world_history
from lab.evaluation.intent import journey_intents
from lab.evaluation.statistics import share_interval
from lab.simulation.intent import click_shares
from lab.simulation.journey_types import Half
from lab.simulation.world import World

LOGGED = "rule"
WEEKS = 3
"""Snapshots a week apart that are learned from, and as many that are decided on."""
_ESTIMATORS = ("ips", "self_normalised", "doubly_robust")
_FOLDS = 2
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Policy:
    """Policies of sending one notification to each user a day, from the log of the rule that explores.

    Journeys are inferred as of past days of a simulated world, and the click on each is as likely as the truth makes
    it; each snapshot is decided on for some days. A policy sends what it scores highest. Its clicks per send are
    estimated from logs of the rule, which also sends any for the share that explores, drawn anew in each trial, and
    compared with what they truly are. `trained` are boosted trees that have seen what was clicked of random sends on
    earlier days.
    """

    name: ClassVar[str] = "policy"
    users: int = option(600, type=click.IntRange(50))
    days: int = option(100, type=click.IntRange(2 * WEEKS * 7))
    log_days: int = option(28, "Days of the log, on which a snapshot is decided on.", type=click.IntRange(1))
    trials: int = option(500, "Logs drawn.", type=click.IntRange(2))
    exploration: tuple[float, ...] = option(
        (0.1, 0.3), "Share of sends that explores, in the log; may be given more than once.", multiple=True, type=float
    )
    seed: int = option(74, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)

    def measure(self, run: Run) -> Result:
        """Simulate, learn, draw logs, and estimate."""
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        with run.step("snapshots") as advance:
            rows = snapshots(world, run.settings, run.vectors, progress=advance)
        days = rows["as_of"].unique().sort()
        earlier, later = (rows.filter(pl.col("as_of").is_in(of.implode())) for of in (days[:WEEKS], days[WEEKS:]))
        trained = _trained(earlier, later, self.seed)
        choices = Choices.of(later, trained, run.settings.notifications, days=self.log_days, seed=self.seed)
        found = []
        with run.step("logs") as advance:
            for place, exploration in enumerate(self.exploration):
                policies = {name: choices.probabilities(name, 0.0) for name in choices.scores}
                policies[LOGGED] = choices.probabilities(LOGGED, exploration)
                for trial in range(self.trials):
                    rng = np.random.default_rng([self.seed, trial, place])
                    rows_of_trial = estimate(choices, policies, rng)
                    found += [{"explores": exploration, "trial": trial, **row} for row in rows_of_trial]
                    advance((place + (trial + 1) / self.trials) / len(self.exploration))
        estimates = pl.DataFrame(found)
        values, trials = _first(estimates), _trials(estimates)
        return Result(
            {"seed": self.seed, "decisions": choices.decisions, "values": values, "trials": trials},
            {
                "clicks per send, from the first log": values,
                f"{self.trials} logs: estimates within two standard errors of the truth": trials,
            },
            [
                f"{choices.decisions:,} decisions of {len(np.unique(choices.user)):,} users, {len(choices.clicks):,} "
                "choices; of few effective decisions neither estimate nor interval is to be trusted"
            ],
        )


def snapshots(
    world: World, settings: Settings, vectors: KeywordVectors, *, progress: Callable[[float], None]
) -> pl.DataFrame:
    """Features of journeys as of the last days of twice `WEEKS` weeks, with ``intent``, the truth of the day after."""
    history = world_history(world, settings)
    truth = keyword_truth(world, history, settings)
    last, parts = history.span[1], []
    for place, weeks in enumerate(reversed(range(2 * WEEKS))):
        as_of = last - timedelta(weeks=weeks)
        rows = replay_features(history, as_of, settings, vectors)
        intents = journey_intents(history, world, truth, as_of + timedelta(days=1))
        known = rows.join(intents, on=["user_id", "journey_id"], how="left", maintain_order="left")
        parts.append(known.with_columns(pl.col("intent").fill_null(0.0)))
        progress((place + 1) / (2 * WEEKS))
    return pl.concat(parts)


def _trained(earlier: pl.DataFrame, later: pl.DataFrame, seed: int) -> Floats:
    """Scores of later choices by trees fitted to clicks on one random choice of each earlier decision."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng([seed, 0, 0])
    sent = earlier.with_columns(lot=pl.Series(rng.random(earlier.height))).filter(
        pl.col("lot") == pl.col("lot").max().over("as_of", "user_id")
    )
    clicked = rng.random(sent.height) < click_shares(sent["intent"].to_numpy())
    numbers = [name for name, kind in earlier.schema.items() if kind.is_numeric() and name != "intent"]
    model = HistGradientBoostingClassifier(max_depth=3, max_iter=60, learning_rate=0.1, random_state=seed)
    model.fit(sent.select(numbers).cast(pl.Float64).to_numpy(), clicked)
    return model.predict_proba(later.select(numbers).cast(pl.Float64).to_numpy())[:, 1]


@dataclass(frozen=True)
class Choices:
    """What may be sent on each decision, and what is true of it.

    Attributes
    ----------
    decision : array of int64
        The decision of each choice, from 0, ascending.
    user : array of int64
        Of each decision.
    clicks : array of float64
        True probability of a click, of each choice.
    scores : mapping of str to array of float64
        Of each choice, by policy.
    """

    decision: NDArray[np.int64]
    user: NDArray[np.int64]
    clicks: Floats
    scores: Mapping[str, Floats]

    @classmethod
    def of(
        cls, rows: pl.DataFrame, trained: Floats, settings: NotificationSettings, *, days: int, seed: int
    ) -> "Choices":
        """The journeys of snapshots as choices of a decision for each user, snapshot and day of `days`.

        Raises
        ------
        BenchmarkError
            There are none.
        """
        if rows.is_empty():
            raise BenchmarkError("no past snapshot to decide on: simulate more days")
        scored = pl.concat([_ruled(of) for of in rows.with_columns(trained=pl.Series(trained)).partition_by("as_of")])
        scored = scored.sort("as_of", "user_id", "journey_id").with_columns(
            decision=pl.struct("as_of", "user_id").rle_id().cast(pl.Int64),
            user=pl.col("user_id").rank("dense").cast(pl.Int64) - 1,
            # Nothing was sent lately.
            similar_lately=pl.lit(0.0),
        )
        by_policy = {
            LOGGED: scored.select(rule_score(settings)).to_series(),
            "interest only": scored["return_probability"],
            "popularity": scored["share_28"].cast(pl.Float64),
            "trained": scored["trained"],
        }
        drawn = np.random.default_rng(seed).random(scored.height)
        decision = scored["decision"].to_numpy()
        user = scored.group_by("decision", maintain_order=True).first()["user"].to_numpy()
        scores = {name: scores.to_numpy() for name, scores in by_policy.items()} | {"random": drawn}
        return cls(
            decision=np.concatenate([decision + len(user) * day for day in range(days)]),
            user=np.tile(user, days),
            clicks=np.tile(click_shares(scored["intent"].to_numpy()), days),
            scores={name: np.tile(of, days) for name, of in scores.items()},
        )

    @property
    def decisions(self) -> int:
        """How many there are."""
        return len(self.user)

    def probabilities(self, policy: str, exploration: float) -> Floats:
        """With which a policy takes each choice; random takes any."""
        counts = np.bincount(self.decision)[self.decision]
        if policy == "random":
            return 1 / counts
        order = np.lexsort((-self.scores[policy], self.decision))
        best = np.zeros(len(order), dtype=bool)
        best[order[np.r_[True, np.diff(self.decision[order]) > 0]]] = True
        return exploration / counts + np.where(best, 1 - exploration, 0.0)

    def total(self, values: Floats) -> Floats:
        """Sums over the choices of each decision."""
        return np.bincount(self.decision, weights=values, minlength=self.decisions).astype(np.float64)


def _ruled(rows: pl.DataFrame) -> pl.DataFrame:
    """Confidence and probability of a return of a snapshot's journeys, as the heuristic has them."""
    as_of = rows["as_of"][0]
    end = datetime.combine(as_of + timedelta(days=1), time())
    numbers = ("weight", "keywords", "cohesion", "days_active", "days_since_first", "days_since_last")
    journeys = rows.select(
        "user_id",
        "journey_id",
        *(pl.col(name).cast(pl.Float64) for name in numbers),
        events=pl.col("searches") + pl.col("engagements") + pl.col("boards"),
    ).with_columns(
        first_seen=pl.lit(end) - pl.duration(seconds=pl.col("days_since_first") * 86_400),
        last_seen=pl.lit(end) - pl.duration(seconds=pl.col("days_since_last") * 86_400),
    )
    ranked = rank_by_heuristic(with_confidence(journeys, as_of=as_of), as_of=as_of, sure_from=1.0)
    known = ranked.select("user_id", "journey_id", "confidence", "return_probability")
    return rows.join(known, on=["user_id", "journey_id"], how="left", maintain_order="left")


def estimate(choices: Choices, policies: Mapping[str, Floats], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Draw a log of the rule and estimate every policy from it: a row per policy and estimator.

    Parameters
    ----------
    policies : mapping of str to array of float64
        Probability of each choice, by policy; of the rule, as it is in the log.
    """
    logged = policies[LOGGED]
    before = np.cumsum(logged)
    start = np.searchsorted(choices.decision, np.arange(choices.decisions))
    base = np.r_[0.0, before][start]
    taken = np.searchsorted(before, base + rng.random(choices.decisions) * choices.total(logged), side="right")
    taken = np.clip(taken, start, np.r_[start[1:], len(before)] - 1)
    rewards = (rng.random(choices.decisions) < choices.clicks[taken]).astype(np.float64)
    predicted = _predicted(choices, taken, rewards)
    rows = []
    for policy, of in policies.items():
        truth = float(choices.total(of * choices.clicks).mean())
        seen = (rewards, logged[taken], of[taken], choices.user)
        model = {"predicted": predicted[taken], "predicted_of_policy": choices.total(of * predicted)}
        values = (inverse_propensity(*seen), self_normalised(*seen), doubly_robust(*seen, **model))
        for estimator, value in zip(_ESTIMATORS, values, strict=True):
            rows.append({"policy": policy, "estimator": estimator, "truth": truth, **_columns(value)})
    return rows


def _columns(value: PolicyValue) -> dict[str, float]:
    low, high = value.interval
    return {
        "value": value.value,
        "value_low": low,
        "value_high": high,
        "error": value.error,
        "effective": value.effective,
        "mean_weight": value.mean_weight,
    }


def _predicted(choices: Choices, taken: NDArray[np.int64], rewards: Floats) -> Floats:
    """Clicks of every choice by a logistic regression on what policies say, fitted on other users' rewards."""
    from sklearn.linear_model import LogisticRegression

    names = [name for name in choices.scores if name != "random"]
    ranks = [np.argsort(np.argsort(choices.scores[name])) / len(choices.clicks) for name in names]
    features = np.column_stack(ranks)
    fold = choices.user % _FOLDS
    predicted = np.empty(len(features))
    for held in range(_FOLDS):
        train = fold != held
        rows = fold[choices.decision] == held
        if len(np.unique(rewards[train])) < 2:
            predicted[rows] = rewards[train].mean()
            continue
        model = LogisticRegression().fit(features[taken[train]], rewards[train])
        predicted[rows] = model.predict_proba(features[rows])[:, 1]
    return predicted


def _first(found: pl.DataFrame) -> pl.DataFrame:
    columns = ("explores", "policy", "truth", "estimator", "value", "value_low", "value_high", "effective")
    rows = found.filter(trial=0).select(columns)
    return rows.sort("explores", "truth", descending=[False, True], maintain_order=True)


def _trials(found: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for (explores, policy, estimator), of in found.group_by("explores", "policy", "estimator", maintain_order=True):
        off = (of["value"] - of["truth"]).to_numpy()
        within = int((np.abs(off) <= 2 * of["error"].to_numpy()).sum())
        share = dict(zip(("within", "within_low", "within_high"), share_interval(within, of.height), strict=True))
        row = {"explores": explores, "policy": policy, "estimator": estimator, "truth": of["truth"][0], **share}
        row |= {"bias": float(off.mean()), "rmse": float(np.sqrt((off**2).mean()))}
        rows.append(row | {"effective": float(of["effective"].to_numpy().mean())})
    return pl.DataFrame(rows)
