"""How far two arms differ in a metric: the lift with its interval, for one look at the end and for a look each day.

Means, ratios of means by the delta method, the adjustment by the time before (CUPED), the check of the split, and
corrections for several metrics are tea-tasting's; what holds at every look is here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from tea_tasting.aggr import Aggregates
    from tea_tasting.metrics.mean import MeanResult

ALPHA = 0.05
Z = 1.959963984540054
"""Of a normal distribution, 95 % lie nearer than so many deviations."""
BEFORE = "before_"
"""Of columns of the same quantities on the days before a user took part."""
FEWEST_USERS, FEWEST_WITH_SOME = 100, 20
"""In each arm, below which nothing is said at every look: users, and users of whom the metric counts something."""


@dataclass(frozen=True)
class Measure:
    """What a metric is made of.

    Attributes
    ----------
    total, per : str
        Columns of users; a metric is the sum of one per sum of the other, or per user.
    fewer_is_better : bool
    """

    total: str
    per: str | None = None
    fewer_is_better: bool = False


METRICS: Mapping[str, Measure] = {
    "opens_per_send": Measure("opens", "sends"),
    "clicks_per_send": Measure("clicks", "sends"),
    "returns_per_send": Measure("returns", "settled"),
    "opens_per_user": Measure("opens"),
    "clicks_per_user": Measure("clicks"),
    "sends_per_user": Measure("sends", fewer_is_better=True),
    "active_days": Measure("active_days"),
    "opt_outs": Measure("opt_outs", fewer_is_better=True),
}
COUNTS = ("sends", "opens", "clicks", "settled", "returns", "active_days", "opt_outs")
"""What is counted of each user."""


@dataclass(frozen=True)
class Sample:
    """The users of an arm in sums.

    Attributes
    ----------
    days : int
        Days that users have taken part, added up.
    with_some : mapping of str to int
        Users of whom a column counts something.
    aggregates : Aggregates
        Means, variances and covariances of their columns.
    """

    users: int
    days: int
    with_some: Mapping[str, int]
    aggregates: "Aggregates"


def sample_of(users: pl.DataFrame) -> Sample:
    """Sum up users: ``days`` and columns of counts, those of the time before too; at least two rows."""
    from tea_tasting.aggr import Aggregates

    names = [name for name in users.columns if name.removeprefix(BEFORE) in COUNTS]
    values = users.select(pl.col(names).cast(pl.Float64)).to_numpy()
    spread = np.cov(values, rowvar=False).reshape(len(names), len(names))
    return Sample(
        users=users.height,
        days=int(users["days"].sum()),
        with_some=dict(zip(names, map(int, (values != 0).sum(axis=0)), strict=True)),
        aggregates=Aggregates(
            count_=users.height,
            mean_=dict(zip(names, values.mean(axis=0).tolist(), strict=True)),
            var_=dict(zip(names, spread.diagonal().tolist(), strict=True)),
            cov_={(names[i], names[j]): float(spread[i, j]) for i in range(len(names)) for j in range(i)},
        ),
    )


@dataclass(frozen=True)
class Lift:
    """What an arm has more of a metric than the control.

    Attributes
    ----------
    control, treated : float
        The metric in both, adjusted by the time before.
    value, error : float
        The difference and its standard error.
    log_value, log_error : float
        The logarithm of their ratio and its standard error; NaN where one is not above 0.
    variance_saved : float
        Share of the variance that the adjustment takes away; 0 without one.
    """

    control: float
    treated: float
    value: float
    error: float
    log_value: float
    log_error: float
    p_value: float
    variance_saved: float

    def interval(self, width: float = Z) -> tuple[float, float]:
        """Ends of the interval of so many standard errors to each side."""
        return self.value - width * self.error, self.value + width * self.error

    def relative(self, width: float | None = None) -> tuple[float, float]:
        """Ends of the interval of the lift as a share of the control; without a width the lift itself, twice."""
        half = 0.0 if width is None else width * self.log_error
        return math.exp(self.log_value - half) - 1, math.exp(self.log_value + half) - 1


def lift_of(control: Sample, treated: Sample, metric: str) -> Lift | None:
    """The lift of an arm over the control; none where nobody has what the metric is per, or it is the same in all.

    It is adjusted by the same metric on the time before, where that is known and not the same in all: chosen arms
    cannot have changed it, and it explains a part of how users differ (Deng et al. 2013).
    """
    measure = METRICS[metric]
    arms = (control, treated)
    if measure.per is not None and not _all_have(arms, measure.per):
        return None
    spread = sum(of.aggregates.ratio_var(measure.total, measure.per) / of.users for of in arms)
    if not spread:
        return None
    is_known = any(of.aggregates.var_.get(f"{BEFORE}{measure.total}", 0) > 0 for of in arms)
    is_known &= measure.per is None or _all_have(arms, f"{BEFORE}{measure.per}")
    found = _analyzed(control, treated, measure, adjusted=is_known)
    ratio_ends = 1 + found.rel_effect_size_ci_lower, 1 + found.rel_effect_size_ci_upper
    is_ratio = found.control > 0 and found.treatment > 0 and all(0 < end < math.inf for end in ratio_ends)
    return Lift(
        control=float(found.control),
        treated=float(found.treatment),
        value=float(found.effect_size),
        error=_error(found),
        log_value=math.log(found.treatment / found.control) if is_ratio else math.nan,
        log_error=math.log(ratio_ends[1] / ratio_ends[0]) / (2 * Z) if is_ratio else math.nan,
        p_value=float(found.pvalue),
        variance_saved=max(0.0, 1 - _error(found) ** 2 / spread) if is_known else 0.0,
    )


def _all_have(arms: Sequence[Sample], column: str) -> bool:
    return all(of.aggregates.mean_.get(column, 0) > 0 for of in arms)


def _analyzed(control: Sample, treated: Sample, measure: Measure, *, adjusted: bool) -> "MeanResult":
    from tea_tasting.metrics import RatioOfMeans

    method = RatioOfMeans(
        measure.total,
        measure.per,
        f"{BEFORE}{measure.total}" if adjusted else None,
        f"{BEFORE}{measure.per}" if adjusted and measure.per else None,
        confidence_level=1 - ALPHA,
        alternative="two-sided",
        equal_var=False,
        use_t=False,
    )
    return method.analyze_aggregates(control.aggregates, treated.aggregates)


def _error(found: "MeanResult") -> float:
    return float(found.effect_size_ci_upper - found.effect_size_ci_lower) / (2 * Z)


def split_p_value(control: int, treated: int, *, ratio: float) -> float:
    """Probability of a split as uneven as this, if users are split as `ratio` (treated per control) says."""
    from tea_tasting.aggr import Aggregates
    from tea_tasting.metrics import SampleRatio

    counts: dict[object, Aggregates] = {0: Aggregates(count_=control), 1: Aggregates(count_=treated)}
    return SampleRatio(ratio, correction=True).analyze(counts, 0, 1).pvalue


def corrected(p_values: Sequence[float], correction: Literal["holm", "benjamini-hochberg"]) -> list[float]:
    """P-values that may each be held against 5 %, however many there are."""
    from tea_tasting.experiment import ExperimentResult
    from tea_tasting.multiplicity import adjust_fdr, adjust_fwer

    if not p_values:
        return []
    found = ExperimentResult({str(place): {"pvalue": value} for place, value in enumerate(p_values)})
    adjusted = (
        adjust_fwer(found, alpha=ALPHA, arbitrary_dependence=True, method="bonferroni")
        if correction == "holm"
        else adjust_fdr(found, alpha=ALPHA, arbitrary_dependence=False)
    )
    (comparison,) = adjusted.values()
    return [min(1.0, float(comparison[str(place)]["pvalue_adj"])) for place in range(len(p_values))]  # type: ignore[index]


def always_width(information: float, planned: float, alpha: float = ALPHA) -> float:
    """Standard errors to each side within which the lift lies at every look at once, with probability 1 − `alpha`.

    The asymptotic confidence sequence of Waudby-Smith et al. (2024), from Robbins' normal mixture: the sum behind a
    lift is a random walk in the information it is made of, here user-days. The mixture is the one that is narrowest at
    the planned information; another plan makes it wider and stays valid. Where users go on as they began, days of one
    user resemble one another, and the sum moves less often than such a walk: it is valid then too.

    Parameters
    ----------
    information, planned : float
        User-days so far and at the end of the minimum run.
    """
    share = _mixture(information, planned)
    return math.sqrt((1 + 1 / share) * math.log((1 + share) / alpha**2))


def always_p_value(z: float, information: float, planned: float) -> float:
    """The smallest `alpha` at which the interval of `always_width` is without 0; z is lift by standard error."""
    share = _mixture(information, planned)
    return min(1.0, math.sqrt(1 + share) * math.exp(-z * z * share / (2 * (1 + share))))


def _mixture(information: float, planned: float) -> float:
    """Variance of the mixture, relative to that of the sum."""
    widest = -2 * math.log(ALPHA)
    return (widest + math.log(widest + 1)) * information / planned
