"""Whether readouts of experiments say what is true: of experiments without an effect, and with a known one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, ClassVar

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.notification.arms import arms_of
from journeys_dagster.notification.lifts import (
    ALPHA,
    FEWEST_USERS,
    FEWEST_WITH_SOME,
    METRICS,
    Z,
    always_width,
    split_p_value,
)
from journeys_dagster.notification.readout import MISMATCH, read_out
from journeys_dagster.settings import Experiment
from lab.benchmark import Result, Run, option
from lab.evaluation.statistics import share_interval
from lab.simulation.trials import RETURN_DAYS, Counts, Trial, simulate_trial

_START = date(2026, 1, 1)
_ARMS = ("as now", "other")
_LOOKED_AT = ("clicks_per_send", "clicks_per_user", "active_days", "opt_outs")
_SPLIT_USERS = 100_000
_MOVED = 0.02


@dataclass(frozen=True)
class Experiments:
    """Experiments on simulated users: how often one without an effect is said to have one, by an interval for one look
    and for a look each day; how often intervals cover known lifts; and whether an uneven split is caught.

    Each experiment has a population of its own, split by the production assignment, and is read out by the production
    code. True lifts are means over both outcomes of the users of all experiments.
    """

    name: ClassVar[str] = "experiments"
    experiments: int = option(2000, type=click.IntRange(2))
    users: int = option(4000, "Users of each, of whom some never take part.", type=click.IntRange(400))
    days: int = option(56, "Days of each, all of which are looked at.", type=click.IntRange(14))
    minimum_days: int = option(28, "Minimum run, after which it is read.", type=click.IntRange(8))
    seed: int = option(71, type=int)

    def measure(self, run: Run) -> Result:
        """Draw, read out and look at one experiment after another."""
        found: list[dict[str, Any]] = []
        sums = np.zeros((2, len(METRICS), 2))
        with run.step("experiments") as advance:
            for number in range(self.experiments):
                rng = np.random.default_rng([self.seed, number])
                trial = simulate_trial(self.users, self.days, rng)
                sums += _sums(trial, self.minimum_days)
                found.append(self._one(trial, number))
                advance((number + 1) / self.experiments)
        true = dict(zip(METRICS, (sums[:, :, 0] / sums[:, :, 1]).T, strict=True))
        none, known = _of_none(found), _of_known(found, true)
        family = share_interval(sum(one["family"] for one in found), self.experiments)
        split = _splits(self.experiments, np.random.default_rng([self.seed, self.experiments]))
        notes = [
            f"any metric of {len(METRICS)} after Holm's correction, without an effect: {family[0]:.4f} "
            f"({family[1]:.4f} to {family[2]:.4f})",
            f"largest difference between statistics of daily looks and those of the readout: "
            f"{max(one['differs'] for one in found):.1e}",
        ]
        return Result(
            {"seed": self.seed, "without_effect": none, "known_lifts": known, "family": family, "splits": split},
            {
                f"no effect: share of {self.experiments:,} experiments in which one is claimed": none,
                "known lifts: share of intervals that cover them": known,
                f"splits of {_SPLIT_USERS:,} users, p < {MISMATCH}": split,
            },
            notes,
        )

    def _one(self, trial: Trial, number: int) -> dict[str, Any]:
        experiment = Experiment.model_validate(
            {
                "name": f"trial-{number}",
                "start": _START,
                "arms": {name: {"share": 0.5} for name in _ARMS},
                "control": _ARMS[0],
                "metrics": [*METRICS],
                "minimum_days": self.minimum_days,
                "minimum_users": 1000,
                "return_days": RETURN_DAYS,
            }
        )
        # Names of users of another experiment would do as well: the assignment hashes the experiment's name too.
        arms = arms_of(pl.Series([f"u{user}" for user in range(len(trial.entry))]), experiment, "trial")
        last = _START + timedelta(days=self.minimum_days - 1)
        rows = {}
        for treat in (False, True):
            users = trial.users(arms, _ARMS, days=self.minimum_days, treat=treat)
            rows[treat] = {row["metric"]: row for row in read_out(users, experiment, as_of=last).iter_rows(named=True)}
        ever, differs = {}, 0.0
        for metric in _LOOKED_AT:
            z, widths = daily_looks(trial, arms == 1, metric, experiment)
            read = rows[False][metric]
            error = (read["high"] - read["low"]) / (2 * Z)
            differs = max(differs, abs(z[self.minimum_days - 1] - read["lift"] / error))
            ever[metric] = {"one": bool((np.abs(z) > Z).any()), "always": bool((np.abs(z) > widths).any())}
        return {
            "none": rows[False],
            "known": rows[True],
            "ever": ever,
            "differs": differs,
            "family": any(row["corrected_p_value"] < ALPHA for row in rows[False].values()),
        }


def daily_looks(
    trial: Trial, treated: NDArray[np.bool_], metric: str, experiment: Experiment
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lift by standard error on each day, and the width that it is held against on each; NaN where nothing is said.

    By the same formulas as the production code, for all days at once.
    """
    measure = METRICS[metric]
    taking = np.maximum(np.arange(trial.days)[None, :] - trial.entry[:, None], 0)
    is_in = (taking > 0).astype(np.float64)
    ones = np.ones(len(trial.entry), dtype=np.float32)
    columns = np.stack(
        [
            trial.control[measure.total][:, 1:],
            trial.control[measure.per][:, 1:] if measure.per else np.broadcast_to(ones[:, None], is_in.shape),
            np.broadcast_to(trial.before[measure.total][:, None], is_in.shape),
            np.broadcast_to((trial.before[measure.per] if measure.per else ones)[:, None], is_in.shape),
        ],
        axis=2,
    ).astype(np.float64)
    counts, means, covariances, some = [], [], [], []
    for arm in (~treated, treated, np.ones_like(treated)):
        weight = is_in[arm]
        count = weight.sum(axis=0)
        weighted = columns[arm] * weight[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = weighted.sum(axis=0) / count[:, None]
            products = np.einsum("udi,udj->dij", weighted, columns[arm], optimize=True)
            covariance = (products - count[:, None, None] * mean[:, :, None] * mean[:, None, :]) / (count - 1)[
                :, None, None
            ]
        counts.append(count)
        means.append(mean)
        covariances.append(covariance)
        some.append((weighted[:, :, 0] != 0).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        own, before = zip(*(_gradients(mean) for mean in means), strict=True)
        pooled = covariances[2]
        slope = _form(own[2], pooled, before[2]) / _form(before[2], pooled, before[2])
        slope = np.where(np.isfinite(slope), slope, 0.0)[:, None]
        adjusted = [of - slope * earlier for of, earlier in zip(own, before, strict=True)]
        variance = sum(_form(adjusted[arm], covariances[arm], adjusted[arm]) / counts[arm] for arm in (0, 1))
        ratios = [mean[:, 0] / mean[:, 1] - slope[:, 0] * np.nan_to_num(mean[:, 2] / mean[:, 3]) for mean in means]
        z = (ratios[1] - ratios[0]) / np.sqrt(variance)
    planned = 2.0 * experiment.minimum_users * experiment.minimum_days
    widths = np.array([always_width(max(days, 1), planned) for days in taking.sum(axis=0)])
    enough = np.minimum(*counts[:2]) >= FEWEST_USERS
    enough &= np.minimum(*some[:2]) >= FEWEST_WITH_SOME
    return np.where(np.isfinite(z), z, 0.0), np.where(enough, widths, np.inf)


def _gradients(mean: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the ratios of the first two and of the last two columns, by the columns' means: shape (days, 4)."""
    own, before = np.zeros_like(mean), np.zeros_like(mean)
    own[:, 0], own[:, 1] = 1 / mean[:, 1], -mean[:, 0] / mean[:, 1] ** 2
    before[:, 2], before[:, 3] = 1 / mean[:, 3], -mean[:, 2] / mean[:, 3] ** 2
    return own, before


def _form(left: NDArray[np.float64], middle: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("di,dij,dj->d", left, middle, right)


def _sums(trial: Trial, days: int) -> NDArray[np.float64]:
    """Sums of what metrics are made of, if nobody and if everybody were treated: (outcome, metric, total and per)."""
    is_in = days - 1 - trial.entry > 0

    def total(name: str | None, of: Counts) -> float:
        return float(of[name][is_in, days].sum(dtype=np.float64)) if name else float(is_in.sum())

    outcomes = (trial.control, trial.treated)
    return np.array([[(total(m.total, of), total(m.per, of)) for m in METRICS.values()] for of in outcomes])


def _of_none(found: Sequence[dict[str, Any]]) -> pl.DataFrame:
    rows = []
    for metric in METRICS:
        row: dict[str, Any] = {"metric": metric}
        row |= _named("one_look", sum(one["none"][metric]["p_value"] < ALPHA for one in found), len(found))
        for kind, name in (("one", "one_look_each_day"), ("always", "always_valid_each_day")):
            if metric in _LOOKED_AT:
                row |= _named(name, sum(one["ever"][metric][kind] for one in found), len(found))
            else:
                row |= dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
        rows.append(row)
    return pl.DataFrame(rows)


def _of_known(found: Sequence[dict[str, Any]], true: dict[str, NDArray[np.float64]]) -> pl.DataFrame:
    rows = []
    for metric, (control, treated) in true.items():
        read = [one["known"][metric] for one in found]
        lift, relative = treated - control, treated / control - 1
        row: dict[str, Any] = {"metric": metric, "true_lift": float(relative)}
        row |= _named("covered", sum(one["low"] <= lift <= one["high"] for one in read), len(read))
        shares = [one for one in read if one["relative_low"] is not None]
        row |= _named(
            "as_a_share", sum(o["relative_low"] <= relative <= o["relative_high"] for o in shares), len(shares)
        )
        row |= _named("found", sum(one["p_value"] < ALPHA for one in read), len(read))
        row["variance_saved"] = float(np.mean([one["variance_saved"] for one in read]))
        rows.append(row)
    return pl.DataFrame(rows)


def _splits(trials: int, rng: np.random.Generator) -> pl.DataFrame:
    """Even splits, and ones in which a share of the treated is counted in the control, or is lost."""
    treated = rng.binomial(_SPLIT_USERS, 0.5, size=trials)
    moved = rng.binomial(treated, _MOVED)
    rows = []
    for name, left, right in (
        ("even", _SPLIT_USERS - treated, treated),
        (f"{_MOVED:.0%} of the treated are counted in the control", _SPLIT_USERS - treated + moved, treated - moved),
        (f"{_MOVED:.0%} of the treated are lost", _SPLIT_USERS - treated, treated - moved),
    ):
        p_values = [split_p_value(int(one), int(other), ratio=1.0) for one, other in zip(left, right, strict=True)]
        rows.append({"split": name, **_named("caught", sum(p < MISMATCH for p in p_values), trials)})
    return pl.DataFrame(rows)


def _named(name: str, found: int, of: int) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), share_interval(found, of), strict=True))
