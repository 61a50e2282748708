"""How sure it is that a cluster is one journey of this person: no errand or one-off look, no piece of another journey.

Its weights lie beside this file. They were learnt on simulated people, whose journeys are known; nothing that only a
simulation has is looked at. `journeys evaluate confidence --refit-to` learns them anew.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import polars as pl

FILE = Path(__file__).with_suffix(".json")
TERMS = ("weight", "weight_a_day", "keywords", "cohesion", "weight_of_others", "age")
"""All but cohesion are of ln(1 + x)."""
RISING = frozenset({"weight", "weight_a_day", "keywords", "cohesion"})
"""Terms that only make it surer; the others only less so. Where a fit says otherwise, the term gets no weight."""
_UNREAD, _USUAL_COHESION, _LEAST_KEYWORDS = 0.05, 0.6, 3
"""Keywords that the embedding model cannot read have no likeness to each other, and stay apart; that says nothing about
them."""
_KEYWORDS_AN_EVENT = 3
"""What each event after the first can add to the keywords: one look at a thing is no more, however much its title says.
"""


@dataclass(frozen=True)
class ConfidenceModel:
    """A logistic regression on the terms.

    Attributes
    ----------
    intercept : float
    weights : mapping of str to float
        Of each of `TERMS`.
    """

    intercept: float
    weights: Mapping[str, float]

    @classmethod
    def of(cls, path: Path) -> "ConfidenceModel":
        """Read a model from its file."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        return cls(stored["intercept"], {term: stored["weights"][term] for term in TERMS})

    def save(self, path: Path) -> None:
        """Write the model to a file."""
        stored = {"intercept": self.intercept, "weights": dict(self.weights)}
        path.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


@lru_cache(maxsize=1)
def bundled_model() -> ConfidenceModel:
    """The model that lies beside this file."""
    return ConfidenceModel.of(FILE)


def confidence_terms(journeys: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """What confidence looks at.

    Parameters
    ----------
    journeys : DataFrame
        All journeys of each user: ``user_id``, ``weight``, ``events``, ``keywords``, ``cohesion``, ``days_active``,
        ``first_seen``.

    Returns
    -------
    DataFrame
        Columns `TERMS` (float64), in the same order.
    """
    # Whole millionths add up to the same sum in any order.
    millionths = (pl.col("weight") * 1e6).round().cast(pl.Int64)
    # An event may carry a time later than the day it arrived on.
    age = (pl.lit(as_of) - pl.col("first_seen").dt.date()).dt.total_days().clip(lower_bound=0)
    is_read, events = pl.col("cohesion") > _UNREAD, pl.col("events").cast(pl.Float64)
    keywords = pl.min_horizontal(pl.col("keywords").cast(pl.Float64), _KEYWORDS_AN_EVENT * (events - 1.0) + 1.0)
    # What was met once is like itself, and the words of one item go together whatever else the person does.
    tells = is_read & (events > 1)
    return journeys.select(
        weight=pl.col("weight").log1p(),
        weight_a_day=(pl.col("weight") / pl.col("days_active")).log1p(),
        keywords=pl.when(is_read).then(keywords).otherwise(keywords.clip(lower_bound=_LEAST_KEYWORDS)).log1p(),
        cohesion=pl.when(tells).then("cohesion").otherwise(_USUAL_COHESION),
        weight_of_others=((millionths.sum().over("user_id") - millionths) * 1e-6).log1p(),
        age=age.cast(pl.Float64).log1p(),
    )


def with_confidence(journeys: pl.DataFrame, *, as_of: date, model: ConfidenceModel | None = None) -> pl.DataFrame:
    """Add ``confidence`` (float64, 0 to 1) to journeys with the columns of `confidence_terms`."""
    model = bundled_model() if model is None else model
    terms = confidence_terms(journeys, as_of=as_of)
    # Term by term, so that a journey's bits do not depend on the rows beside it.
    logit = pl.lit(model.intercept)
    for term in TERMS:
        logit = logit + pl.col(term) * pl.lit(model.weights[term])
    return journeys.with_columns(terms.select(confidence=1.0 / (1.0 + (-logit).exp())).to_series())
