"""The metrics of the quality watch, declared: what each measures, on which side it is a fault, and what to do then.

How far is too far is a setting of the same name in ``[quality]``.
"""

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

LANDING = "landing"
"""The scope of what is measured on landing data; what is measured on a snapshot has the snapshot's own scope."""

Scale = Literal["factor", "share", "drift"]
Comparison = Literal["drift", "silence", "surprise"]
Side = Literal["both", "above", "below"]


@dataclass(frozen=True, kw_only=True)
class QualityMetric:
    """One metric, which is one check.

    Attributes
    ----------
    landing : bool
        Whether it is measured on each source's rows of an arrival day; otherwise on a snapshot.
    measures : str
        What the value is.
    unit : str
        What it is counted in.
    scale : {'factor', 'share', 'drift'}
        A positive quantity that grows by factors; a share of observations; a population stability index.
    side : {'both', 'above', 'below'}
        On which side of the expected range a value is a fault.
    advice : str
        Where to look.
    comparison : {'drift', 'silence', 'surprise'}, optional
        How the value follows from the day's counts and those of earlier days: see `journeys_dagster.monitoring.drift`.
    by_weekday : bool
        Whether counts are compared with those of the same weekday only, where there are enough.
    """

    name: str
    landing: bool = True
    measures: str
    unit: str
    scale: Scale
    side: Side
    advice: str
    comparison: Comparison | None = None
    by_weekday: bool = False


_factor = partial(QualityMetric, scale="factor", side="both")
_share = partial(QualityMetric, unit="share", scale="share", side="above")
_drift = partial(QualityMetric, unit="PSI", scale="drift", comparison="drift", side="above")
_DECLARED = (
    _factor(
        name="volume",
        measures="rows accepted",
        unit="rows",
        advice="See whether the day's folder holds every file, and one delivery only.",
    ),
    _factor(
        name="rows_per_user",
        measures="rows per user",
        unit="rows",
        advice="Fewer: some of the day's files may be missing. More: a feed may repeat itself, or a robot be at work.",
    ),
    _share(
        name="duplicate_share",
        measures="share of rows that are exact duplicates, within the day or of the seven days before",
        advice="See whether files were delivered twice. Duplicates of one event count once in keywords.",
    ),
    _share(
        name="rejected_share",
        measures="share of rows (or files) that were rejected",
        advice="Look at rejected_rows for the reasons.",
    ),
    _share(
        name="same_day_share",
        measures="share of rows that happened on their arrival day",
        side="both",
        advice="See whether rows came late, or the sender's clock or time zone is off.",
    ),
    _drift(
        name="hour_drift",
        measures="drift of active users by hour of the day",
        by_weekday=True,
        advice="See whether hours are missing, or the sender's clock or time zone is off.",
    ),
    _share(
        name="silent_hours",
        measures="share of a usual day's users in the hours that have none",
        comparison="silence",
        by_weekday=True,
        advice="See whether a part of the day's files is missing, or the sender's clock or time zone is off.",
    ),
    _factor(
        name="text_surprise",
        measures="bits per character by the letter pairs of earlier texts",
        unit="bits",
        comparison="surprise",
        advice="Read some texts of the day: they may be encoded wrongly, generated, or in a new language.",
    ),
    _factor(
        name="text_length",
        measures="mean length of texts in characters",
        unit="characters",
        advice="Read some texts of the day: they may be cut off, or something else than texts.",
    ),
    _share(
        name="no_journey_share",
        landing=False,
        measures="share of users with no journey",
        advice="See whether items have arrived, and how many keywords users have.",
    ),
    _factor(
        name="journeys_per_user",
        landing=False,
        measures="journeys per user",
        unit="journeys",
        advice="See the plot of clusters, and what has changed in embeddings or settings.",
    ),
    _factor(
        name="keyword_growth",
        landing=False,
        measures="keywords of a user over those in the user's snapshot before, median",
        unit="factor",
        advice="See whether items have lost their annotations, or a source its history.",
    ),
    _share(
        name="unnamed_share",
        landing=False,
        measures="share of journeys without a name of their own: no letters, or numbered",
        advice="Read some names and their keywords; keywords may be codes, or items share one annotation.",
    ),
    _drift(
        name="confidence_drift",
        landing=False,
        measures="drift of journeys' confidence",
        advice="See whether clusters or the log have changed.",
    ),
    _drift(
        name="score_drift",
        landing=False,
        measures="drift of journeys' scores",
        advice="See whether a ranking model was promoted or the log has changed.",
    ),
    _drift(
        name="stage_drift",
        landing=False,
        measures="drift of journeys' stages",
        advice="See the plot of stages, and whether a stage model was promoted.",
    ),
    _share(
        name="embedding_coverage",
        landing=False,
        measures="share of clustered keywords with a vector",
        side="below",
        advice="Run keyword_embeddings and the steps after it again for the day.",
    ),
)
METRICS = MappingProxyType({metric.name: metric for metric in _DECLARED})
"""By name, in the order in which they are shown."""
