"""What policies of sending are worth, told from one policy's log, beside what they are truly worth."""

from collections.abc import Mapping
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
from lab.benchmark import HALF, HALF_HELP, BenchmarkError, Result, Run, option
from lab.evaluation.intent import OF_FEEDBACK, learn_from_feedback
from lab.evaluation.statistics import share_interval
from lab.simulation.intent import click_shares
from lab.simulation.journey_types import Half

LOGGED = "rule"
_ESTIMATORS = ("ips", "self_normalised", "doubly_robust")
_FOLDS = 2
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Policy:
    """Policies of sending one notification to each user a day, from the log of the rule that explores.

    Journeys are inferred of past days of a simulated world, and the click on each is as likely as the truth makes it. A
    policy sends what it scores highest or, for the share that explores, any; its clicks per send are estimated from
    logs of the rule, drawn anew in each trial, and compared with what they truly are. `trained` is a ranker that has
    learned from feedback on earlier days.
    """

    name: ClassVar[str] = "policy"
    users: int = option(1000, type=click.IntRange(50))
    days: int = option(120, type=click.IntRange(1))
    trials: int = option(500, "Logs drawn.", type=click.IntRange(2))
    exploration: float = option(0.1, "Share of sends that explores, in the log.", type=click.FloatRange(0.01, 1))
    seed: int = option(73, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)

    def measure(self, run: Run) -> Result:
        """Simulate, learn, draw logs, and estimate."""
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        with run.step("replay") as advance:
            learned = learn_from_feedback(world, run.settings, run.vectors, seed=self.seed, progress=advance)
        choices = Choices.of(learned.test, learned.scores[OF_FEEDBACK], seed=self.seed)
        with run.step("logs") as advance:
            rows = [
                {"trial": trial, **row}
                for trial in range(self.trials)
                for row in estimate(choices, self.exploration, np.random.default_rng([self.seed, trial]))
                if advance((trial + 1) / self.trials) is None
            ]
        found = pl.DataFrame(rows)
        values, trials = _first(found), _trials(found)
        notes = [
            f"{choices.decisions:,} decisions of {len(np.unique(choices.user)):,} users, {len(choices.clicks):,} "
            f"choices; the log explores with {self.exploration:.0%}",
        ]
        return Result(
            {"seed": self.seed, "decisions": choices.decisions, "values": values, "trials": trials},
            {
                "clicks per send, from the first log": values,
                f"{self.trials} logs: estimates within two standard errors of the truth": trials,
            },
            notes,
        )


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
    def of(cls, rows: pl.DataFrame, trained: Floats, *, seed: int) -> "Choices":
        """The journeys of snapshots as choices of a decision for each user and day.

        Raises
        ------
        BenchmarkError
            There are none.
        """
        if rows.is_empty():
            raise BenchmarkError("no past snapshot to decide on: simulate more days")
        scored = pl.concat([_ruled(of) for of in rows.with_columns(trained=trained).partition_by("as_of")])
        scored = scored.sort("as_of", "user_id", "journey_id").with_columns(
            decision=pl.struct("as_of", "user_id").rle_id().cast(pl.Int64),
            user=pl.col("user_id").rank("dense").cast(pl.Int64) - 1,
        )
        by_policy = {
            LOGGED: scored.select(rule_score()).to_series(),
            "interest only": scored["return_probability"],
            "popularity": scored["share_28"].cast(pl.Float64),
            "trained": scored["trained"],
        }
        drawn = np.random.default_rng(seed).random(scored.height)
        return cls(
            decision=scored["decision"].to_numpy(),
            user=scored.group_by("decision", maintain_order=True).first()["user"].to_numpy(),
            clicks=click_shares(scored["intent"].to_numpy()),
            scores={name: scores.to_numpy() for name, scores in by_policy.items()} | {"random": drawn},
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
        return np.bincount(self.decision, weights=values, minlength=self.decisions)


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


def estimate(choices: Choices, exploration: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Draw a log of the rule and estimate every policy from it: a row per policy and estimator."""
    logged = choices.probabilities(LOGGED, exploration)
    before = np.cumsum(logged)
    start = np.searchsorted(choices.decision, np.arange(choices.decisions))
    base = np.r_[0.0, before][start]
    taken = np.searchsorted(before, base + rng.random(choices.decisions) * choices.total(logged), side="right")
    taken = np.clip(taken, start, np.r_[start[1:], len(before)] - 1)
    rewards = (rng.random(choices.decisions) < choices.clicks[taken]).astype(np.float64)
    predicted = _predicted(choices, taken, rewards)
    rows = []
    for policy in choices.scores:
        of = choices.probabilities(policy, 0.0 if policy != LOGGED else exploration)
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
    rows = found.filter(trial=0).select("policy", "truth", "estimator", "value", "value_low", "value_high", "effective")
    return rows.sort("truth", descending=True, maintain_order=True)


def _trials(found: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for (policy, estimator), of in found.group_by("policy", "estimator", maintain_order=True):
        off = (of["value"] - of["truth"]).to_numpy()
        within = int((np.abs(off) <= 2 * of["error"].to_numpy()).sum())
        share = dict(zip(("within", "within_low", "within_high"), share_interval(within, of.height), strict=True))
        row = {"policy": policy, "estimator": estimator, "truth": of["truth"][0], **share}
        row |= {"bias": float(off.mean()), "rmse": float(np.sqrt((off**2).mean()))}
        rows.append(row | {"effective": float(of["effective"].to_numpy().mean())})
    return pl.DataFrame(rows)
