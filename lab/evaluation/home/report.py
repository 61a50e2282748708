"""Values of users in, means with bootstrap intervals out, the pipeline's beside those of each baseline."""

import itertools
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.monitoring.bootstrap import Mean
from lab.evaluation.statistics import bootstrap_columns, resampled_totals
from lab.simulation.journey_types import Half

PIPELINE = "journeys"
BASE_RATE = "base rate"
BINS = 15
MEASURES = {
    "b3_f": "B³ F of keywords",
    "b3_precision": "B³ precision",
    "b3_recall": "B³ recall",
    "pair_f": "pairwise F",
    "purity": "purity",
    "inverse_purity": "inverse purity",
    "name_exact": "name: exact match",
    "name_cosine": "name: cosine with the true one",
    "name_alike": "name: alike (cosine ≥ .7)",
    "lifecycle_accuracy": "lifecycle accuracy",
    "stage_accuracy": "stage accuracy",
    "ndcg_at_5": "NDCG@5 of true intent",
    "confidence_ece": "confidence: calibration error (ECE)",
    "confidence_brier": "confidence: Brier score",
    "return_ece": "probability of a return: calibration error (ECE)",
    "return_brier": "probability of a return: Brier score",
    "id_kept": "ids kept from snapshot to snapshot",
    "duplicates_per_list": "duplicate journeys per list",
    "noise_per_list": "journeys of noise per list",
    "live_journeys_listed": "live true journeys that are listed",
    "ended_journeys_listed": "true journeys that ended within 90 days and are listed",
    "event_coverage": "events that a listed journey holds",
    "event_coverage_right": "events that the right one holds",
}
_SCHEMA = {
    **dict.fromkeys(("measure", "method", "domain"), pl.String),
    "users": pl.Int64,
    **dict.fromkeys(("value", "low", "high", "lead", "lead_low", "lead_high"), pl.Float64),
}
_Row = dict[str, str | int | float | None]
LOWER_IS_BETTER = frozenset(
    {"confidence_ece", "confidence_brier", "return_ece", "return_brier", "duplicates_per_list", "noise_per_list"}
)


@dataclass(frozen=True)
class HomeReport:
    """How good a home's journeys are.

    Attributes
    ----------
    measures : DataFrame
        One row per ``measure``, ``method`` (`PIPELINE` or a baseline) and ``domain`` ("": all):
        ``users``, ``value``, ``low``, ``high``; and ``lead``, ``lead_low``, ``lead_high``, how much larger the
        pipeline's is on the same users (null for the pipeline's own).
    stage_confusion : DataFrame
        Columns ``true_stage``, ``stage``, ``journeys``.
    users : int
    days : list of date
        That the warehouse has snapshots of.
    returns_happened : bool
        Whether the probability of a return is compared with returns that happened; else with how likely the truth
        makes them.
    """

    measures: pl.DataFrame
    stage_confusion: pl.DataFrame
    users: int
    days: list[date]
    half: Half | None
    returns_happened: bool


def values(
    rows: pl.DataFrame, measure: str, method: str, value: pl.Expr, *, domain: pl.Expr | None = None
) -> pl.DataFrame:
    """Users' values of one measure: ``measure``, ``method``, ``domain``, ``user_id``, ``value``."""
    return rows.select(
        measure=pl.lit(measure),
        method=pl.lit(method),
        domain=pl.lit("") if domain is None else domain,
        user_id="user_id",
        value=value.cast(pl.Float64),
    )


def summarise(found: pl.DataFrame, forecasts: pl.DataFrame) -> pl.DataFrame:
    """Means over users with intervals, in the order of `MEASURES`; methods in the order in which they came.

    Parameters
    ----------
    found : DataFrame
        From `values`.
    forecasts : DataFrame
        Columns ``user_id``, ``number`` (confidence or return), ``stated``, ``true`` (0 to 1): one row per listed
        journey and number.
    """
    methods = {method: place for place, method in enumerate(found["method"].unique(maintain_order=True))}
    rows = []
    for measure in MEASURES:
        of_measure = found.filter(pl.col("measure") == measure)
        for (domain,), of_domain in sorted(of_measure.partition_by("domain", as_dict=True).items()):
            rows += _means(measure, str(domain), of_domain, methods)
        number, _, of_forecast = measure.partition("_")
        of_number = forecasts.filter(pl.col("number") == number)
        if of_forecast == "ece" and not of_number.is_empty():
            rows += _calibration(of_number, number)
    return pl.DataFrame(rows, schema=_SCHEMA)


def _means(measure: str, domain: str, rows: pl.DataFrame, methods: dict[str, int]) -> list[_Row]:
    wide = rows.pivot("method", index="user_id", values="value").sort("user_id")
    names = sorted((name for name in wide.columns if name != "user_id"), key=methods.__getitem__)
    own = wide.select(names).to_numpy().astype(np.float64)
    # A domain may be that of no found journey, but of some session.
    ours = own[:, [names.index(PIPELINE)]] if PIPELINE in names else np.full((len(own), 1), np.nan)
    means = bootstrap_columns(np.hstack([own, ours - own]))
    users = np.isfinite(own).sum(axis=0).tolist()
    return [
        _row(measure, name, domain, users[place], mean=means[place], lead=means[len(names) + place])
        for place, name in enumerate(names)
    ]


def _row(measure: str, method: str, domain: str, users: int, *, mean: Mean, lead: Mean) -> _Row:
    row: _Row = {"measure": measure, "method": method, "domain": domain, "users": users, **asdict(mean)}
    return row if method == PIPELINE else row | {"lead": lead.value, "lead_low": lead.low, "lead_high": lead.high}


def _calibration(forecasts: pl.DataFrame, number: str) -> list[_Row]:
    """Calibration error and Brier score over all listed journeys, with users drawn again and again.

    Where `true` is a probability, the Brier score is the expected one.
    """
    rows = forecasts.sort("user_id", "stated", "true")
    users = rows["user_id"].rle_id().to_numpy()
    stated, label = (rows[name].to_numpy().astype(np.float64) for name in ("stated", "true"))
    bins = np.empty(len(rows), dtype=np.int64)
    for place, part in enumerate(np.array_split(np.argsort(stated, kind="stable"), BINS)):
        bins[part] = place
    methods = {PIPELINE: (stated, bins), BASE_RATE: (np.full(len(rows), label.mean()), np.zeros_like(bins))}
    found: dict[str, list[_Row]] = {f"{number}_ece": [], f"{number}_brier": []}
    own: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for method, (said, places) in methods.items():
        sums = np.zeros((users[-1] + 1, 2 * BINS + 2))
        np.add.at(sums, (users, places), said)
        np.add.at(sums, (users, BINS + places), label)
        np.add.at(sums[:, 2 * BINS], users, (said - label) ** 2 + label * (1.0 - label))
        np.add.at(sums[:, 2 * BINS + 1], users, 1.0)
        # Rows of a resample: the sums of all users first, then those of the drawn ones.
        totals = np.vstack([sums.sum(axis=0), resampled_totals(sums)])
        count = totals[:, -1]
        ece = np.abs(totals[:, :BINS] - totals[:, BINS : 2 * BINS]).sum(axis=1) / count
        own[method] = ece, totals[:, -2] / count
    for place, measure in enumerate(found):
        for method in methods:
            mean, lead = _mean(own[method][place]), _mean(own[PIPELINE][place] - own[method][place])
            found[measure].append(_row(measure, method, "", int(users[-1]) + 1, mean=mean, lead=lead))
    return list(itertools.chain.from_iterable(found.values()))


def _mean(resamples: NDArray[np.float64]) -> Mean:
    low, high = np.quantile(resamples[1:], [0.025, 0.975])
    return Mean(float(resamples[0]), float(low), float(high))
