"""The metrics of the quality watch, declared: what each measures, which way it may go wrong, and what to do then.

How far is too far is a setting of the same name in ``[quality]``.
"""

from dataclasses import dataclass
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
    landing: bool
    measures: str
    unit: str
    scale: Scale
    side: Side
    advice: str
    comparison: Comparison | None = None
    by_weekday: bool = False


_DECLARED = (
    QualityMetric(
        name="volume",
        landing=True,
        measures="rows accepted",
        unit="rows",
        scale="factor",
        side="both",
        advice="See whether the day's folder holds every file, and one delivery only.",
    ),
    QualityMetric(
        name="rows_per_user",
        landing=True,
        measures="rows per user",
        unit="rows",
        scale="factor",
        side="both",
        advice="Fewer: some of the day's files may be missing. More: a feed may repeat itself, or a robot be at work.",
    ),
    QualityMetric(
        name="duplicate_share",
        landing=True,
        measures="share of rows that are exact duplicates, within the day or of the seven days before",
        unit="share",
        scale="share",
        side="above",
        advice="See whether files were delivered twice. Duplicates of one event count once in keywords.",
    ),
    QualityMetric(
        name="rejected_share",
        landing=True,
        measures="share of rows (or files) that were rejected",
        unit="share",
        scale="share",
        side="above",
        advice="Look at rejected_rows for the reasons.",
    ),
    QualityMetric(
        name="same_day_share",
        landing=True,
        measures="share of rows that happened on their arrival day",
        unit="share",
        scale="share",
        side="both",
        advice="See whether rows came late, or the sender's clock or time zone is off.",
    ),
    QualityMetric(
        name="hour_drift",
        landing=True,
        measures="drift of active users by hour of the day",
        unit="PSI",
        scale="drift",
        comparison="drift",
        side="above",
        advice="See whether hours are missing, or the sender's clock or time zone is off.",
        by_weekday=True,
    ),
    QualityMetric(
        name="silent_hours",
        landing=True,
        measures="share of a usual day's users in the hours that have none",
        unit="share",
        scale="share",
        comparison="silence",
        side="above",
        advice="See whether a part of the day's files is missing, or the sender's clock or time zone is off.",
        by_weekday=True,
    ),
    QualityMetric(
        name="text_drift",
        landing=True,
        measures="drift of the characters in texts",
        unit="PSI",
        scale="drift",
        comparison="drift",
        side="above",
        advice="Read some texts of the day: they may be encoded wrongly, generated, or all the same.",
    ),
    QualityMetric(
        name="text_surprise",
        landing=True,
        measures="bits per character by the letter pairs of earlier texts",
        unit="bits",
        scale="factor",
        comparison="surprise",
        side="both",
        advice="Read some texts of the day: they may be encoded wrongly, generated, or in a new language.",
    ),
    QualityMetric(
        name="text_length",
        landing=True,
        measures="mean length of texts in characters",
        unit="characters",
        scale="factor",
        side="both",
        advice="Read some texts of the day: they may be cut off, or something else than texts.",
    ),
    QualityMetric(
        name="no_journey_share",
        landing=False,
        measures="share of users with no journey",
        unit="share",
        scale="share",
        side="above",
        advice="See whether items have arrived, and how many keywords users have.",
    ),
    QualityMetric(
        name="journeys_per_user",
        landing=False,
        measures="journeys per user",
        unit="journeys",
        scale="factor",
        side="both",
        advice="See the plot of clusters, and what has changed in embeddings or settings.",
    ),
    QualityMetric(
        name="keywords_per_user",
        landing=False,
        measures="keywords per user",
        unit="keywords",
        scale="factor",
        side="both",
        advice="See whether items have lost their annotations, or a source its history.",
    ),
    QualityMetric(
        name="unnamed_share",
        landing=False,
        measures="share of journeys without a name of their own: no letters, or numbered",
        unit="share",
        scale="share",
        side="above",
        advice="Read some names and their keywords; keywords may be codes, or items share one annotation.",
    ),
    QualityMetric(
        name="confidence_drift",
        landing=False,
        measures="drift of journeys' confidence",
        unit="PSI",
        scale="drift",
        comparison="drift",
        side="above",
        advice="See whether a ranking model was promoted or the log has changed.",
    ),
    QualityMetric(
        name="score_drift",
        landing=False,
        measures="drift of journeys' scores",
        unit="PSI",
        scale="drift",
        comparison="drift",
        side="above",
        advice="See whether a ranking model was promoted or the log has changed.",
    ),
    QualityMetric(
        name="stage_drift",
        landing=False,
        measures="drift of journeys' stages",
        unit="PSI",
        scale="drift",
        comparison="drift",
        side="above",
        advice="See the plot of stages, and whether a stage model was promoted.",
    ),
    QualityMetric(
        name="embedding_coverage",
        landing=False,
        measures="share of distinct keywords with a vector",
        unit="share",
        scale="share",
        side="below",
        advice="Run keyword_embeddings and the steps after it again for the day.",
    ),
)
METRICS = MappingProxyType({metric.name: metric for metric in _DECLARED})
"""By name, in the order in which they are shown."""
