"""Related journeys by a language model: what counts as one, and how it is scored beside others."""

from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from journeys_dagster.inference.expansions import RELATED_SCHEMA
from journeys_dagster.inference.titles import plain_title
from journeys_dagster.settings import ExpansionSettings

EXPAND_PROMPT = "expand_journey"
_PAIR = ["journey", "related"]


class RelatedAnswer(BaseModel):
    """What a model is to answer: journeys that people begin next, the likeliest first."""

    model_config = ConfigDict(extra="forbid")
    related: Annotated[list[Annotated[str, Field(min_length=2, max_length=60)]], Field(max_length=10)]

    @field_validator("related")
    @classmethod
    def _are_titles(cls, related: list[str]) -> list[str]:
        # Keywords are in lower case, and these stand beside keywords.
        return list(dict.fromkeys(plain_title(text).lower() for text in related))


def with_model_relations(
    related: pl.DataFrame,
    named: pl.DataFrame,
    vectors: NDArray[np.float32],
    *,
    expander: str,
    population: int,
    settings: ExpansionSettings,
) -> pl.DataFrame:
    """Relations that a model named beside those that were found, ranked together.

    A relation that was found and named keeps its figures and gains ``model_weight``. One that was named only has nobody
    who holds it, the lift of chance, and the share of one user.

    Parameters
    ----------
    related : DataFrame
        Columns of `RELATED_SCHEMA`.
    named : DataFrame
        Columns ``journey``, ``related``, ``journey_code`` and ``related_code`` (int64, rows of `vectors`): what the
        model named, each pair once.
    vectors : array of shape (texts, dimensions), float32
    expander : str
        What the model is called.
    population : int
        Users whose journeys were looked at.
    """
    first, second = (vectors[named[name].to_numpy()] for name in ("journey_code", "related_code"))
    new = (
        named.with_columns(
            similarity=pl.Series(np.einsum("ij,ij->i", first, second, dtype=np.float64), dtype=pl.Float64)
        )
        # The same journey in other words.
        .filter(pl.col("similarity") < settings.same_similarity)
        .join(related.select(_PAIR), on=_PAIR, how="anti")
        .select(
            *_PAIR,
            users=pl.lit(0, dtype=pl.Int64),
            together=pl.lit(0, dtype=pl.Int64),
            lift=pl.lit(1.0),
            similarity=pl.col("similarity"),
            share=pl.lit(1.0 / max(population, 1)),
            score=settings.similarity_weight * pl.col("similarity") + settings.model_weight,
            rank=pl.lit(0, dtype=pl.Int32),
            expander=pl.lit(expander),
        )
    )
    is_named = related.select(_PAIR).join(named.select(_PAIR, named=pl.lit(value=True)), on=_PAIR, how="left")
    gain = pl.Series(is_named["named"].fill_null(value=False)).cast(pl.Float64) * settings.model_weight
    found = related.with_columns(score=pl.col("score") + gain)
    return (
        pl.concat([found, new.cast(pl.Schema(RELATED_SCHEMA))])  # type: ignore[arg-type]
        .sort("journey", "score", "related", descending=[False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("journey"))
        .filter(pl.col("rank") <= settings.related_per_journey)
    )
