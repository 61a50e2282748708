"""A third opinion on names by a language model. It can only make an outcome stricter."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from journeys_dagster.inference.safety_policy import ALLOW, BLOCK, OUTCOMES, Policy
from journeys_dagster.llm.answers import Outcome

SAFETY_PROMPT = "check_safety"
NO_OPINION = "the language model gave no verdict"
_NONE = "none"
_EXAMPLES = 3


class SafetyAnswer(BaseModel):
    """What a model is to answer: an outcome, and the category it is for."""

    model_config = ConfigDict(extra="forbid")
    outcome: Literal["allow", "quiet", "block"]
    category: Annotated[str, Field(min_length=1, max_length=60)]

    @model_validator(mode="after")
    def _is_of_the_policy(self, info: ValidationInfo) -> Self:
        if self.outcome == ALLOW:
            self.category = _NONE
        elif info.context is not None and self.category not in {each["name"] for each in info.context["categories"]}:
            raise ValueError("the category is one of those given, by its name")
        return self


def safety_inputs(texts: Sequence[str], policy: Policy) -> list[Mapping[str, Any]]:
    """One input for each text: the text, and the policy's categories with their outcomes and what is like them."""
    categories = [
        {"name": category.name, "outcome": category.outcome, "examples": list(category.descriptions[:_EXAMPLES])}
        for category in policy.categories
    ]
    return [{"text": text, "categories": categories} for text in texts]


def with_opinions(
    verdicts: pl.DataFrame, texts: Sequence[str], outcomes: Sequence[Outcome[SafetyAnswer]]
) -> pl.DataFrame:
    """Verdicts made as strict as the model says; never milder.

    A text on which the model has no last word yet, such as for want of budget, loses its verdict, and what has none is
    blocked. One that it refuses or fails to judge is blocked too.

    Parameters
    ----------
    verdicts : DataFrame
        From `journeys_dagster.inference.safety.check_texts`.
    texts, outcomes : sequences
        What the model was asked about, each once, and what became of it.
    """
    left = [text for text, outcome in zip(texts, outcomes, strict=True) if outcome.is_left]
    rows = [
        (text, BLOCK, None, NO_OPINION)
        if outcome.answer is None
        else (
            text,
            outcome.answer.outcome,
            outcome.answer.category,
            f"{outcome.answer.category}: the language model says",
        )
        for text, outcome in zip(texts, outcomes, strict=True)
        if not outcome.is_left and (outcome.answer is None or outcome.answer.outcome != ALLOW)
    ]
    schema = {"text": pl.String, "said": pl.String, "said_category": pl.String, "said_reason": pl.String}
    said = pl.DataFrame(rows, schema=schema, orient="row")
    places = {outcome: place for place, outcome in enumerate(OUTCOMES)}
    given, wanted = (pl.col(name).replace_strict(places, return_dtype=pl.Int32) for name in ("outcome", "said"))
    is_stricter = (wanted > given).fill_null(value=False)
    return (
        verdicts.filter(~pl.col("text").is_in(left))
        .join(said, on="text", how="left", maintain_order="left")
        .with_columns(
            outcome=pl.when(is_stricter).then("said").otherwise("outcome"),
            category=pl.when(is_stricter).then("said_category").otherwise("category"),
            reasons=pl.when(pl.col("said").is_not_null())
            .then(pl.concat_list("reasons", "said_reason"))
            .otherwise("reasons"),
            # It is as good as a term: one keyword that it says so of is enough.
            by_term=pl.col("by_term") | pl.col("said").is_not_null(),
        )
        .select(verdicts.columns)
    )
